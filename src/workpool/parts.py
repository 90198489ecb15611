"""What only those need that make a pool: loaded with `Pool`, but in a worker process, and there with its first pool.

A worker imports `Pool` with the program's ``__main__``, makes none as a rule, and is ready sooner without.
"""

from __future__ import annotations

from importlib import import_module

from workpool import _compat

__all__ = ["load_parts"]

_PARTS = ("backends.thread", "mapcall", "scheduling.scheduler", "settings")


def load_parts() -> None:
    """Load all of it, before the pool has threads: one of them may fork, and what is loaded by half stays so there."""
    for name in _PARTS:
        import_module(f"workpool.{name}")


if not _compat.in_worker:
    load_parts()
