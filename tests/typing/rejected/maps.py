"""Items, and ways to go through them, that a map call must not take."""

from __future__ import annotations

from workpool import Pool, Results


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


INTS = [1, 2]
STRS = ["a", "b"]
FLOATS = [1.0, 2.0]
BYTES = [b"a", b"b"]
NONES = [None, None]


def items(pool: Pool) -> None:
    """Items of a type that the function does not take, at each place."""
    pool.map(one, STRS)  # E
    pool.map(two, STRS, STRS)  # E
    pool.map(two, INTS, INTS)  # E
    pool.map(three, INTS, STRS, STRS)  # E
    pool.map(four, INTS, STRS, FLOATS, STRS)  # E
    pool.map(four, INTS, INTS, FLOATS, BYTES)  # E
    pool.map(five, INTS, STRS, FLOATS, BYTES, INTS)  # E
    pool.map(five, STRS, STRS, FLOATS, BYTES, NONES)  # E
    pool.map(len, INTS)  # E
    pool.map(str.upper, INTS)  # E
    pool.map(lambda n: n.upper(), INTS)  # E
    pool.options(retries=1).map(one, STRS)  # E


def items_where_errors_are_values(pool: Pool) -> None:
    """To have errors yielded is no way round the check of the items."""
    pool.map(one, STRS, return_exceptions=True)  # E
    pool.map(two, INTS, INTS, return_exceptions=True)  # E
    pool.map(three, INTS, STRS, STRS, return_exceptions=True)  # E
    pool.map(four, INTS, STRS, FLOATS, STRS, return_exceptions=True)  # E
    pool.map(five, INTS, STRS, FLOATS, BYTES, INTS, return_exceptions=True)  # E


def counts(pool: Pool) -> None:
    """More iterables than parameters, or fewer."""
    pool.map(one, INTS, STRS)  # E
    pool.map(two, INTS)  # E
    pool.map(three, INTS, STRS)  # E
    pool.map(four, INTS, STRS, FLOATS)  # E
    pool.map(five, INTS, STRS, FLOATS, BYTES)  # E
    pool.map(one)  # E
    pool.map()  # E


def shapes(pool: Pool) -> None:
    """What is no function, or no iterable."""
    pool.map(one, 3)  # E
    pool.map("one", INTS)  # E
    pool.map(one, iterable=INTS)  # E
    pool.map(fn=one, a=INTS)  # E
    pool.starmap(two, INTS)  # E
    pool.starmap(two, 3)  # E
    pool.starmap(two, [(1, "a")], [(2, "b")])  # E


def how(pool: Pool) -> None:
    """Ways to go about it that there are not, or not of that type."""
    pool.map(one, INTS, chunksize=10, timeout=1, ordered=False)
    pool.map(one, INTS, chunksize="10")  # E
    pool.map(one, INTS, chunksize=2.5)  # E
    pool.map(one, INTS, buffersize="10")  # E
    pool.map(one, INTS, timeout="1")  # E
    pool.map(one, INTS, ordered=None)  # E
    pool.map(one, INTS, return_exceptions="yes")  # E
    pool.map(one, INTS, chunk_size=10)  # E
    pool.map(one, INTS, journal=3)  # E
    pool.map(one, INTS, progress="bar")  # E
    pool.map(one, INTS, progress=lambda: None)  # E
    pool.map(one, INTS, retries=1)  # E
    pool.map(two, INTS, STRS, chunksize="10")  # E
    pool.starmap(two, [(1, "a")], chunksize="10")  # E
    pool.starmap(two, [(1, "a")], chunk_size=10)  # E


def outcomes(pool: Pool) -> None:
    """Types that do not come out."""
    narrow: Results[int] = pool.map(one, INTS)  # E
    safe: Results[str] = pool.map(one, INTS, return_exceptions=True)  # E
    for result in pool.map(one, INTS, return_exceptions=True):
        result.upper()  # E
    for text in pool.map(one, INTS):
        text.upper()
        text.is_integer()  # E
    pool.map(one, INTS)[0]  # E
    len(pool.map(one, INTS))  # E
    pool.map(one, INTS).result()  # E
    del narrow, safe


async def iterates(pool: Pool) -> None:
    """Items come out one by one."""
    async for text in pool.map(one, INTS):
        text.upper()
        text.is_integer()  # E
    async for word in pool.submit(one, 1):  # E
        del word
