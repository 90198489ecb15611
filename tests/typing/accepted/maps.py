"""A map call pairs items with parameters, and yields what the function returns."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import assert_type

from workpool import Journal, Pool, Progress, Results


def one(a: int) -> str:
    """Take one item."""
    return str(a)


def two(a: int, b: str) -> bytes:
    """Take two."""
    return b.encode() * a


def three(a: int, b: str, c: float) -> float:
    """Take three."""
    return a + len(b) + c


def four(a: int, b: str, c: float, d: bytes) -> list[int]:
    """Take four."""
    return [a, len(b), int(c), len(d)]


def five(a: int, b: str, c: float, d: bytes, e: None) -> tuple[int, str]:
    """Take five."""
    del c, d, e
    return a, b


def six(a: int, b: str, c: float, d: bytes, e: None, f: int) -> set[int]:
    """Take six."""
    del b, c, d, e
    return {a, f}


def defaults(a: int, b: str = "", *, c: float = 0.0) -> complex:
    """Take one item or two."""
    return complex(a + len(b), c)


def many(*items: int) -> int:
    """Take any number."""
    return sum(items)


INTS = [1, 2]
STRS = ["a", "b"]
FLOATS = (1.0, 2.0)
BYTES = {b"a": 1}
NONES = [None, None]


def maps(pool: Pool) -> None:
    """One to five iterables are paired; with more, the result's type is kept."""
    assert_type(pool.map(one, INTS), Results[str])
    assert_type(pool.map(two, INTS, STRS), Results[bytes])
    assert_type(pool.map(three, INTS, STRS, FLOATS), Results[float])
    assert_type(pool.map(four, INTS, STRS, FLOATS, BYTES), Results[list[int]])
    assert_type(pool.map(five, INTS, STRS, FLOATS, BYTES, NONES), Results[tuple[int, str]])
    assert_type(pool.map(six, INTS, STRS, FLOATS, BYTES, NONES, INTS), Results[set[int]])
    assert_type(
        pool.map(many, INTS, INTS, INTS, INTS, INTS, INTS, INTS),
        Results[int],
    )


def inputs(pool: Pool, lines: Iterable[str], numbers: Iterator[int]) -> None:
    """Any iterable will do, and any callable."""
    assert_type(pool.map(len, ["a"]), Results[int])
    assert_type(pool.map(len, lines), Results[int])
    assert_type(pool.map(one, numbers), Results[str])
    assert_type(pool.map(one, range(10)), Results[str])
    assert_type(pool.map(one, itertools.count()), Results[str])
    assert_type(pool.map(one, (n for n in INTS)), Results[str])
    assert_type(pool.map(int, lines), Results[int])
    assert_type(pool.map(str.upper, lines), Results[str])
    assert_type(pool.map(lambda n: n + 1, INTS), Results[int])
    assert_type(pool.map(lambda n, s: s * n, INTS, STRS), Results[str])
    assert_type(pool.map(defaults, INTS), Results[complex])
    assert_type(pool.map(defaults, INTS, STRS), Results[complex])
    assert_type(pool.map(lambda item: item[0], {"a": 1}.items()), Results[str])


def how(pool: Pool) -> None:
    """The ways of a map call change nothing about its type."""
    assert_type(
        pool.map(one, INTS, timeout=1.0, chunksize=10, buffersize=100, ordered=False),
        Results[str],
    )
    assert_type(
        pool.map(two, INTS, STRS, timeout=None, chunksize=None, buffersize=None), Results[bytes]
    )
    assert_type(pool.options(retries=1).map(one, INTS), Results[str])
    assert_type(pool.options(retries=1).map(two, INTS, STRS, chunksize=1), Results[bytes])


def keeps_a_journal(pool: Pool, path: Path) -> None:
    """A journal is a path, or one with a version."""
    assert_type(pool.map(one, INTS, journal="run.sqlite"), Results[str])
    assert_type(pool.map(two, INTS, STRS, journal=path), Results[bytes])
    kept = Journal(path, version="2")
    assert_type(pool.starmap(two, [(1, "a")], journal=kept), Results[bytes])


