"""Why a journal is not gone on with, and the way out: another function, a file that fails, damage."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workpool.errors import JournalError, JournalInUse, JournalMismatch

if TYPE_CHECKING:
    from workpool.journal.identity import Identity

__all__ = ["damaged", "explained", "in_use", "same_function"]

# SQLite's primary result codes; none, where Python's own module makes nothing of what it reads.
_NONE, _ERROR, _PERM, _BUSY, _READONLY, _IOERR, _CORRUPT = 0, 1, 3, 5, 8, 10, 11
_FULL, _CANTOPEN, _NOTADB = 13, 14, 26
_RESTORE = "Bring back a copy of the file, or delete it and begin anew."


def damaged(path: str, what: str) -> JournalError:
    """Make the error for what is not as it was written."""
    message = f"journal {path!r} is damaged: {what} is not what was written. {_RESTORE}"
    return JournalError(message, path=path)


def in_use(path: str) -> JournalInUse:
    """Make the error for a journal that another process has."""
    message = (
        f"journal {path!r} is in use by another process. One map call at a time can go on with it: "
        "wait for that one to end, or give this one a journal of its own."
    )
    return JournalInUse(message, path=path)


@contextmanager
def explained(path: str, what: str) -> Generator[None]:
    """Say in our words what SQLite could not do."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        code = getattr(error, "sqlite_errorcode", _NONE) & 0xFF
        if code == _BUSY:
            raise in_use(path) from error
        message = f"journal {path!r} cannot {what}: {error}. {_way_out(path, code)}"
        raise JournalError(message, path=path) from error


def _way_out(path: str, code: int) -> str:
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return "It is a folder: give the path of a file in it."
    if code == _CANTOPEN and not os.path.exists(path):
        return f"Its folder, {folder!r}, must be there and allow files to be made."
    closed = (
        f"The file and its folder, {folder!r}, must allow reading and writing, and their disk be there: see to that "
        "and make the same call again, for what was kept before stays, or give the journal another file."
    )
    broken = f"The file is damaged. {_RESTORE}"
    return {
        _NONE: broken,
        _ERROR: broken,
        _CORRUPT: broken,
        _PERM: closed,
        _READONLY: closed,
        _IOERR: closed,
        _CANTOPEN: closed,
        _FULL: "Make room, and make the same call again: what was kept before stays.",
        _NOTADB: "It is no SQLite file, and was left as it is: give the journal a file of its own.",
    }.get(code, "Make the same call again: what was kept before stays. The cause says more.")


def same_function(
    path: str, kept: Identity, given: Identity, with_version: Callable[[str], str]
) -> None:
    """Refuse another function than the one that a journal was begun with."""
    what = _difference(kept, given, with_version)
    if what:
        message = (
            f"journal {path!r} {what}. Else begin anew: delete it, or give this call another file."
        )
        raise JournalMismatch(message, path=path, changed="function")


def _difference(kept: Identity, given: Identity, with_version: Callable[[str], str]) -> str:
    if kept.name != given.name:
        return f"was begun with the function {kept.name}, and this call is about {given.name}. Give it that one"
    if kept.star != given.star:
        was, other = ("starmap", "map") if kept.star else ("map", "starmap")
        return f"was begun by {was}, and this call is one of {other}. Go on with {was}"
    if kept.options != given.options:
        options = _options(kept, given)
        if options:
            return options
    if kept.version is not None and kept.version != given.version:
        now = "none" if given.version is None else f"version {given.version!r}"
        return (
            f"was begun with version {kept.version!r} of {kept.name}, and this call has {now}. If its results are "
            f"good all the same, say so: {with_version(kept.version)}"
        )
    if given.version is None and kept.python == given.python and kept.code != given.code:
        return (
            f"was begun with another code of {kept.name} (or of what it is bound to or closes over, or its seed). "
            f"If its results are good all the same, say so: {with_version('2')}"
        )
    return ""


def _options(kept: Identity, given: Identity) -> str:
    """Tell which options of a command are others; nothing if it is the same call."""
    if kept.options is not None and given.options is not None:
        before, now = kept.options.split(), given.options.split()
        changed = [f"with {option}" for option in before if option not in now]
        changed += [f"without {option}" for option in now if option not in before]
        return f"was begun {' and '.join(changed)}, which changes what is kept. Give the options it was begun with"
    code = kept.version, kept.python, kept.code
    if code == (given.version, given.python, given.code) and given.version is None:
        return ""  # of the command, before it wrote down its options
    if kept.options is None:
        return "was begun by a program, and the results of a command are lines of text. Go on with it there"
    return "was begun by a command, and its results are lines of text. Go on with it there"
