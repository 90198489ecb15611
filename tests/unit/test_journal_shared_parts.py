"""Items whose parts share parts at many levels: their digests do not take for ever, and stay those of the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workpool import JournalMismatch, Pool
from workpool.journal import digests
from workpool.journal.digests import digest


class Leaf:
    """Counts how often it is pickled."""

    visits = 0

    def __reduce__(self) -> tuple[object, ...]:
        Leaf.visits += 1
        if Leaf.visits > 100_000:
            message = "this takes for ever"
            raise ValueError(message)
        return Leaf, ()


def shared(depth: int, leaf: Any) -> Any:
    """Make a value of so many levels, of which each has the one below twice."""
    value: Any = [leaf, {"a": {1, 2}}]
    for level in range(depth):
        value = [value, (value, level), {"k": value}][: 2 + level % 2]
    return value


def unshared(depth: int, leaf: Any) -> Any:
    """Make an equal value in which nothing is shared."""
    if depth == 0:
        return [leaf, {"a": {2, 1}}]
    level = depth - 1

    def below() -> Any:
        return unshared(level, leaf)

    return [below(), (below(), level), *([{"k": below()}] if level % 2 else [])]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have shared parts be written in each place up to 64 KiB only."""
    monkeypatch.setattr(digests, "_MUCH", 1 << 16, raising=False)


@pytest.mark.usefixtures("little")
def test_shared_parts_are_gone_through_once() -> None:
    """A value of a hundred levels has a digest, and another one has another."""
    Leaf.visits = 0
    known = digest(shared(100, Leaf()), 0)
    assert Leaf.visits < 100_000
    assert known == digest(shared(100, Leaf()), 0)
    assert known != digest(shared(101, Leaf()), 0)
    assert known != digest(shared(100, "leaf"), 0)


@pytest.mark.usefixtures("little")
def test_it_is_the_digest_of_the_value() -> None:
    """Whatever of it is shared, it is the same item."""
    one, other = shared(9, "leaf"), unshared(9, "leaf")
    assert one == other
    assert digests._by_parts(one) == digests._by_parts(other)
    assert set(digests.other_digests(one)) == set(digests.other_digests(other))


def test_a_journal_that_was_kept_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digests are of all shared parts in each place; they are the same items, and run no more."""
    path = tmp_path / "run.sqlite"
    items = [shared(12, f"leaf {n}") for n in range(3)]
    ran: list[int] = []

    def work(item: Any) -> int:
        ran.append(1)
        return len(item)

    with Pool(1) as pool:
        before = list(pool.map(work, items, journal=path))
        monkeypatch.setattr(digests, "_MUCH", 1 << 16)
        now = digest(items[0], 0)
        assert now == digests._by_parts(items[0])
        ran.clear()
        assert list(pool.map(work, items, journal=path)) == before
        assert not ran
        with pytest.raises(JournalMismatch, match="another item 0"):
            pool.map(work, [*items[1:], items[0]], journal=path)
