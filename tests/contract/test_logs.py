"""Logs and prints: what tasks say reaches the caller, named and in order, on every backend."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.hearing import LOGGER, Kept, say, speak_item
from tests.support.scripts import printed_by

pytestmark = pytest.mark.needs("reports")


def say_one(n: int) -> int:
    logging.getLogger(LOGGER).info("item %d", n)
    return n


def say_error() -> None:
    try:
        tasks.fail(LookupError("lost"))
    except LookupError:
        logging.getLogger(LOGGER).exception("it failed")


def say_badly() -> str:
    logging.getLogger(LOGGER).info("%d", "no number")
    return "went on"


def say_and_die(line: str, how: str) -> None:
    say(line)
    print("printed", line)
    print("no end", end="")
    if how == "exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def what_is_on(*names: str) -> list[tuple[bool, bool]]:
    loggers = [logging.getLogger(name) for name in names]
    return [(lg.isEnabledFor(logging.DEBUG), lg.isEnabledFor(logging.INFO)) for lg in loggers]


def say_much(count: int, size: int) -> None:
    """Log from several threads at once, small records and large."""

    def speak(thread: int) -> None:
        for n in range(count):
            say(f"{thread} {n} " + "x" * (size if n % 10 == 0 else 1))

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def speak_out(word: str) -> str:
    print(word, "out")
    print(word, "err", file=sys.stderr)
    print("and no end", end="")
    return word


def test_a_record_names_pool_worker_and_task(make_pool: MakePool, kept: Kept) -> None:
    """Records come with all that was said, and with the place where it was said."""
    pool = make_pool(1, logs=True, name="speakers")
    task = pool.options(name="speech").submit(say, "one", "two", note="extra")
    assert task.result(DEADLINE) == 2
    first, second = kept.records
    assert kept.told() == ["one!", "two!"]
    for record in (first, second):
        facts: dict[str, Any] = record.__dict__
        assert (facts["wp_pool"], facts["wp_worker"]) == ("speakers", task.worker)
        assert (facts["wp_task"], facts["wp_task_id"]) == ("speech", task.id)
        assert (record.levelname, record.funcName, facts["note"]) == ("INFO", "say", "extra")
    assert first.created <= second.created


def test_one_format_serves_all_records(kind: Kind) -> None:
    """Outside of tasks nobody is named, and no attribute is missing."""
    told = printed_by(
        kind,
        """
        import logging

        FORMAT = "%(wp_pool)s %(wp_worker)s %(wp_task)s %(wp_task_id)s %(message)s"
        if __name__ == "__main__":
            logging.basicConfig(level="INFO", format=FORMAT, stream=sys.stdout)
            with Pool(1, backend=BACKEND, logs=True, name="p") as pool:
                logging.info("outside")
                pool.submit(logging.info, "inside").result()
        """,
    )
    assert told == ["- - - - outside", "p 0 info 0 inside"]


def test_records_are_there_before_the_result(make_pool: MakePool, kept: Kept) -> None:
    """Who has a task's result has its records, too."""
    pool = make_pool(logs=True)
    for n in range(50):
        assert pool.submit(say, f"{n}").result(DEADLINE) == 1
        assert kept.told()[-1] == f"{n}!"


def test_items_log_too(make_pool: MakePool, kept: Kept) -> None:
    """Each item of a map call is named by its position, and none is missing."""
    pool = make_pool(logs=True)
    assert list(pool.map(say_one, range(300))) == list(range(300))
    assert sorted(kept.told()) == sorted(f"item {n}" for n in range(300))
    for record in kept.records:
        assert record.__dict__["wp_task"] == "say_one"
        assert record.getMessage() == f"item {record.__dict__['wp_task_id']}"


def test_levels_hold_at_the_source(make_pool: MakePool, kept: Kept) -> None:
    """A logger in a worker lets through what it lets through here."""
    names = (LOGGER, f"{LOGGER}.below", "tests.other")
    pool = make_pool(1, logs=True)
    assert pool.submit(what_is_on, *names).result(DEADLINE) == what_is_on(*names)
    assert what_is_on(*names) == [(False, True), (False, True), (False, False)]
    pool.submit(say, "quiet", level=logging.DEBUG).result(DEADLINE)
    assert kept.records == []


def test_a_traceback_travels_as_text(make_pool: MakePool, kept: Kept) -> None:
    """logging.exception in a task is formatted with its traceback."""
    pool = make_pool(1, logs=True)
    pool.submit(say_error).result(DEADLINE)
    text = logging.Formatter().format(kept.records[0])
    assert text.startswith("it failed\nTraceback (most recent call last):\n")
    assert text.endswith("LookupError: lost")


@pytest.mark.needs("pickles")
def test_what_cannot_travel_is_told_as_text(make_pool: MakePool, kept: Kept) -> None:
    """Arguments that do not fit, and extras that cannot be pickled, cost no record and no task."""
    pool = make_pool(1, logs=True)
    assert pool.submit(say_badly).result(DEADLINE) == "went on"
    assert kept.told() == ["'%d' with arguments ('no number',) cannot be formatted"]
    assert pool.submit(say_with_lock).result(DEADLINE) == 1
    assert "lock object" in kept.records[-1].__dict__["held"]


