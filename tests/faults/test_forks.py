"""Pools and forks: in a forked child, in children of multiprocessing, in a daemon. Each in a program of its own."""

from __future__ import annotations

import os

import pytest

from tests.support.backends import Kind
from tests.support.scripts import printed_by

PROCESS = Kind("process", frozenset())
LOCAL = [Kind("thread", frozenset()), Kind("inline", frozenset()), PROCESS]
every_backend = pytest.mark.parametrize("kind", LOCAL, ids=[kind.name for kind in LOCAL])
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@fork_only
@every_backend
def test_everything_of_a_pool_is_refused_in_a_forked_child(kind: Kind) -> None:
    """Pool, task and results of the parent raise ForkedPool in the child, by whatever way they are waited for."""
    script = """
    import asyncio, os, warnings
    from concurrent.futures import as_completed, wait
    from tests.support.backends import KINDS
    from tests.support.holding import workers_busy
    from workpool import ForkedPool
    warnings.simplefilter("ignore")
    (kind,) = [k for k in KINDS if k.name == BACKEND]
    pool = Pool(1, backend=BACKEND, queue_size=50)
    async def wait_for(task):
        return await task
    async def iterate(results):
        return [value async for value in results]
    with workers_busy(pool, kind):
        made = [pool.submit(tasks.double, n) for n in range(8)]
        results = [pool.map(tasks.double, range(3)) for _ in range(2)]
        single = [pool.map(tasks.double, iter(range(3)), chunksize=1) for _ in range(2)]
        ways = {
            "submit": lambda: pool.submit(tasks.double, 1),
            "map": lambda: pool.map(tasks.double, [1]),
            "run": lambda: asyncio.run(pool.run(tasks.double, 1)),
            "join": lambda: pool.join(10),
            "result": lambda: made[0].result(10),
            "exception": lambda: made[1].exception(10),
            "wait": lambda: [task.result(0) for task in wait([made[2]], 10).done],
            "as_completed": lambda: [task.result(0) for task in as_completed([made[3]], 10)],
            "await": lambda: asyncio.run(wait_for(made[4])),
            "callback": lambda: made[5].add_done_callback(lambda _: None) or made[5].result(10),
            "results": lambda: list(results[0]),
            "async results": lambda: asyncio.run(iterate(results[1])),
            "single results": lambda: list(single[0]),
        }
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            for name, call in ways.items():
                try:
                    said = repr(call())
                except ForkedPool as error:
                    said = "refused" if "made in the parent" in str(error) else repr(error)
                except BaseException as error:
                    said = repr(error)
                os.write(write, f"{name}: {said}\\n".encode())
            made[6].cancel()
            results[0].close()
            pool.shutdown()
            pool.kill()
            pool.unfinished, repr(pool), pool.stats()
            del pool, made, results, single, ways
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as file:
            print(file.read(), end="")
    print(os.waitstatus_to_exitcode(os.wait()[1]), sum(task.result(20) for task in made))
    print(list(results[0]), list(single[0]))
    pool.shutdown()
    """
    lines = printed_by(kind, script)
    assert [line for line in lines[:-2] if not line.endswith(": refused")] == []
    assert len(lines) == 15
    assert lines[-2:] == ["0 56", "[0, 2, 4] [0, 2, 4]"]


@fork_only
@every_backend
def test_a_fork_inside_the_with_block_leaves_the_child_in_peace(kind: Kind) -> None:
    """A child that leaves the block, or the program, ends well and does not touch the parent's workers."""
    script = """
    import os, warnings
    warnings.simplefilter("ignore")
    with Pool(2, backend=BACKEND) as pool:
        pool.submit(tasks.double, 1).result(20)
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.submit(tasks.double, 2).result(20))
    """
    assert printed_by(kind, script) == ["0 4"]


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@every_backend
def test_a_child_of_multiprocessing_may_have_pools(kind: Kind, method: str, daemon: bool) -> None:
    """Also a daemonic one, to which multiprocessing itself gives no children."""
    script = f"""
    import multiprocessing, warnings
    warnings.simplefilter("ignore")
    def child(queue):
        with Pool(2, backend=BACKEND) as pool:
            queue.put(list(pool.map(tasks.double, range(3))))
    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        queue = context.SimpleQueue()
        process = context.Process(target=tasks.run_own_pool_and_tell, args=(BACKEND, queue), daemon={daemon})
        process.start()
        print(queue.get())
        process.join(20)
        print(process.exitcode)
    """
    assert printed_by(kind, script) == ["[0, 2, 4]", "0"]


@fork_only
def test_a_daemonised_program_keeps_its_pool() -> None:
    """After the double fork and setsid of a daemon, with its outputs closed, a pool works as ever."""
    script = """
    import os, warnings
    warnings.simplefilter("ignore")
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for fd in (0, 1, 2):
            os.close(fd)
        with Pool(2, backend=BACKEND) as pool:
            said = repr(list(pool.map(tasks.double, range(3))))
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        print(file.read())
    """
    assert printed_by(PROCESS, script) == ["[0, 2, 4]"]


@fork_only
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_fork_while_a_worker_is_started_leaves_no_held_lock(method: str) -> None:
    """The child of a fork in the middle of a launch can use multiprocessing, and make pools of its own."""
    script = """
    import os, signal, threading, warnings
    from multiprocessing import resource_tracker, shared_memory, util
    warnings.simplefilter("ignore")
    inside, go = threading.Event(), threading.Event()
    def spawn(*args, spawnv_passfds=util.spawnv_passfds):
        if resource_tracker._resource_tracker._lock._is_owned():
            util.spawnv_passfds = spawnv_passfds
            inside.set()
            go.wait(20)
        return spawnv_passfds(*args)
    pool = Pool(1, backend=BACKEND, start_method=METHOD)
    util.spawnv_passfds = spawn
    task = pool.submit(tasks.double, 1)
    assert inside.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(15)  # what waits for a held lock waits for ever
        memory = shared_memory.SharedMemory(create=True, size=8)
        memory.close()
        memory.unlink()
        with Pool(1, backend=BACKEND, start_method=METHOD) as own:
            print(own.submit(tasks.double, 2).result(10), flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    go.set()
    print(task.result(20))
    pool.shutdown()
    """
    script = script.replace("METHOD", repr(method))
    assert printed_by(PROCESS, script) == ["4", "0", "2"]
