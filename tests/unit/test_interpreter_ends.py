"""What an interpreter leaves behind in the process that lives on: nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from workpool import Counter, Pool
from workpool._compat import has_interpreters
from workpool.ipc import depot

pytestmark = [
    pytest.mark.skipif(not depot.CAN_LEND, reason="this system has no memfd"),
    pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters"),
]

_kept: list[object] = []


def make(counter: Any) -> int:
    made = Counter(scope="process")
    _kept.append(made)
    return made.add()


def use(counter: Any) -> int:
    _kept.append(counter)
    value: int = counter.add()
    return value


def files() -> int:
    """Count the open files of shared state; those for large payloads come and go with workers."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "memfd:workpool-" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the one that lists them
            continue
    return count


def mappings() -> int:
    """Count the mappings of such files."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        return sum("memfd:workpool-" in line for line in lines)


@pytest.mark.parametrize("act", [make, use])
def test_shared_state_ends_with_its_interpreter(act: Callable[[Any], int]) -> None:
    """Workers that come and go leave no file of memory open or mapped, of what tasks made or were given."""
    found: list[tuple[int, int]] = []
    with Pool(1, backend="interpreter", max_tasks_per_worker=1) as pool:
        counter = pool.counter()
        for _ in range(4):
            assert pool.submit(act, counter).result(DEADLINE)
            pool.submit(int).result(DEADLINE)  # by the next worker: the first is gone
            found.append((files(), mappings()))
    assert found[1] == found[-1]
