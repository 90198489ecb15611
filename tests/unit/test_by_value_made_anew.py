"""What is no function, and stands for one: methods of the common generators, caches, generic functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imported import printed

RANDOM = """
import functools, random
from random import randint, random as drawn
import numpy
from numpy.random import rand

def main():
    fns = [lambda: drawn(), lambda: randint(0, 1 << 60), lambda: float(rand()), random.random]
    fns += [functools.partial(randint, 0, 1 << 60), functools.partial(numpy.random.randint, 0, 1 << 60)]
    own = random.Random(1)
    with Pool(1, backend="process") as pool:
        print([len({pool.submit(fn).result() for _ in range(3)}) for fn in fns])
        print(len(set(pool.map(lambda _: drawn(), range(4), chunksize=1))))
        print(len({pool.submit(own.random).result() for _ in range(3)}))
    seeded = [[], []]
    for each in seeded:
        with Pool(1, backend="process", seed=1) as pool:
            each += [pool.submit(fn).result() for fn in fns]
    print(seeded[0] == seeded[1])

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("stdin", [False, True])
def test_a_function_by_value_draws_from_the_workers_generator(tmp_path: Path, stdin: bool) -> None:
    """Not from a copy of the caller's, which would give each task the same; a generator of one's own is copied."""
    pytest.importorskip("numpy")
    assert printed(tmp_path, RANDOM, stdin=stdin) == ["[3, 3, 3, 3, 3, 3]", "4", "1", "True"]


WRAPPED = """
import functools

@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

fib.note = "kept"

@functools.lru_cache(maxsize=2, typed=True)
def doubled(n):
    return 2 * n

@functools.singledispatch
def kind(value):
    return "something"

@kind.register
def _(value: int):
    return "a number"

@kind.register
def _(value: list):
    return [kind(each) for each in value]

with Pool(1, backend="process") as pool:
    print(pool.submit(fib, 20).result(), pool.submit(lambda: (fib(20), fib.note)).result())
    print(list(pool.map(doubled, [1, 2])), pool.submit(lambda: doubled.cache_parameters()).result())
    print(pool.submit(kind, [1, "a"]).result(), pool.submit(lambda: kind(None)).result())
"""


def test_caches_and_generic_functions_travel_by_value(tmp_path: Path) -> None:
    """Those of a program that no worker can import are made anew over there."""
    assert printed(tmp_path, WRAPPED, stdin=True) == [
        "6765 (6765, 'kept')",
        "[2, 4] {'maxsize': 2, 'typed': True}",
        "['a number', 'something'] something",
    ]
