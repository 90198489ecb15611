"""Checksums (SHA-256) and word counts of every file of a directory tree.

The files are found while the first are read already, and examined on all
workers. A file that cannot be read is told at the end; Ctrl-C keeps what is
done and tells that.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from workpool.commands.arguments import add_workers
from workpool.commands.demo.compare import compare
from workpool.commands.demo.job import examine_tree
from workpool.commands.streams import say, writing
from workpool.errors import Unsupported
from workpool.pool import Pool

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from workpool.commands.demo.totals import Totals

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The command's own.
    """
    parser.add_argument(
        "directory",
        metavar="DIRECTORY",
        nargs="?",
        help="whose files, those of its folders included (default: Python's own library, "
        "without the packages installed there)",
    )
    add_workers(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the checksums to FILE, in the form that sha256sum --check reads",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="do the same on each backend, and tell how long each took",
    )


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do it.

    Parameters
    ----------
    arguments : argparse.Namespace
        The command line.
    parser : argparse.ArgumentParser
        Refuses what cannot be.

    Returns
    -------
    int
        0 when all files were read, 1 when some could not be, 130 after Ctrl-C.
    """
    workers: int | None = arguments.workers
    try:
        root, skip = _tree(arguments.directory)
        if arguments.output is not None:
            skip |= {os.path.abspath(arguments.output)}  # should it lie in the tree: it grows
    except FileNotFoundError:
        parser.error("the current folder is not there any more: give paths from the root on")
    if arguments.directory == "" or not os.path.isdir(root):
        parser.error(f"DIRECTORY must be a folder, and {arguments.directory!r} is none")
    if arguments.compare and arguments.output is not None:
        parser.error("--output goes with one backend, --compare with all: give one of them")
    if arguments.compare:
        return status_of(*compare(root, workers, skip=skip))
    try:
        pool = Pool(workers, backend=arguments.backend, name="demo")
    except Unsupported as error:
        parser.error(f"--backend: {error}")
    with ExitStack() as stack:
        output: TextIO | None = None
        if arguments.output is not None:
            try:
                output = stack.enter_context(_open(arguments.output))
            except OSError as error:
                parser.error(f"--output: {error}")
        say(f"SHA-256 and words of every file in {root}")
        say(f"by Pool({pool.max_workers}, backend={pool.backend!r})")
        totals = examine_tree(pool, root, skip=skip, progress=sys.stderr, output=output)
    for line in totals.summary():
        say(line)
    return status_of(totals)


def status_of(*runs: Totals) -> int:
    """Give the exit status that tells how it went.

    Parameters
    ----------
    *runs : Totals
        What was found.

    Returns
    -------
    int
        130 after Ctrl-C, else 1 if something could not be read, else 0.
    """
    if any(totals.stopped for totals in runs):
        return 130
    return 1 if any(totals.failures for totals in runs) else 0


def _tree(directory: str | None) -> tuple[str, frozenset[str]]:
    """Give the folder to examine, and what in it to leave out."""
    if directory is not None:
        return os.path.abspath(directory), frozenset()
    library = sysconfig.get_path("stdlib")
    installed = ("site-packages", "dist-packages")
    return library, frozenset(os.path.join(library, name) for name in installed)


@contextmanager
def _open(path: str) -> Generator[TextIO]:
    """Open a file that is written a line at a time: what is done is there, whatever happens."""
    file = open(  # noqa: SIM115 - its end is to be named, too
        path, "w", buffering=1, encoding="utf-8", errors="surrogateescape", newline="\n"
    )
    try:
        yield file
    finally:
        with writing("--output"):
            file.close()
