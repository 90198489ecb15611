"""The timeline: what ran when is remembered on every backend, if it was asked for."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate
from workpool import Pool, Unsupported


def never_ends(_: object = None) -> NoReturn:
    """Go on until an exception comes from outside."""
    pause = threading.Event()
    while True:
        pause.wait(0.001)


def double_or_die(n: int) -> int:
    """Die at the fiftieth item."""
    if n == 50:
        os._exit(7)
    return 2 * n


def trace_of(pool: Pool, folder: Path) -> list[dict[str, Any]]:
    """Write a trace and read it again."""
    path = folder / "trace.json"
    pool.timeline(path)
    events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return events


def slices_of(pool: Pool, folder: Path) -> list[dict[str, Any]]:
    return [event for event in trace_of(pool, folder) if event["ph"] == "X"]


def test_each_task_is_a_slice(make_pool: MakePool, tmp_path: Path) -> None:
    """A task's slice has its name, id, worker, times and outcome."""
    pool = make_pool(record=True)
    done = [pool.options(name="twice").submit(tasks.double, n) for n in range(5)]
    failed = pool.submit(tasks.fail_with, LookupError, "gone")
    pool.join(DEADLINE)
    found = {one["args"]["id"]: one for one in slices_of(pool, tmp_path)}
    assert len(found) == 6
    for task in done:
        one = found[task.id]
        assert (one["name"], one["cat"], one["tid"]) == ("twice", "task", (task.worker or 0) + 1)
        assert one["args"]["outcome"] == "done"
        assert abs(one["dur"] - task.ran_for * 1e6) < 0.01
        assert abs(one["args"]["waited_ms"] - task.queued_for * 1e3) < 0.01
    assert found[failed.id]["args"] | {"waited_ms": 0} == {
        "outcome": "failed",
        "id": failed.id,
        "attempt": 1,
        "error": "LookupError",
        "waited_ms": 0,
    }


@pytest.mark.parametrize("retries", [0, 1])
def test_tiny_items_share_slices(make_pool: MakePool, tmp_path: Path, retries: int) -> None:
    """Ten thousand tiny items are few slices, which count them all once, and those that failed."""
    pool = make_pool(record=True)
    how = pool.options(retries=retries)
    assert len(list(how.map(tasks.fail_if_odd, range(4_000), return_exceptions=True))) == 4_000
    assert len(list(how.map(tasks.double, range(6_000)))) == 6_000
    pool.join(DEADLINE)
    slices = slices_of(pool, tmp_path)
    assert len(slices) < 2_500
    by_name: Counter[str] = Counter()
    failed = 0
    for one in slices:
        by_name[one["name"]] += one["args"]["items"]
        failed += one["args"]["failed"]
    assert by_name == {"fail_if_odd": 4_000, "double": 6_000}
    assert failed == 2_000
    covered = sorted(
        n
        for one in slices
        if one["name"] == "double"
        for n in range(one["args"]["first item"], one["args"]["first item"] + one["args"]["items"])
    )
    assert covered == list(range(6_000))


def test_slices_of_a_worker_do_not_overlap(make_pool: MakePool, tmp_path: Path) -> None:
    """A track shows one thing at a time, as the viewers want it."""
    pool = make_pool(record=True)
    for n in range(50):
        pool.submit(tasks.double, n)
    list(pool.map(tasks.double, range(2_000)))
    pool.join(DEADLINE)
    ends: dict[int, float] = {}
    for one in slices_of(pool, tmp_path):  # by their beginning
        assert one["ts"] >= ends.get(one["tid"], 0.0) - 0.01
        ends[one["tid"]] = one["ts"] + one["dur"]


@pytest.mark.needs("exit_codes")
def test_a_task_that_died_began_when_it_did(make_pool: MakePool, tmp_path: Path) -> None:
    """Its slice does not reach over those of tasks that were sent along with it and ran before."""
    pool = make_pool(1, record=True)
    list(pool.map(double_or_die, [0] * 300, chunksize=1))  # so they are known to be short
    list(pool.map(double_or_die, [*range(100)], chunksize=1, return_exceptions=True))
    slices = slices_of(pool, tmp_path)
    assert [one["args"]["outcome"] for one in slices].count("failed") == 1
    for one, following in pairwise(slices):  # by their beginning
        assert following["ts"] >= one["ts"] + one["dur"] - 0.01


