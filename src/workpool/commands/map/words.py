"""What the library says to a program, in the words of the command line.

A program counts items from 0, gives keywords and strings in quotes; the command counts from 1,
as editors count lines, and takes options.
"""

from __future__ import annotations

import re

from workpool.commands.streams import in_a_line
from workpool.errors import WorkpoolError

__all__ = ["of_the_command", "told"]

_ITEM = re.compile(r"(?<=result of item )\d+|(?<=another item )\d+|(?<=\bitem )\d+(?= of map\()")
_BACKEND = re.compile(r"\bbackend=([\"'])(\w+)\1")
_NUMBER = re.compile(r"\b(time_limit|retries)=(?=\d)")


def told(error: BaseException) -> str:
    """Tell an error of an item in one line; what its function has raised is left as it is."""
    line = in_a_line(error)
    return of_the_command(line) if isinstance(error, WorkpoolError) else line


def of_the_command(text: str) -> str:
    """Say what the library says as one who gave a command line would."""
    text = _ITEM.sub(lambda number: str(int(number[0]) + 1), text)
    text = _BACKEND.sub(r"--backend \2", text)
    return _NUMBER.sub(lambda name: f"--{name[1].replace('_', '-')} ", text)
