"""A worker's reports: whole, in order, and never in wait for themselves."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from workpool import Unsupported, settings
from workpool.backends.base import Capabilities
from workpool.ipc.frames import FrameReader, write_all
from workpool.ipc.reporting import Reporter


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    """Give a pipe."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def frames_in(fd: int) -> list[Any]:
    os.set_blocking(fd, False)
    reader = FrameReader(fd)
    found: list[Any] = []
    try:
        while reader.read_once():
            while (frame := reader.next_frame()) is not None:
                found.append(frame[0])
    except BlockingIOError:
        pass
    return found


def test_a_report_in_the_middle_of_another_follows_it(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer that logs while a record is being written waits for nobody and tears nothing."""
    reporter = Reporter(pipe[1], lambda: -1)
    inner = iter(["inner"])

    def interrupted(fd: int, pieces: list[bytes]) -> None:
        half = len(pieces[0]) // 2
        os.write(fd, pieces[0][:half])
        for word in inner:
            reporter.send((word, "x" * 100))
        write_all(fd, [pieces[0][half:]])

    monkeypatch.setattr("workpool.ipc.frames.write_all", interrupted)
    reporter.send(("outer", "y" * 10_000))
    reporter.send(("next", ""))
    assert [frame[0] for frame in frames_in(pipe[0])] == ["outer", "inner", "next"]


class Late(Exception):
    """What the handler of a signal raises."""


def test_nothing_follows_a_report_that_was_torn(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the middle of a large report: what comes later is no part of it, and no error."""
    reporter = Reporter(pipe[1], lambda: -1)

    def struck(fd: int, pieces: list[bytes]) -> None:
        os.write(fd, pieces[0][:1_000])
        raise Late

    reporter.send(("before", ""))
    with monkeypatch.context() as patch:
        patch.setattr("workpool.ipc.frames.write_all", struck)
        with pytest.raises(Late):
            reporter.send(("torn", "y" * 10_000))
    for size in (1, 10_000):
        reporter.send(("later", "z" * size))
    assert [frame[0] for frame in frames_in(pipe[0])] == ["before"]


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    """A report that nobody will read is dropped: the worker is about to end with its parent."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        Reporter(write_end, lambda: -1).send(("lost",))
    finally:
        os.close(write_end)


def test_a_fork_does_not_write(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process forked from the worker keeps out of its pipe."""
    reporter = Reporter(pipe[1], lambda: -1)
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    reporter.send(("torn",))
    monkeypatch.undo()
    reporter.send(("whole",))
    assert frames_in(pipe[0]) == [("whole",)]


class Silent:
    """A backend whose tasks cannot be heard."""

    capabilities = Capabilities(name="silent", scope="process", time_limit=False, ends_tasks=False)


@pytest.mark.parametrize("asked", ["logs", "capture"])
def test_a_backend_that_cannot_report_says_so(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """What would be lost is refused at the call, by name, with the way out."""
    monkeypatch.setattr(settings, "find", lambda _: Silent)
    how: dict[str, Any] = {asked: True}
    with pytest.raises(Unsupported, match=rf"{asked}=True .* Use backend=\"process\""):
        settings.Settings(backend="silent", **how).find_backend()
