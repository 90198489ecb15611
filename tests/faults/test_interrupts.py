"""Ctrl-C: whatever the program is waiting for, it gets KeyboardInterrupt, and its workers are gone.

As a terminal sends it (to the whole group of processes) and to the program alone.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from textwrap import dedent

import pytest

from tests.support.programs import Program

# Seconds from the signal until the program has KeyboardInterrupt; what the machine itself is late by
# comes on top. One clock: the monotonic one is the same in all processes of a system.
A_SECOND = 1.0
# Seconds from then until program and workers have ended, which leaves room for a busy machine: the tasks take 30.
SOON = 5.0

START = """
import time
from tests.support.stuck import stuck, tell
METHOD = {"start_method": sys.argv[2]} if len(sys.argv) > 2 else {}
def make(workers=1, **settings):
    return Pool(workers, backend=BACKEND, **METHOD, **settings)
"""

END = """
try:
    main()
except KeyboardInterrupt:
    heard = time.monotonic()
    print("caught", heard, flush=True)
    raise
tell("missed")
"""

# What the main thread waits in; each says "waiting pid" from a task when it does, or soon will.
WAITS = {
    "result": """
        def main():
            with make() as pool:
                pool.submit(stuck).result()
    """,
    "exception": """
        def main():
            with make() as pool:
                pool.submit(stuck).exception()
    """,
    "join": """
        def main():
            with make() as pool:
                pool.submit(stuck)
                pool.join()
    """,
    "map": """
        def main():
            with make() as pool:
                list(pool.map(stuck, ["waiting", "computing"], chunksize=2))
    """,
    "map_one_by_one": """
        def main():
            with make() as pool:
                list(pool.map(stuck, iter(["waiting", "computing"]), chunksize=1))
    """,
    "submit": """
        def main():
            with make(queue_size=1) as pool:
                for _ in range(9):
                    pool.submit(stuck)
    """,
    "body": """
        def main():
            with make() as pool:
                pool.submit(stuck)
                time.sleep(30)  # house: sleep - it is to be interrupted
    """,
    "end_of_body": """
        def main():
            with make() as pool:
                pool.submit(stuck)
                pool.submit(stuck)
    """,
    "shutdown": """
        def main():
            pool = make()
            pool.submit(stuck)
            pool.shutdown()
    """,
    "no_block": """
        def main():
            global pool
            pool = make()
            task = pool.submit(stuck)
            for _ in range(9):
                pool.submit(stuck)
            task.result()
    """,
    "wait": """
        from concurrent.futures import wait
        def main():
            with make() as pool:
                wait([pool.submit(stuck) for _ in range(3)])
    """,
    "run": """
        import asyncio
        async def amain():
            async with make() as pool:
                await pool.run(stuck)
        def main():
            asyncio.run(amain())
    """,
    "async_for": """
        import asyncio
        async def amain():
            async with make() as pool:
                async for _ in pool.map(stuck, ["waiting"] * 3):
                    pass
        def main():
            asyncio.run(amain())
    """,
    "end_of_async_body": """
        import asyncio
        async def amain():
            async with make() as pool:
                pool.submit(stuck)
                pool.submit(stuck)
        def main():
            asyncio.run(amain())
    """,
    "run_without_block": """
        import asyncio
        async def amain():
            global pool
            pool = make()
            await asyncio.gather(*(pool.run(stuck) for _ in range(9)))
        def main():
            asyncio.run(amain())
    """,
}
# Those in which the backend makes a difference.
FEW = ["result", "map", "end_of_body", "no_block"]


# A program that waits without any pool: how late it hears is the machine's affair.
BARE = """
import signal
import time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # one that comes before the wait is kept
while True:
    print("waits", flush=True)
    signal.sigwait({signal.SIGINT})
    heard = time.monotonic()
    print("caught", heard, flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def bare() -> Generator[Program]:
    """Start the program that others are compared with."""
    with Program(BARE, "thread") as program:
        yield program


def late_anyway(bare: Program) -> float:
    """Tell how long it takes now until a program that sleeps hears of a signal."""
    assert bare.line() == "waits"
    sent = time.monotonic()
    bare.interrupt(group=False)
    return float(bare.line().split()[1]) - sent


def interrupted(bare: Program, script: str, *args: str, group: bool = True) -> None:
    """Run a script, press Ctrl-C when a task runs, and see that all is well."""
    with Program(START + dedent(script) + END, *args) as program:
        worker = program.watched()
        sent = time.monotonic()
        program.interrupt(group=group)
        late = late_anyway(bare)  # meanwhile: what is busy now keeps both waiting
        ended = program.end(late + A_SECOND + SOON)
        ((word, heard),) = (line.split() for line in ended.lines)
        assert word == "caught", ended
        assert float(heard) - sent - late < A_SECOND
        assert ended.code in {-signal.SIGINT, 130}, ended
        # asyncio tells in two: what was cancelled, and by what.
        count = ended.errors.count("Traceback (most recent call last)")
        assert count == 1 + ("asyncio" in script and "CancelledError" in ended.errors), ended.errors
        assert ended.errors.endswith("KeyboardInterrupt\n")
        assert worker.gone(SOON)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_ctrl_c_is_heard_in_every_wait(bare: Program, backend: str, wait: str) -> None:
    """The caller gets KeyboardInterrupt within a second, workers end, and the only traceback is the caller's."""
    interrupted(bare, WAITS[wait], backend)


@pytest.mark.parametrize(
    ("method", "wait"),
    [("forkserver", wait) for wait in FEW]
    + [(method, wait) for method in ("spawn", "fork") for wait in ("result", "no_block")],
)
def test_ctrl_c_ends_workers_however_they_started(bare: Program, method: str, wait: str) -> None:
    """That holds for every start method, also when the program alone hears it."""
    interrupted(bare, WAITS[wait], "process", method, group=False)


@pytest.mark.parametrize("wait", ["submit", "map", "map_one_by_one", "end_of_body"])
def test_ctrl_c_reaches_an_inline_task(bare: Program, wait: str) -> None:
    """A task in the caller's own thread is interrupted as any call would be, and what comes after it does not run."""
    interrupted(bare, WAITS[wait], "inline")


def test_ctrl_c_at_exit_ends_what_is_queued() -> None:
    """A program that only waits for its queue to be done is ended by Ctrl-C, with all workers."""
    script = """
    from tests.support.stuck import stuck
    pool = Pool(1, backend=BACKEND)
    for _ in range(3):
        pool.submit(stuck)
    """
    for backend in ("thread", "process"):
        with Program(script, backend) as program:
            worker = program.watched()
            program.interrupt(group=True)
            ended = program.end(SOON)
            assert ended.lines == []
            assert ended.errors.endswith(("KeyboardInterrupt: \n", "KeyboardInterrupt\n"))
            assert worker.gone(SOON)
