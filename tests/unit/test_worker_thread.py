"""Threads of workers, whose end may be waited for before they begin."""

from __future__ import annotations

import threading

import pytest

from tests.support.gates import DEADLINE, in_background
from workpool.scheduling.worker import WorkerThread


def test_the_end_of_a_thread_can_be_waited_for_before_its_start() -> None:
    """Who waits early sees the end, and not an error."""
    go = threading.Event()

    def work() -> None:
        go.wait(DEADLINE)

    thread = WorkerThread(work, "crew-0")
    assert not thread.ended(0.0)
    waiting = in_background(thread.ended, DEADLINE)
    thread.start()
    assert not thread.ended(0.0)
    go.set()
    assert waiting.result()
    assert thread.ended(None)


def test_a_thread_that_could_not_start_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a thread that the system did not give."""

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = WorkerThread(lambda: None, "crew-0")
    waiting = in_background(thread.ended, DEADLINE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError):
            thread.start()
    assert waiting.result()
