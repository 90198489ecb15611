"""``python -m workpool COMMAND``: what the library can do from a shell.

A command is a module that says what it takes (``add_arguments``) and does it
(``run``); a new one is a line in ``COMMANDS``.

Exit status: 0 all went well, 1 some of it failed or the output could not be written,
2 the command line is wrong or a stream that it needs is closed, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from workpool import __version__
from workpool.commands import streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "Command", "main"]

# Where each command is, and what its line in the help says.
COMMANDS = {
    "map": (
        "workpool.commands.map",
        "call a function for each line of the input, on all workers",
    ),
    "doctor": (
        "workpool.commands.doctor",
        "what this machine gives a pool, a try of each backend, and advice",
    ),
    "demo": (
        "workpool.commands.demo",
        "checksums and word counts of every file of a directory tree",
    ),
}

PROGRAM = "python -m workpool"
STOPPED = 130  # what a shell reports of a program that Ctrl-C ended


class Command(Protocol):
    """What a command's module has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the command takes."""

    def run(self, arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
        """Do it and return the exit status; ``parser.error`` refuses what cannot be."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the command line names.

    Parameters
    ----------
    argv : sequence of str or None
        The command line without the program; ``None`` takes this process's own.

    Returns
    -------
    int
        The exit status.
    """
    try:  # around the imports of the commands too: they take the longest, before anything is done
        with streams.no_gaps():
            return _run(argv)
    except KeyboardInterrupt:
        return STOPPED


def _run(argv: Sequence[str] | None) -> int:
    try:
        try:
            status = _command(argv)
        except SystemExit:  # a refusal, or the text of --help
            streams.flush()
            raise
        streams.flush()
    except BrokenPipeError:  # who read the output has left (``| head``)
        streams.silence(sys.stdout)
        return 1
    except streams.CannotWrite as error:
        streams.silence(sys.stdout)
        streams.tell(f"{PROGRAM}: error: {error}")
        return 1
    return status


def _command(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="One Pool over threads and processes.",
    )
    parser.add_argument("--version", action="version", version=f"workpool {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (home, purpose) in COMMANDS.items():
        command = cast("Command", import_module(home))
        its_parser = commands.add_parser(name, help=purpose, description=command.__doc__)
        its_parser.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_arguments(its_parser)
        its_parser.set_defaults(run=command.run, its_parser=its_parser)
    arguments = parser.parse_args(argv)
    chosen: argparse.ArgumentParser = arguments.its_parser
    if streams.is_closed(sys.stdout):
        chosen.exit(2, f"{chosen.prog}: error: stdout is closed: there is nowhere to write to\n")
    status: int = arguments.run(arguments, chosen)
    return status


if __name__ == "__main__":
    sys.exit(main())
