"""The demo's job on one pool: a map over a lazy walk, as any user would write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from workpool.commands.demo.files import Report, examine, walk
from workpool.commands.demo.totals import Totals
from workpool.commands.streams import telling, writing
from workpool.integrations.progress.line import Line

if TYPE_CHECKING:
    from workpool.pool import Pool

__all__ = ["examine_tree"]


def examine_tree(
    pool: Pool,
    root: str,
    *,
    progress: TextIO,
    skip: frozenset[str] = frozenset(),
    output: TextIO | None = None,
) -> Totals:
    """Examine every file of a tree, or as many as there was time for before Ctrl-C.

    Parameters
    ----------
    pool : Pool
        Who does it; ends with it.
    root : str
        The tree, as an absolute path.
    progress : text stream
        Where to tell how far it is.
    skip : frozenset of str
        Paths of files and folders to leave out.
    output : text stream or None
        Where a line for each checksum goes.

    Returns
    -------
    Totals
        What was found; ``totals.stopped`` after Ctrl-C.
    """
    totals = Totals(root)
    shown = Line(progress, totals.progress)
    try:
        with pool:
            files = totals.found_all(walk(root, totals.failed, skip=skip))
            for outcome in pool.map(examine, files, ordered=False, return_exceptions=True):
                if isinstance(outcome, Report):
                    totals.add(outcome)
                    if output is not None:
                        with writing("--output"):
                            output.write(checksum_line(outcome))
                elif isinstance(outcome, Exception):
                    totals.failed(outcome)  # the others go on
                else:
                    raise outcome  # Ctrl-C that struck a task in this very thread
                with telling():
                    shown.look()
    except KeyboardInterrupt:
        totals.stopped = True
    finally:
        totals.end()
        with telling():
            shown.clear()
    return totals


def checksum_line(report: Report) -> str:
    """Write a checksum as ``sha256sum`` does, which escapes a name that would break the line."""
    name = report.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    escaped = "\\" if name != report.path else ""
    return f"{escaped}{report.sha256}  {name}\n"
