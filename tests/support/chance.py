"""Tasks that draw from the generators of their process.

A module of its own: numpy is loaded at the top, as a program does it, for what is not loaded when
a task begins cannot be seeded. Other workers do without.
"""

from __future__ import annotations

import random

import numpy as np

__all__ = ["draw_globally"]


def draw_globally(_: object = None) -> tuple[float, float]:
    return random.random(), float(np.random.random())  # noqa: NPY002 - the old generator is what is seeded
