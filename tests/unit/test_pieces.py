"""Pickles in pieces: what is large is not copied into them, and comes out as it went in."""

from __future__ import annotations

import pickle
import random
import sys
from array import array
from typing import Any

import pytest

from workpool.ipc import pickling, pieces

LARGE = bytes(range(256)) * 2_048  # 512 KiB
VERY_LARGE = LARGE * 12  # in fresh memory that is asked for in large pages


def there_and_back(value: Any, *, cuts: int = 0) -> Any:
    """Pickle in pieces and unpickle; with so many cuts at places drawn."""
    made, buffers = pieces.dumps(value)
    views = [memoryview(piece) for piece in made]
    if cuts:
        whole = memoryview(b"".join(views))
        drawn = random.Random(cuts).choices(range(1, len(whole)), k=cuts)
        places = sorted(set(drawn))
        ends = [*places, len(whole)]
        views = [whole[begin:end] for begin, end in zip([0, *places], ends, strict=True)]
    return pieces.loads(views, buffers)


VALUES: dict[str, Any] = {
    "bytes": LARGE,
    "very large bytes": VERY_LARGE,
    "bytearray": bytearray(LARGE),
    "very large bytearray": bytearray(VERY_LARGE),
    "array": array("q", LARGE),
    "array of other numbers": array("H", LARGE),
    "a call": ((LARGE, 1, "x", bytearray(LARGE)), {"key": array("i", LARGE)}),
    "deeper": ((LARGE, {"a": [LARGE, "x" * 300_000, {"b": bytearray(LARGE)}]}), {}),
    "many frames": ((LARGE, list(range(200_000))), {}),
}


@pytest.mark.parametrize("cuts", [0, 1, 7, 200])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_went(value: Any, cuts: int) -> None:
    """Equal and of the same types, wherever the memory that it lies in is cut."""
    back = there_and_back(value, cuts=cuts)
    assert back == value
    assert type(back) is type(value)


def test_large_bytes_are_not_copied_into_a_pickle() -> None:
    """They stand among the pieces as the very object; a bytearray as a view of it."""
    changeable = bytearray(LARGE)
    made, buffers = pieces.dumps(((LARGE, changeable), {}))
    assert any(piece is LARGE for piece in made)
    assert any(isinstance(piece, memoryview) and piece.obj is changeable for piece in made)
    assert sum(map(len, made)) < 2 * len(LARGE) + 200
    assert not buffers
    made, buffers = pieces.dumps(array("q", LARGE))
    assert sum(map(len, made)) < 200
    assert len(buffers) == 1


def test_what_is_the_same_object_stays_so() -> None:
    """A bytearray that a value holds twice is one object on the other side, too."""
    shared = bytearray(LARGE)
    first, (second,) = there_and_back((shared, [shared]))
    assert first is second


def test_a_copy_may_be_written_to() -> None:
    """What arrives is the receiver's own: the sender's does not change."""
    sent = array("B", LARGE)
    got = there_and_back(sent)
    got[0] = 99
    assert sent[0] == 0


class _Grows:
    """Makes a bytearray longer when it is pickled, as another thread may at any moment."""

    def __init__(self, grown: bytearray) -> None:
        self.grown = grown

    def __reduce__(self) -> Any:
        self.grown.extend(b"more")
        return int, ()


def test_a_bytearray_that_changes_its_size_meanwhile_does_no_harm() -> None:
    """What comes out is the bytearray as it was at one moment, and not the wreck of two."""
    grown = bytearray(LARGE)
    back, zero = there_and_back((grown, _Grows(grown)))
    assert zero == 0
    assert back == LARGE + b"more"  # as it was when it was pickled anew


VIEWS: dict[str, memoryview] = {
    "bytes": memoryview(LARGE),
    "part": memoryview(LARGE)[3:],
    "steps": memoryview(LARGE)[::2],
    "numbers": memoryview(LARGE).cast("q"),
    "table": memoryview(LARGE).cast("B", (512, 1024)),
    "writable": memoryview(bytearray(LARGE)),
    "array": memoryview(array("i", LARGE)),
    "small": memoryview(b"small"),
    "no bytes": memoryview(b""),
    "no numbers": memoryview(array("d")),
    "end": memoryview(LARGE)[len(LARGE) :],
    "number": memoryview(b"1234").cast("I", ()),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("place", ["top", "deep"])
def test_a_view_arrives_as_a_view(view: memoryview, place: str) -> None:
    """Read-only, of the same shape, format and content, wherever it stands; also if it is empty."""
    back = there_and_back(view) if place == "top" else there_and_back((LARGE, [view]))[1][0]
    assert back == view
    assert (back.format, back.shape, back.readonly) == (view.format, view.shape, True)


def test_what_no_view_can_be_cast_to_arrives_as_bytes() -> None:
    """Odd records, and nothing in two dimensions, are sent as what they hold."""
    np = pytest.importorskip("numpy")
    assert there_and_back(memoryview(np.zeros((0, 3)))) == b""
    records = np.zeros(100_000, dtype=[("a", "i4"), ("b", "f8")])
    assert there_and_back(memoryview(records)) == records.tobytes()


def test_a_pickle_that_is_cut_off_is_an_error() -> None:
    """Where the memory ends too early, unpickling fails instead of making something up."""
    made, _ = pieces.dumps(VERY_LARGE)
    whole = b"".join(made)
    for end in (len(whole) - 1, 5_000_000, 1_048_577):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            pieces.loads([memoryview(whole)[:end]], [])


def test_what_cannot_be_pickled_says_so() -> None:
    """An error is the same as without pieces."""
    with pytest.raises(TypeError, match="cannot pickle"):
        pieces.dumps(((LARGE, sys._getframe()), {}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (((), {}), False),
        (((1, "x", b"small", [LARGE]), {"key": {}}), False),
        (((1, LARGE), {}), True),
        (((1,), {"key": bytearray(LARGE)}), True),
        (LARGE, True),
        ((1, array("q", LARGE)), True),
        (memoryview(LARGE), True),
        (memoryview(b"small"), False),
    ],
)
def test_what_is_large_is_seen_at_the_top(value: Any, *, expected: bool) -> None:
    """Raw data is seen in a call's arguments and as a result; lists are not searched."""
    assert pieces.heavy(value) is expected


def test_a_notebooks_own_classes_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a worker cannot import __main__, what is of it travels by value, also beside large bytes."""
    made = type("Made", (), {"__module__": "__main__", "__qualname__": "Made"})
    monkeypatch.setattr(sys.modules["__main__"], "Made", made, raising=False)
    with_name, _ = pieces.dumps(((LARGE, made), {}))
    assert any(pickling.mentions_main(piece) for piece in with_name)
    monkeypatch.setattr(pickling, "main_is_importable", lambda: False)
    by_value, _ = pieces.dumps(((LARGE, made), {}))
    assert b"cloudpickle" in b"".join(by_value)
