"""A worker is killed at a line of its life: from the first that it runs to the last, in any of its threads.

It is forked from this very process (`start_method="fork"`), so it can be armed before it begins.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import fatal_contexts, tasks
from tests.support.fatal import die_if, started
from tests.support.gates import DEADLINE, in_background
from tests.support.linewise import Lines, armed
from workpool import InitializerFailed, Pool, WorkerLost
from workpool.backends.process import driver
from workpool.ipc import worker

pytestmark = pytest.mark.heavy

LARGE = bytes(400_000)
SOME = [
    pytest.param(30, id="some"),
    pytest.param(1_000, id="many", marks=[pytest.mark.stress, pytest.mark.timeout(1200)]),
]
MOST = 7_000  # lines of a life, roughly: most of them before the first task


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill the next worker that is forked at the line that is put in here."""
    number: list[int] = []
    launch: Callable[..., Any] = driver.launch  # type: ignore[attr-defined]  # not exported
    main = worker.main

    def launch_one(*args: Any, **kwargs: Any) -> Any:
        try:
            return launch(*args, **kwargs)
        finally:
            number.clear()

    def main_of_one(*args: Any) -> int:
        if not number:
            return main(*args)
        with armed(number[0], threads=True):
            return main(*args)

    monkeypatch.setattr(driver, "launch", launch_one)
    monkeypatch.setattr(worker, "main", main_of_one)
    return number


def live(pool: Pool, starts: Path) -> dict[str, list[Any]]:
    """Have a worker do a bit of everything and leave; give what came out, and errors in its place."""
    fn = partial(die_if, str(starts), -1, "SIGKILL")
    out: dict[str, list[Any]] = {}
    with pool:
        submitted = [pool.submit(fn, n) for n in range(3)]
        out["tasks"] = [task.exception(DEADLINE) or task.result(0) for task in submitted]
        out["items"] = list(
            pool.map(fn, range(10, 14), chunksize=4, return_exceptions=True, timeout=DEADLINE)
        )
        out["tiny"] = list(
            pool.map(
                tasks.double, range(40), chunksize=20, return_exceptions=True, timeout=DEADLINE
            )
        )
        echo = pool.submit(tasks.echo, LARGE)
        out["large"] = [echo.exception(DEADLINE) or echo.result(0)]
    return out


def in_time(pool: Pool, call: Callable[[Pool, Path], Any], starts: Path) -> Any:
    """Give what came of such a life; if it does not end, tell where everybody is."""
    try:
        return in_background(call, pool, starts).result(DEADLINE)
    except AssertionError:
        print(pool.stats(), *pool.stacks(), sep="\n\n")
        faulthandler.dump_traceback(2)
        raise


def errors_in(out: dict[str, list[Any]]) -> list[BaseException]:
    return [each for kind in out.values() for each in kind if isinstance(each, BaseException)]


RIGHT: dict[str, list[Any]] = {
    "tasks": [0, 2, 4],
    "items": [20, 22, 24, 26],
    "tiny": list(range(0, 80, 2)),
    "large": [LARGE],
}


@pytest.mark.parametrize("some", SOME)
def test_killed_at_any_line_of_its_life(
    doomed: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], some: int
) -> None:
    """One call at most is charged, everything else comes out right, and the pool ends."""
    lines = Lines(some, MOST)
    for number in lines:
        doomed.append(number)
        starts = tmp_path / f"{number}"
        pool = Pool(1, backend="process", start_method="fork")
        out = in_time(pool, live, starts)
        errors = errors_in(out)
        assert all(isinstance(error, WorkerLost) for error in errors), (number, errors)
        assert len(errors) <= 1, (number, errors)
        for kind, right in RIGHT.items():
            for value, expected in zip(out[kind], right, strict=True):
                assert isinstance(value, WorkerLost) or value == expected, (number, kind)
        counts = started(starts)
        charged = 1 if errors else 0
        assert set(counts.values()) == {1}
        assert len(counts) in {7 - charged, 7}
        lines.died(died=pool.stats().lost == 1)
        starts.unlink()
    assert lines.killed > 2, lines
    if some == 1_000:
        with capsys.disabled():
            print(f"\na life: {lines}")


@pytest.mark.parametrize("some", SOME)
def test_killed_at_any_line_with_an_initializer(
    doomed: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], some: int
) -> None:
    """The same; or, if it died in the user's setup, everything fails with that reason."""
    lines = Lines(some, MOST)
    failed = 0
    for number in lines:
        doomed.append(number)
        pool = Pool(
            1,
            backend="process",
            start_method="fork",
            initializer=tasks.initialize,
            worker_context=fatal_contexts.well(str(tmp_path / "log")),
        )
        out = in_time(pool, live_or_fail, tmp_path / f"{number}")
        if isinstance(out, InitializerFailed):
            failed += 1
        else:
            errors = errors_in(out)
            kinds = set(map(type, errors))
            assert kinds <= {WorkerLost} or kinds == {InitializerFailed}, (number, kinds)
            assert len(errors) <= 1 or kinds == {InitializerFailed}, (number, errors)
        assert pool.unfinished == 0
        lines.died(died=pool.stats().lost == 1)
    assert lines.killed > 2, lines
    if some == 1_000:
        with capsys.disabled():
            print(f"\na life with an initializer: {lines}, {failed} of them in it")


def live_or_fail(pool: Pool, starts: Path) -> Any:
    try:
        return live(pool, starts)
    except InitializerFailed as error:
        return error
