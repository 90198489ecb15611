"""The code on the pages of ``docs/``: found, and told apart.

A ```` ```python ```` block is a whole program. The block behind it, if it is ```` ```text ````, is what
it prints; a program without one prints nothing. ``...`` in there stands for anything, as in doctest.
A block ```` ```{code-block} text ```` with the caption ``on stderr`` behind those is what it says there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "Block", "Program", "blocks_of", "pages", "programs_of"]

DOCS = Path(__file__).parents[2] / "docs"

STDERR = ":caption: on stderr\n\n"

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its first line of text, counted from 1
    language: str  # as written behind the fence
    text: str


@dataclass(frozen=True)
class Program:
    """A program of a page, and what the page says it prints."""

    page: Path
    line: int
    source: str
    output: str
    errors: str = ""

    @property
    def label(self) -> str:
        """Page and line, for the name of a test."""
        return f"{self.page.relative_to(DOCS).with_suffix('')}:{self.line}"


def pages() -> list[Path]:
    """List all pages, sorted."""
    return sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)


def blocks_of(page: Path) -> Iterator[Block]:
    """Go through the fenced blocks of a page."""
    opened: tuple[str, str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened = fence["ticks"], fence["language"].strip(), number + 1
                lines = []
        elif fence is not None and fence["ticks"] == opened[0] and not fence["language"]:
            yield Block(page, opened[2], opened[1], "".join(f"{line}\n" for line in lines))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page.name}: the block at line {opened[2]} has no end"


def programs_of(page: Path) -> Iterator[Program]:
    """Go through the programs of a page, each with its output."""
    blocks = list(blocks_of(page))
    for number, block in enumerate(blocks, 1):
        if block.language == "python":
            follows = blocks[number : number + 2]
            output = errors = ""
            if follows and follows[0].language == "text":
                output = follows.pop(0).text
            if follows and follows[0].text.startswith(STDERR):
                errors = follows[0].text.removeprefix(STDERR)
            yield Program(page, block.line, block.text, output, errors)
