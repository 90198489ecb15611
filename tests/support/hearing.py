"""What tasks log and print, and a handler that keeps what it hears of that."""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["LOGGER", "Kept", "say", "speak_item"]

LOGGER = "tests.logs"


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def told(self, name: str = LOGGER) -> list[str]:
        return [r.getMessage() for r in self.records if r.name == name]


def say(*lines: str, level: int = logging.INFO, **extra: Any) -> int:
    for line in lines:
        logging.getLogger(LOGGER).log(level, "%s!", line, extra=extra)
    return len(lines)


def speak_item(n: int) -> int:
    print(f"item {n}\nof a map", end="\n" if n % 2 else "")
    print("careful", file=sys.stderr)
    return n
