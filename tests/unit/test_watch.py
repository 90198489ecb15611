"""Waiting for one of several descriptors, by epoll and where there is none."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from time import monotonic

import pytest

from tests.support.gates import in_background
from workpool.ipc import watch
from workpool.ipc.watch import Watch


@pytest.fixture(params=["epoll", "poll"], autouse=True)
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Wait by either means."""
    if request.param == "epoll" and not watch.CAN_SHARE:
        pytest.skip("this system has no epoll")
    monkeypatch.setattr(watch, "CAN_SHARE", request.param == "epoll")
    return str(request.param)


@pytest.fixture
def pipes() -> Generator[list[tuple[int, int]]]:
    """Give three pipes, each as its end for reading and its end for writing."""
    pipes = [os.pipe() for _ in range(3)]
    yield pipes
    for ends in pipes:
        for fd in ends:
            os.close(fd)


@pytest.fixture
def watched(pipes: list[tuple[int, int]]) -> Generator[Watch]:
    """Watch the first two pipes."""
    watched = Watch([pipes[0][0], pipes[1][0]])
    yield watched
    watched.close()


def test_those_that_can_be_read_are_given(watched: Watch, pipes: list[tuple[int, int]]) -> None:
    """Each descriptor that is ready, and no other."""
    assert watched.wait(0.0) == set()
    os.write(pipes[1][1], b"x")
    assert watched.wait(20.0) == {pipes[1][0]}
    os.write(pipes[0][1], b"x")
    os.write(pipes[2][1], b"x")
    assert watched.wait(None) == {pipes[0][0], pipes[1][0]}


def test_who_sleeps_is_woken(watched: Watch, pipes: list[tuple[int, int]]) -> None:
    """A wait without an end ends with the first byte."""
    sleeper = in_background(watched.wait, None)
    os.write(pipes[0][1], b"x")
    assert sleeper.result() == {pipes[0][0]}


def test_the_end_of_a_pipe_is_something_to_read(watched: Watch) -> None:
    """That is how the death of a worker is seen."""
    r, w = os.pipe()
    watched.heed(r)
    os.close(w)
    assert watched.wait(20.0) == {r}
    watched.ignore(r)
    os.close(r)


def test_what_is_ignored_is_not_given(watched: Watch, pipes: list[tuple[int, int]]) -> None:
    """One who reads it himself takes it out for a while."""
    os.write(pipes[0][1], b"x")
    watched.ignore(pipes[0][0])
    assert watched.wait(0.0) == set()
    watched.heed(pipes[0][0])
    assert watched.wait(0.0) == {pipes[0][0]}


def test_room_to_write_is_waited_for_once(watched: Watch, pipes: list[tuple[int, int]]) -> None:
    """A pipe that is full has no room until it is read; the next wait does not ask for it."""
    r, w = pipes[2]
    os.set_blocking(w, False)
    with suppress(BlockingIOError):
        while True:
            os.write(w, b"x" * 65_536)
    assert watched.wait(0.0, room_on=[w]) == set()
    os.read(r, 1 << 20)
    assert watched.wait(20.0, room_on=[w]) == {w}
    assert watched.wait(0.0) == set()


@pytest.fixture
def rests(means: str, watched: Watch, pipes: list[tuple[int, int]]) -> Watch:
    """Give one that leaves out the first pipe, in which there is something."""
    if means == "poll":
        pytest.skip("only the sleeper may change what it waits for")
    os.write(pipes[0][1], b"x")
    watched.rest(pipes[0][0])
    return watched


def test_what_rests_is_left_out_until_it_is_listened_to(
    rests: Watch, pipes: list[tuple[int, int]]
) -> None:
    """Who reads it leaves it out for as long as he likes; resting or listening twice changes nothing."""
    rests.rest(pipes[0][0])
    assert rests.wait(0.0) == set()
    rests.listen()
    rests.listen()
    assert rests.wait(20.0) == {pipes[0][0]}


def test_a_rest_ends_with_an_alarm(rests: Watch, pipes: list[tuple[int, int]]) -> None:
    """The sleeper is woken by it, with nothing to read, and listens again."""
    began = monotonic()
    assert rests.wait(20.0) == set()
    assert monotonic() - began < 10.0
    rests.listen()
    assert rests.wait(20.0) == {pipes[0][0]}


def test_an_alarm_rings_once(rests: Watch, pipes: list[tuple[int, int]]) -> None:
    """The next rest has its own."""
    os.read(pipes[0][0], 1)
    assert rests.wait(20.0) == set()
    assert rests.wait(0.0) == set()
    rests.listen()
    rests.rest(pipes[0][0])
    assert rests.wait(20.0) == set()
