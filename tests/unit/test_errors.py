"""Errors that many are told of: each gets one of his own."""

from __future__ import annotations

import pickle

import pytest

from tests.support import awkward
from workpool import NotPicklable, WorkerLost
from workpool.errors import WorkerTraceback, anew, could_not_begin, without_frames
from workpool.ipc import pickling


class Peculiar(Exception):
    """An error that cannot be made again from what it says of itself."""

    def __init__(self, one: int, *, other: int) -> None:
        super().__init__(one)
        self.other = other


def raised(error: BaseException) -> BaseException:
    """Give an error that has been raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_an_error_anew_tells_the_same() -> None:
    """Type, message, attributes, notes, cause and place are those of the first; a note added later is not."""
    first = WorkerLost("it died", worker=3, exitcode=-9)
    first.add_note("of old age")
    first.__cause__ = OSError(2, "no such file", "a")
    second = anew(raised(first))
    assert isinstance(second, WorkerLost)
    assert second is not first
    assert (str(second), second.worker, second.exitcode) == ("it died", 3, -9)
    assert second.__cause__ is first.__cause__
    assert second.__traceback__ is first.__traceback__
    second.add_note("or not")
    assert first.__notes__ == ["of old age"]
    assert str(anew(OSError(2, "no such file", "a"))) == "[Errno 2] no such file: 'a'"


def test_one_that_cannot_be_made_again_is_given_as_it_is() -> None:
    """Another's error whose parts are not its arguments stays what it is."""
    error = Peculiar(1, other=2)
    assert anew(error) is error


@pytest.mark.parametrize("cause", [LookupError("lost"), Peculiar(1, other=2)])
def test_an_error_without_frames_says_where_as_text(cause: Exception) -> None:
    """The traceback of the cause is there to be read; the cause itself is left as it was."""
    before = raised(cause).__traceback__
    kept = without_frames(could_not_begin("Pool-0", 1, cause))
    told = kept.__cause__
    assert told is not None
    if isinstance(cause, LookupError):
        assert (type(told), told.__traceback__) == (LookupError, None)
        told = told.__cause__
    assert isinstance(told, WorkerTraceback)
    assert "in raised" in told.text
    assert cause.__traceback__ is before is not None
    assert kept.__traceback__ is None


@pytest.mark.parametrize("kind", [awkward.Frozen, awkward.SetsNothing, awkward.HidesTrace])
def test_an_error_that_is_an_odd_object_can_be_kept(kind: type[Exception]) -> None:
    """One that lets nothing be set, or hides where it was raised, is told as any other."""
    kept = without_frames(could_not_begin("Pool-0", 1, kind(3)))
    assert isinstance(kept.__cause__, (kind, WorkerTraceback))
    assert kept.__traceback__ is None


def test_an_error_that_cannot_come_here_has_a_stand_in() -> None:
    """It tells what was raised, why it is not here, and where, as text."""
    data = pickle.dumps("at home\nfar.Away: no licence\n") + b"cno_such_module\nAway\n."
    stand_in = pickling.load_error_or_stand_in(data)
    assert isinstance(stand_in, NotPicklable)
    assert stand_in.part == "exception"
    assert "far.Away: no licence" in str(stand_in)
    assert "No module named 'no_such_module'" in str(stand_in)
    assert isinstance(stand_in.__cause__, WorkerTraceback)
    assert "at home" in stand_in.__cause__.text
    with pytest.raises(ModuleNotFoundError) as caught:
        pickling.load_error(data)
    assert isinstance(caught.value.__cause__, WorkerTraceback)
