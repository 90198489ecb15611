"""Lines that stay, written above whatever display of progress stands on the terminal."""

from __future__ import annotations

import sys
from typing import Any, TextIO

__all__ = ["write_above"]


def write_above(line: str, stream: TextIO) -> None:
    """Write a line to stdout or stderr, and leave the displays as they are below it."""
    if stream.isatty():
        # Loaded means that one of them is, or was, shown.
        with_tqdm: Any = sys.modules.get("workpool.integrations.progress.with_tqdm")
        plain: Any = sys.modules.get("workpool.integrations.progress.plain")
        if with_tqdm is not None:
            with_tqdm.write(line, stream)
            return
        if plain is not None:
            plain.write(line, stream)
            return
    stream.write(f"{line}\n")
    stream.flush()
