"""What the demo has found so far, and how it tells.

Totals grow with the number of failures only: reports are added up and forgotten.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workpool.commands.demo.files import Report

__all__ = ["Totals", "human_size"]

LARGEST = 5  # files named in the summary
FAILURES = 20  # failures named in the summary


class Totals:
    """Counts what comes out of the pool, in whatever order it comes.

    Parameters
    ----------
    root : str
        The tree; files are named as they are called within it.
    """

    def __init__(self, root: str) -> None:
        self._prefix = os.path.join(root, "")
        self.stopped = False  # by Ctrl-C, so the rest was not examined
        self.found = 0  # files that the walk came by
        self.all_found = False
        self.files = 0
        self.size = 0
        self.text_files = 0
        self.words = 0
        self.failures: list[tuple[str, str]] = []
        self._largest: list[tuple[int, str]] = []
        self._sum = 0
        self._began = monotonic()
        self._ended: float | None = None

    def add(self, report: Report) -> None:
        """Count a file that was examined."""
        self.files += 1
        self.size += report.size
        if report.words is not None:
            self.text_files += 1
            self.words += report.words
        name = self._name(report.path)
        heapq.heappush(self._largest, (report.size, name))
        if len(self._largest) > LARGEST:
            heapq.heappop(self._largest)
        # A sum does not depend on the order in which the workers come back.
        line = f"{report.sha256}  {name}".encode(errors="surrogateescape")
        self._sum += int.from_bytes(hashlib.sha256(line).digest(), "big")

    def failed(self, error: BaseException) -> None:
        """Note a file or folder that was not examined, and why."""
        path = getattr(error, "filename", None)
        if isinstance(error, OSError) and isinstance(path, str):
            self.failures.append((self._name(path), error.strerror or type(error).__name__))
        else:
            self.failures.append((type(error).__name__, str(error)))

    def found_all(self, paths: Iterator[str]) -> Iterator[str]:
        """Count the files while they are walked by."""
        for path in paths:
            self.found += 1
            yield path
        self.all_found = True

    def end(self) -> None:
        """Stop the clock."""
        self._ended = monotonic()

    @property
    def seconds(self) -> float:
        """How long it took, or takes by now."""
        return (self._ended or monotonic()) - self._began

    @property
    def fingerprint(self) -> str:
        """One checksum of all names and contents: the same on every backend."""
        return hashlib.sha256(b"%x" % self._sum).hexdigest()

    # ------------------------------------------------------------------- the telling

    def progress(self) -> str:
        """Tell how far it is, in a line."""
        known = f"{self.found:,}" if self.all_found else f"{self.found:,} or more"
        return f"{self.files + len(self.failures):,} of {known} files, {human_size(self.size)}, {self.seconds:.1f} s"

    def summary(self) -> Iterator[str]:
        """Tell what was found, in lines."""
        seconds = max(self.seconds, 1e-9)
        if self.stopped:
            yield "Stopped. What was done until then:"
        yield (
            f"{self.files:,} files, {human_size(self.size)} in {seconds:.2f} s: "
            f"{self.files / seconds:,.0f} files/s, {human_size(self.size / seconds)}/s"
        )
        yield f"{self.words:,} words in {self.text_files:,} text files"
        yield f"fingerprint {self.fingerprint}"
        if self._largest:
            yield "largest files:"
        for size, name in sorted(self._largest, reverse=True):
            yield f"  {human_size(size):>9}  {_visible(name)}"
        if self.failures:
            yield f"{len(self.failures):,} could not be read:"
        for name, reason in sorted(self.failures)[:FAILURES]:
            yield f"  {_visible(name)}: {reason}"
        if len(self.failures) > FAILURES:
            yield f"  and {len(self.failures) - FAILURES:,} more"

    def _name(self, path: str) -> str:
        return path.removeprefix(self._prefix)


def human_size(size: float) -> str:
    """Write a number of bytes with a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _visible(name: str) -> str:
    """Keep what a strange file name could do to a terminal from doing it."""
    return name if name.isprintable() else ascii(name)