def say_with_lock() -> int:
    return say("locked", held=threading.Lock())


@pytest.mark.needs("ends_tasks")
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_dying_worker_has_its_last_words(make_pool: MakePool, kept: Kept, how: str) -> None:
    """What a task said before its worker died is heard, whole and before the error."""
    pool = make_pool(1, logs=True, capture=True)
    for n in range(3):
        task = pool.submit(say_and_die, f"last words {n}", how)
        assert task.exception(DEADLINE) is not None
        assert kept.told() == [f"last words {m}!" for m in range(n + 1)]
        assert task.stdout == f"printed last words {n}\nno end"


def test_the_start_of_a_worker_is_heard(make_pool: MakePool, kept: Kept) -> None:
    """The initializer's records come, and belong to no task."""
    pool = make_pool(1, logs=True, initializer=say, initargs=("ready",))
    pool.submit(tasks.double, 1).result(DEADLINE)
    assert kept.told() == ["ready!"]
    assert kept.records[0].__dict__["wp_worker"] == 0


def test_many_and_large_records_come_in_order(make_pool: MakePool, kept: Kept) -> None:
    """Three threads of a task log at once, more than any pipe holds: all whole, each in order."""
    pool = make_pool(1, logs=True)
    pool.submit(say_much, 200, 100_000).result(DEADLINE)
    told = [line.split()[:2] for line in kept.told()]
    assert len(told) == 600
    for thread in "012":
        assert [n for t, n in told if t == thread] == [str(n) for n in range(200)]


@pytest.mark.needs("pickles")
def test_a_handler_that_fails_harms_nobody(
    make_pool: MakePool, kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler of the caller that raises is told about, and the task has its result."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise LookupError("no room on the disk")

    broken = Broken()
    logging.getLogger(LOGGER).addHandler(broken)
    try:
        pool = make_pool(1, logs=True)
        assert pool.submit(say, "a").result(DEADLINE) == 1
    finally:
        logging.getLogger(LOGGER).removeHandler(broken)
    assert "no room on the disk" in capsys.readouterr().err


# ----------------------------------------------------------------------------- prints


def test_a_task_keeps_what_it_prints(
    make_pool: MakePool, capsys: pytest.CaptureFixture[str]
) -> None:
    """stdout and stderr of each task are kept with it, and nothing of it is shown."""
    with make_pool(capture=True) as pool:
        several = [pool.submit(speak_out, f"w{n}") for n in range(20)]
        print("from the caller")
        for n, task in enumerate(several):
            assert task.result(DEADLINE) == f"w{n}"
            assert task.stdout == f"w{n} out\nand no end"
            assert task.stderr == f"w{n} err\n"
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("from the caller\n", "")


def speak_bytes() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.buffer.write("grüße\n".encode())
        stream.buffer.writelines([b"and ", bytearray(b"more\n")])
        stream.flush()


def test_a_task_keeps_the_bytes_that_it_writes(make_pool: MakePool) -> None:
    """As text, wherever it runs."""
    with make_pool(capture=True) as pool:
        task = pool.submit(speak_bytes)
        task.result(DEADLINE)
        assert (task.stdout, task.stderr) == ("grüße\nand more\n",) * 2


def test_items_print_line_by_line(make_pool: MakePool, kept: Kept) -> None:
    """Lines of items become log records that name the item, the last one without an end too."""
    pool = make_pool(capture=True)
    assert list(pool.map(speak_item, range(6))) == list(range(6))
    pool.join(DEADLINE)
    pool.shutdown()
    lines = [(r.__dict__["wp_task_id"], r.getMessage()) for r in kept.records if r.levelno == 20]
    assert sorted(lines) == sorted(
        (n, line) for n in range(6) for line in (f"item {n}", "of a map")
    )
    assert kept.told("workpool.stderr") == ["careful"] * 6


def test_items_are_shown_where_nothing_logs(
    make_pool: MakePool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any handler, what items print is shown as before, in whole lines."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        with make_pool(capture=True) as pool:
            assert list(pool.map(speak_item, [1])) == [1]
    finally:
        root.handlers = before
    assert capsys.readouterr().out == "item 1\nof a map\n"


def test_the_streams_are_put_back(make_pool: MakePool) -> None:
    """When the last pool that captures is gone, sys.stdout is what it was."""
    before = sys.stdout, sys.stderr
    first, second = make_pool(1, capture=True), make_pool(1, capture=True)
    first.submit(print, "x").result(DEADLINE)
    first.shutdown()
    assert second.submit(speak_out, "y").stdout is not None
    second.shutdown()
    assert (sys.stdout, sys.stderr) == before


def test_nothing_is_kept_unasked(make_pool: MakePool, kind: Kind) -> None:
    """Without capture a task has no text."""
    task = make_pool(1).submit(tasks.double, 1)
    assert task.result(DEADLINE) == 2
    assert (task.stdout, task.stderr) == ("", "")


@pytest.mark.parametrize("setting", ["logs", "capture"])
def test_a_wrong_setting_is_refused(make_pool: MakePool, setting: str) -> None:
    """logs and capture are True or False, and said so at the call."""
    with pytest.raises(TypeError, match=setting):
        make_pool(1, **{setting: "yes"})
