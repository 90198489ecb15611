"""Errors whose classes raise where they are asked something: their task fails, and nothing else is hurt."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import awkward, tasks
from tests.support.gates import DEADLINE, Gate
from tests.support.queues import until
from workpool import Pool, TimeLimitExceeded


@pytest.mark.lacks("pickles")
@pytest.mark.parametrize("limit", [None, DEADLINE])
@pytest.mark.parametrize("kind_of_error", [awkward.NoTraceback, awkward.NoNotes])
def test_an_error_that_takes_no_traceback_is_told(
    pool: Pool, kind_of_error: type[Exception], limit: float | None
) -> None:
    """What its class makes of our words for it is not called: the task fails with it, and so does an item."""
    if limit is not None and pool.backend == "inline":
        pytest.skip("inline keeps no limits")
    view = pool.options(time_limit=limit)
    task = view.submit(tasks.fail_with, kind_of_error)
    assert type(task.exception(DEADLINE)) is kind_of_error
    results = view.map(tasks.fail_with, [kind_of_error] * 2, return_exceptions=True)
    assert [type(error) for error in results] == [kind_of_error] * 2
    pool.join(DEADLINE)
    assert view.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.parametrize("kind_of_error", [LookupError, awkward.NoNotes])
def test_where_retry_on_cannot_be_asked_nothing_runs_again(
    pool: Pool, kind_of_error: type[Exception]
) -> None:
    """The task fails with its own error, whose notes say why it was not tried again if it takes any; an item, too."""
    view = pool.options(retries=1, retry_on=awkward.Unaskable)
    task = view.submit(tasks.fail_with, kind_of_error)
    error: Any = task.exception(DEADLINE)
    assert type(error) is kind_of_error
    assert task.attempts == 1
    if kind_of_error is LookupError:
        assert "retry_on" in error.__notes__[0]
        assert "no answer" in error.__notes__[0]
    assert [type(each) for each in view.map(tasks.fail_at, [1], return_exceptions=True)] == [
        LookupError
    ]
    pool.join(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.needs("limits")
def test_a_late_task_whose_retry_on_cannot_be_asked_ends_no_other_limit(
    make_pool: MakePool, gate: Gate
) -> None:
    """Who keeps the limits goes on to keep those of later tasks."""
    pool = make_pool(2, retries=1, retry_on=awkward.Unaskable)
    for word in "ab":
        late = pool.options(time_limit=0.1).submit(tasks.hold, gate.path, 1, word)
        assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)


@pytest.mark.needs("own_threads")
def test_a_worker_that_breaks_down_loses_its_task_and_is_replaced(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it was: what it had is settled, and the next task has a worker."""
    pool = make_pool(1)

    def break_down(*_: object, **__: object) -> None:
        raise LookupError("nobody thought of that")

    with monkeypatch.context() as patch:
        patch.setattr(pool._scheduler, "fail", break_down)
        task = pool.submit(tasks.fail_with, ValueError)
        lost = task.exception(DEADLINE)
    assert "fail_with" in str(lost)
    assert "broke down" in str(lost)
    assert isinstance(lost and lost.__cause__, LookupError)
    pool.join(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    until(lambda: "broke down" in caplog.text)


@pytest.mark.needs("own_threads")
def test_a_call_that_fails_when_it_is_due_keeps_no_other_from_being_made(pool: Pool) -> None:
    """The thread of the timers goes on."""
    made = threading.Event()

    def fail() -> None:
        raise LookupError

    pool._scheduler.timers.after(0.0, fail)
    pool._scheduler.timers.after(0.001, made.set)
    assert made.wait(DEADLINE)


def _find(name: str, size: int = 1) -> None:
    if size == 1:
        raise awkward.NotFound(name)
    raise ExceptionGroup(
        "some", [awkward.NotFound(name), ExceptionGroup("inner", [awkward.NotFound("bob")])]
    )


def test_an_error_that_makes_its_text_has_made_it_once(pool: Pool) -> None:
    """It arrives as it was raised, though whoever unpickles an error calls its class with what it holds."""
    found = [
        pool.submit(_find, "ann").exception(DEADLINE),
        *pool.map(_find, ["ann"], return_exceptions=True, timeout=DEADLINE),
    ]
    for error in found:
        assert isinstance(error, awkward.NotFound)
        assert (error.args, error.name) == (("no such user: ann",), "ann")
    group: Any = pool.submit(_find, "ann", 2).exception(DEADLINE)
    first, inner = group.exceptions
    assert [str(first), str(inner.exceptions[0])] == ["no such user: ann", "no such user: bob"]


def _raise(kind: type[Exception], *args: object) -> None:
    raise kind(*args)


@pytest.mark.needs("pickles")
def test_a_class_that_says_how_its_errors_are_pickled_is_heard(pool: Pool) -> None:
    """What it leaves out stays where it is; and what it holds in slots of its own arrives."""
    redacted = pool.submit(_raise, awkward.Redacted, "secret").exception(DEADLINE)
    assert isinstance(redacted, awkward.Redacted)
    assert redacted.args == ("refused: (redacted)",)
    slotted = pool.submit(_raise, awkward.Slotted, 4).exception(DEADLINE)
    assert isinstance(slotted, awkward.Slotted)
    assert slotted.code == 4
