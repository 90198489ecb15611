"""The table of backends that the contract suite runs on: a new backend is one line here.

What a backend *cannot* keep is written down here once more, apart from the
library's own capabilities, so that a promise cannot be dropped unseen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.support import loopback
from tests.support.engines import shared_settings
from workpool._compat import has_interpreters
from workpool.backends.base import BackendName

__all__ = ["KINDS", "Ability", "Kind", "needs_its_package"]

Ability = Literal[
    "concurrent",
    "pickles",
    "limits",
    "ends_tasks",
    "writes_off",
    "own_threads",
    "reports",
    "memory",
    "far",
    "forks",
    "exit_codes",
    "recycles",
    "starts_apart",
    "breaks_forks",
]


@dataclass(frozen=True)
class Kind:
    """A backend, and what a test may ask of it."""

    name: BackendName | Literal["loopback"]
    abilities: frozenset[Ability]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a pool one of this kind: ``Pool(2, **kind.settings)``."""
        return {"backend": self.name, **shared_settings(self.name)}

    def can(self, ability: Ability) -> bool:
        """Tell whether it has that ability."""
        return ability in self.abilities


def kind(name: BackendName | Literal["loopback"], *abilities: Ability) -> Kind:
    return Kind(name, frozenset(abilities))


# concurrent   tasks run beside the caller, several at a time
# pickles      values are copied on their way to a task and back
# limits       a time limit is kept, and cancel(kill=True) ends a running task
# ends_tasks   what is ended is truly ended, also in C code
# writes_off   what is ended may go on for itself, unseen, until it is struck by an exception
# far          one thread here serves all workers; a trip to one of them may take milliseconds
# exit_codes   what ended a worker is told by its exit code or signal
# forks        a child forked from a program with such pools can make pools of its own
# breaks_forks a child forked while there is such a pool crashes: Python 3.14 cannot fork with interpreters
# own_threads  tasks run in threads of this process which are not the caller's
# recycles     a worker is replaced after so many tasks
# starts_apart a worker's initializer is run before any task, and what befalls it there is told as that
# reports      what tasks log and print can be brought to the caller
# memory       workers and caller have memory in common
_DAILY = [
    kind(
        "thread",
        "concurrent",
        "limits",
        "writes_off",
        "own_threads",
        "reports",
        "memory",
        "forks",
        "recycles",
    ),
    kind("inline", "reports", "memory", "forks", "recycles"),
    kind(
        "process",
        *("concurrent", "pickles", "limits", "ends_tasks", "exit_codes", "starts_apart"),
        *("reports", "memory", "forks", "recycles"),
    ),
    # The engines' common part, on threads: tests/support/loopback.py.
    kind("loopback", "concurrent", "pickles", "limits", "far", "forks", "recycles"),
]
if has_interpreters():
    _DAILY.append(
        kind(
            "interpreter",
            *("concurrent", "pickles", "limits", "writes_off"),
            *("reports", "memory", "breaks_forks", "recycles"),
        )
    )
loopback.register()

# The engines need packages and time of their own: WORKPOOL_TEST_BACKENDS=dask,ray asks for them,
# and for nothing else (nox -s engines).
ENGINES = [
    kind("dask", "concurrent", "pickles", "limits", "ends_tasks", "far", "forks", "starts_apart"),
    kind("ray", "concurrent", "pickles", "limits", "ends_tasks", "far", "recycles", "starts_apart"),
]
_asked = os.environ.get("WORKPOOL_TEST_BACKENDS")
KINDS = (
    [each for each in [*_DAILY, *ENGINES] if each.name in _asked.split(",")] if _asked else _DAILY
)


def needs_its_package(backend: str) -> None:
    """Skip where what is behind a backend is not there: a package, or a newer Python."""
    if backend == "interpreter" and not has_interpreters():
        pytest.skip("this Python has no concurrent.interpreters")
    package = {"dask": "distributed", "ray": "ray"}.get(backend)
    if package is not None:
        pytest.importorskip(package)
