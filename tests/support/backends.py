"""The table of backends that the contract suite runs on: a new backend is one line here.

What a backend *cannot* keep is written down here once more, apart from the
library's own capabilities, so that a promise cannot be dropped unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workpool.backends.base import BackendName

__all__ = ["KINDS", "Ability", "Kind"]

Ability = Literal[
    "concurrent", "pickles", "limits", "ends_tasks", "writes_off", "own_threads", "reports"
]


@dataclass(frozen=True)
class Kind:
    """A backend, and what a test may ask of it."""

    name: BackendName
    abilities: frozenset[Ability]

    def can(self, ability: Ability) -> bool:
        """Tell whether it has that ability."""
        return ability in self.abilities


def kind(name: BackendName, *abilities: Ability) -> Kind:
    return Kind(name, frozenset(abilities))


# concurrent   tasks run beside the caller, several at a time
# pickles      values are copied on their way to a task and back
# limits       a time limit is kept, and cancel(kill=True) ends a running task
# ends_tasks   what is ended is truly ended, also in C code
# writes_off   what is ended may go on for itself, unseen
# own_threads  tasks run in threads of this process which are not the caller's
# reports      what tasks log and print can be brought to the caller
KINDS = [
    kind("thread", "concurrent", "limits", "writes_off", "own_threads", "reports"),
    kind("inline", "reports"),
    kind("process", "concurrent", "pickles", "limits", "ends_tasks", "reports"),
]
