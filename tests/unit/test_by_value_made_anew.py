"""What is no function, and stands for one: methods of the common generators."""

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
