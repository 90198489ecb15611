"""What several commands take: who does the work, and how many of them."""

from __future__ import annotations

import argparse

from workpool.backends.base import BACKENDS

__all__ = ["add_workers", "one_or_more", "path"]


def add_workers(parser: argparse._ActionsContainer) -> None:
    """Take ``--backend`` and ``--workers``.

    Parameters
    ----------
    parser : argparse.ArgumentParser or a group of its arguments
        The command's own.
    """
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        default="thread",
        help="who does the work (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=one_or_more,
        help="how many (default: what suits the backend)",
    )


def one_or_more(text: str) -> int:
    """Read a number of things of which there is at least one.

    Parameters
    ----------
    text : str
        What the command line says.

    Returns
    -------
    int
        The number.

    Raises
    ------
    argparse.ArgumentTypeError
        It is no whole number, or less than 1.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        message = f"must be a whole number, 1 or more; got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number


def path(text: str) -> str:
    """Read the path of a file.

    Parameters
    ----------
    text : str
        What the command line says.

    Returns
    -------
    str
        The same.

    Raises
    ------
    argparse.ArgumentTypeError
        It is empty, as that of a shell's variable that is not set.
    """
    if not text:
        message = f"must be the path of a file; got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return text
