"""A word in shared memory that one can wait on."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time

import pytest

from workpool.ipc import futex, memory
from workpool.ipc.futex import Word


@pytest.fixture(params=["kernel", "polling"])
def word(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Word:
    """Make a word that the kernel waits on, and one that is looked at again and again."""
    if request.param == "polling":
        monkeypatch.setattr(futex, "_FUTEX", None)
    elif futex._FUTEX is None:
        pytest.skip("this system has no futex")
    return Word(memory.allocate(8), 4)


pytestmark = pytest.mark.usefixtures("arena")


def test_a_word_is_stored_whole(word: Word) -> None:
    """A word holds 32 bits, and wraps around beyond."""
    word.value = 2**32 - 1
    assert word.value == 2**32 - 1
    word.value += 1
    assert word.value == 0


def test_no_wait_for_a_word_that_is_another_already(word: Word) -> None:
    """wait() returns at once if the word is not what was last seen."""
    word.value = 5
    assert word.wait(4, timeout=30)


def test_a_wait_ends_with_its_timeout(word: Word) -> None:
    """wait() answers False when the word is the same at the end."""
    begin = time.monotonic()
    assert not word.wait(0, timeout=0.05)
    assert not word.wait(0, timeout=0)
    assert 0.05 <= time.monotonic() - begin < 10


def test_a_change_wakes_threads(word: Word) -> None:
    """Every waiting thread sees the change."""
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(word.wait(0, 30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    word.value = 1
    word.wake()
    for thread in threads:
        thread.join(30)
    assert seen == [True] * 3


def test_a_change_wakes_another_process(word: Word) -> None:
    """A waiter in another process sees the change, and answers by another."""

    def child() -> None:
        assert word.wait(0, 30)
        word.value = 2
        word.wake()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    word.value = 1
    word.wake()
    assert word.wait(1, 30)
    process.join(30)
    assert (word.value, process.exitcode) == (2, 0)


def test_a_change_without_a_wake_is_seen_in_time(word: Word) -> None:
    """Who dies between change and wake leaves no one waiting for ever."""
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(word.wait(0)))
    thread.start()
    word.value = 1
    thread.join(30)
    assert seen == [True]


def test_a_word_pickles_to_the_same_memory(word: Word) -> None:
    """An unpickled word is the same word."""
    pickle.loads(pickle.dumps(word)).value = 3
    assert word.value == 3
