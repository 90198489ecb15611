"""Classes of which round trips draw values: in a file that needs no numpy, so that any interpreter can load it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Coded", "Colour", "Pair"]


class Colour(enum.Enum):
    """A value that is found by name."""

    RED = 1
    BLUE = "b"


@dataclass(frozen=True)
class Pair:
    """A value with values inside."""

    left: object
    right: object


class Coded(Exception):
    """An error with two arguments and an attribute, whose text is made of them."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)
        self.code = code
        self.extra: object = None

    def __str__(self) -> str:
        return f"[{self.code}] {self.args[1]}"
