"""Tasks that draw from the generators of their process.

A module of its own: numpy is loaded at the top, as a program does it, for what is not loaded when
a task begins cannot be seeded. Other workers do without, and those that are interpreters
cannot load it.
"""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

__all__ = ["draw_globally"]

np: Any = None
try:
    np = import_module("numpy")
except ImportError:
    pass


def draw_globally(_: object = None) -> tuple[float, float]:
    return random.random(), float(np.random.random() if np else random.random())
