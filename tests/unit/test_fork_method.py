"""Workers that are forked from this very process, as start_method="fork" asks for."""

from __future__ import annotations

import threading

from workpool import Pool


class Unpicklable:
    """What cannot travel by pickle."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_known: dict[str, object] = {}


def look_up(name: str) -> str:
    return type(_known[name]).__name__


def test_what_the_parent_has_in_memory_is_there() -> None:
    """A worker sees what is in the parent's memory, without a pickle: that is what one forks for."""
    _known["thing"] = Unpicklable()
    try:
        with Pool(1, backend="process", start_method="fork") as pool:
            assert pool.submit(look_up, "thing").result(timeout=20) == "Unpicklable"
    finally:
        _known.clear()
