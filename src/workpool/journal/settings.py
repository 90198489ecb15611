"""What a user says about a journal."""

from __future__ import annotations

import os
import shlex
from typing import Any

import attrs

__all__ = ["CommandJournal", "Journal"]


def _path(value: Any) -> str:
    try:
        path = os.fsdecode(value)
    except TypeError:
        path = ""
    if not path or "\0" in path:
        message = f"journal is the path of a file, or a workpool.Journal; got {value!r}"
        raise TypeError(message)
    return path


def _version(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        message = (
            f"{attribute.name} is a string, or None to go by the function's code; got {value!r}"
        )
        raise TypeError(message)


@attrs.frozen
class Journal:
    """Where a map call keeps its results, and by what it knows its function again.

    Parameters
    ----------
    path : str or path-like
        The file. It is made where there is none; its folder must be there.
    version : str or None
        The function is known by its name and this version. ``None``: by its name and
        its code and what it holds. A journal that was begun without a version takes the first it is given.

    Examples
    --------
    >>> from workpool import Journal
    >>> Journal("run.sqlite", version="2")
    Journal(path='run.sqlite', version='2')
    """

    path: str = attrs.field(converter=_path)
    version: str | None = attrs.field(default=None, kw_only=True, validator=_version)

    @classmethod
    def of(cls, given: Any) -> Journal:
        """Take a path, or a journal as it is."""
        return given if isinstance(given, cls) else cls(given)

    def with_version(self, version: str) -> str:
        """Say how whoever gave this journal gives it a version."""
        return f"journal=Journal({self.path!r}, version={version!r})"


@attrs.frozen
class CommandJournal(Journal):
    """The journal of a command, whose results depend on some of its options, too."""

    function: str = attrs.field(kw_only=True)  # its name: the map call is given what wraps it
    options: str = attrs.field(
        default="", kw_only=True
    )  # those that are given, with spaces between

    def with_version(self, version: str) -> str:
        """Say how the command is given a version."""
        return f"--journal-version {shlex.quote(version)}"