def shows_progress(pool: Pool) -> None:
    """Progress is drawn, or told to a function."""

    def tell(progress: Progress) -> None:
        assert_type(progress.done, int)
        assert_type(progress.total, int | None)

    assert_type(pool.map(one, INTS, progress=True), Results[str])
    assert_type(
        pool.map(one, INTS, progress="rich", return_exceptions=True), Results[str | BaseException]
    )
    assert_type(pool.map(two, INTS, STRS, progress=tell), Results[bytes])
    assert_type(pool.map(one, INTS, progress=lambda now: print(now.done)), Results[str])


def errors_as_values(pool: Pool, yields: bool) -> None:
    """With return_exceptions a result may be an error; how many iterables makes no difference."""
    assert_type(pool.map(one, INTS, return_exceptions=False), Results[str])
    assert_type(pool.map(two, INTS, STRS, return_exceptions=False), Results[bytes])
    assert_type(pool.map(one, INTS, return_exceptions=True), Results[str | BaseException])
    assert_type(pool.map(two, INTS, STRS, return_exceptions=True), Results[bytes | BaseException])
    assert_type(
        pool.map(three, INTS, STRS, FLOATS, return_exceptions=True, ordered=False),
        Results[float | BaseException],
    )
    assert_type(
        pool.map(four, INTS, STRS, FLOATS, BYTES, return_exceptions=True),
        Results[list[int] | BaseException],
    )
    assert_type(
        pool.map(five, INTS, STRS, FLOATS, BYTES, NONES, return_exceptions=True),
        Results[tuple[int, str] | BaseException],
    )
    assert_type(
        pool.map(six, INTS, STRS, FLOATS, BYTES, NONES, INTS, return_exceptions=True),
        Results[set[int] | BaseException],
    )
    assert_type(pool.map(one, INTS, return_exceptions=yields), Results[str | BaseException])
    for result in pool.map(one, INTS, return_exceptions=True):
        if isinstance(result, BaseException):
            assert_type(result, BaseException)
        else:
            assert_type(result, str)


def starmaps(pool: Pool, rows: list[list[int]]) -> None:
    """Starmap keeps the result's type; what an item unpacks to is not for a type to say."""
    assert_type(pool.starmap(two, [(1, "a"), (2, "b")]), Results[bytes])
    assert_type(pool.starmap(two, zip(INTS, STRS, strict=True), chunksize=2), Results[bytes])
    assert_type(pool.starmap(many, rows), Results[int])
    assert_type(pool.starmap(two, [(1, "a")], return_exceptions=False), Results[bytes])
    assert_type(
        pool.starmap(two, [(1, "a")], return_exceptions=True), Results[bytes | BaseException]
    )
    assert_type(pool.options(priority=1).starmap(two, [(1, "a")]), Results[bytes])


def iterates(results: Results[str]) -> None:
    """Results are an iterator of the results, and a context manager."""
    assert_type(next(results), str)
    assert_type(iter(results), Iterator[str])
    assert_type(list(results), list[str])
    assert_type(next(results, None), str | None)
    for result in results:
        assert_type(result, str)
    with results as same:
        assert_type(same, Results[str])
    results.close()
    iterator: Iterable[str] = results
    del iterator


async def iterates_async(results: Results[str]) -> None:
    """They are an async iterator too."""
    async for result in results:
        assert_type(result, str)
    assert_type([result async for result in results], list[str])
    assert_type(await anext(results), str)
    assert_type(aiter(results), AsyncIterator[str])
    stream: AsyncIterable[str] = results
    del stream


def widens(results: Results[bool]) -> None:
    """Results of a narrower type are results of a wider one."""
    wider: Results[int] = results
    careful: Results[bool | BaseException] = results
    del wider, careful