def test_every_attempt_is_a_slice(make_pool: MakePool, tmp_path: Path) -> None:
    """Attempts that failed and were followed by another are shown as such."""
    pool = make_pool(record=True)
    task = pool.options(retries=2, retry_on=LookupError).submit(tasks.fail_until, 3)
    assert task.result(DEADLINE) == 3
    outcomes = [(s["args"]["attempt"], s["args"]["outcome"]) for s in slices_of(pool, tmp_path)]
    assert outcomes == [(1, "retried"), (2, "retried"), (3, "done")]


@pytest.mark.needs("concurrent")
def test_the_depth_of_the_queue_is_told(make_pool: MakePool, busy: Busy, tmp_path: Path) -> None:
    """The counter rises with what is queued, and falls with what starts or is cancelled."""
    pool = make_pool(1, record=True)
    with busy(pool):
        queued = [pool.submit(tasks.double, n) for n in range(3)]
        results = pool.map(tasks.double, range(10))
        levels = [e["args"]["tasks"] for e in trace_of(pool, tmp_path) if e["ph"] == "C"]
        assert levels[-1] == 13, "what still waits counts"
        assert queued[1].cancel()
    list(results)
    pool.join(DEADLINE)
    levels = [e["args"]["tasks"] for e in trace_of(pool, tmp_path) if e["ph"] == "C"]
    # On an engine the word that the first task has begun may come after the others are queued.
    assert max(levels) in {13, 14}
    assert levels[-1] == 0


@pytest.mark.needs("ends_tasks")
def test_what_befell_a_worker_is_told(kind: Kind, make_pool: MakePool, tmp_path: Path) -> None:
    """A worker's death is marked on its track, and the task it ran ends there."""
    pool = make_pool(1, record=True)
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        assert task.cancel(kill=True)
    assert pool.submit(tasks.die, 3).exception(DEADLINE) is not None
    items = pool.map(tasks.die, [4], return_exceptions=True)
    assert len(list(items)) == 1
    pool.join(DEADLINE)
    events = trace_of(pool, tmp_path)
    marks = [event["name"] for event in events if event["ph"] == "i"]
    assert [mark.split(" of ")[0] for mark in marks] == ["died"] * 3
    assert "exit code 3" in marks[1] or not kind.can("exit_codes")
    outcomes = [e["args"]["outcome"] for e in events if e["ph"] == "X"]
    assert outcomes == ["cancelled", "failed", "failed"]


@pytest.mark.needs("writes_off")
def test_a_thread_written_off_is_told(make_pool: MakePool, tmp_path: Path) -> None:
    """A thread that is left to itself is marked, and what it ran ends there: task and item."""
    pool = make_pool(1, record=True)
    limited = pool.options(time_limit=0.05)
    assert limited.submit(never_ends).exception(DEADLINE) is not None
    assert list(limited.map(never_ends, [1], return_exceptions=True))
    pool.join(DEADLINE)
    events = trace_of(pool, tmp_path)
    assert [e["name"] for e in events if e["ph"] == "i"] == ["written off"] * 2
    slices = [e for e in events if e["ph"] == "X"]
    assert [one["args"]["outcome"] for one in slices] == ["failed"] * 2
    assert all(one["dur"] >= 49_000 for one in slices)


def test_a_pool_that_is_shut_down_still_tells(make_pool: MakePool, tmp_path: Path) -> None:
    """A report can be written when all is over, as page and as trace."""
    with make_pool(record=True) as pool:
        pool.submit(tasks.double, 1)
    for name in ("report.html", "trace.json", "trace.json.gz"):
        pool.timeline(os.fsencode(tmp_path / name))  # type: ignore[arg-type]  # taken all the same
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "trace.json",
        "trace.json.gz",
    ]


def test_a_pool_that_does_not_record_says_so(pool: Pool, tmp_path: Path) -> None:
    """Without record=True there is nothing to write, and the message tells the way out."""
    with pytest.raises(Unsupported, match=r"record=True"):
        pool.timeline(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
