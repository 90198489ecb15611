"""Logging from where nothing may be raised."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable

import pytest

from workpool.safelog import SafeLog
from workpool.target import Target, mine


class Stop(BaseException):
    """Is sent into a thread."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], SafeLog]:
    """Give a log whose records cannot be made, because of that call."""

    def make(call: Callable[[], None]) -> SafeLog:
        monkeypatch.setattr(logging, "_logRecordFactory", lambda *_: call())
        return SafeLog("workpool.tests")

    return make


def leave() -> None:
    sys.exit("no request")


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_what_cannot_be_logged_is_written(
    failing: Callable[..., SafeLog],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message, the error that it tells of, and what went wrong with the log; nothing is raised."""
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    log = failing(leave)
    try:
        raise LookupError("lost")
    except LookupError:
        log.exception("worker %d failed", 1)
    log.error("worker %d failed", 2, exc_info=LookupError("lost"))
    log.warning("worker %d waits", 3)
    told = capsys.readouterr().err.splitlines()
    reason = "(this could not be logged: SystemExit: no request)"
    expected = [
        f"worker 1 failed {reason}",
        f"worker 2 failed {reason}",
        f"worker 3 waits {reason}",
    ]
    assert [line for line in told if line.startswith("worker")] == expected
    assert told.count("LookupError: lost") == 2


def test_what_cannot_be_written_either_is_let_go(
    failing: Callable[..., SafeLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, or with arguments that do not fit, nothing is raised."""
    log = failing(leave)
    log.warning("%d", "no number")
    monkeypatch.setattr(sys, "__stderr__", None)
    log.warning("worker %d waits", 3)


def test_ctrl_c_is_heard_in_a_handler(failing: Callable[..., SafeLog]) -> None:
    """It is the caller's, and no fault of the log."""
    with pytest.raises(KeyboardInterrupt):
        failing(press_ctrl_c).warning("slow")


def test_what_is_sent_into_a_thread_is_heard_in_a_handler(
    failing: Callable[..., SafeLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread, which is given up, would never end."""

    def send(error: type[BaseException]) -> bool:
        raise error

    target = Target()
    monkeypatch.setattr(mine, "target", target)
    with pytest.raises(Stop):
        failing(lambda: target.strike(Stop, send)).warning("slow")


def test_the_place_named_is_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    """A record says where it was logged, and not that this passes through here."""
    SafeLog("workpool.tests").warning("here")
    assert caplog.records[0].funcName == "test_the_place_named_is_the_callers"
