"""The function that a command line names: ``MODULE:FUNCTION`` or ``./FILE.py:FUNCTION``.

A file is imported by its name, with its folder on the path, as Python does with the
script it runs: so a worker process finds the function by name, too.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from workpool.errors import brief

__all__ = ["CannotLoad", "load"]


class CannotLoad(Exception):
    """There is no such function; the message says what is missing."""


def load(target: str) -> Callable[..., Any]:
    """Find the function.

    Parameters
    ----------
    target : str
        Module or file, a colon, and the function's name, dotted if it is inside of a class.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    CannotLoad
        It is not there, or cannot be called.
    """
    home, colon, name = target.rpartition(":")
    if not (home and colon and name):
        message = (
            f"MODULE:FUNCTION has a colon between the two, as in os.path:getsize; got {target!r}"
        )
        raise CannotLoad(message)
    is_file = home.endswith(".py") or os.sep in home
    found: Any = _import_file(home) if is_file else _import(home, target, _current_folder())
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            message = f"{home} has no {name}; got {target!r}"
            raise CannotLoad(message) from None
        except (Exception, SystemExit) as error:  # a module may look its names up as it likes
            message = f"{target}: to look up {name} in {home} raised {brief(error)}"
            raise CannotLoad(message) from error
    if not callable(found):
        message = f"{target} is no function: {type(found).__name__} cannot be called"
        raise CannotLoad(message)
    function: Callable[..., Any] = found
    return function


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted: nothing can be found there
        return None


def _import(module: str, target: str, folder: str | None) -> Any:
    if folder is not None and folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except SystemExit as error:
        message = (
            f"{target}: the module {module} cannot be imported: it ends the program ({brief(error)}). "
            'Put what it does as a script under if __name__ == "__main__".'
        )
        raise CannotLoad(message) from error
    except Exception as error:
        message = f"{target}: the module {module} cannot be imported: {brief(error)}"
        raise CannotLoad(message) from error


def _import_file(path: str) -> Any:
    folder = _current_folder()
    if folder is None and not os.path.isabs(path):
        message = f"the current folder is not there any more, and {path} is to be found from there"
        raise CannotLoad(message)
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        message = f"there is no file {path}"
        raise CannotLoad(message)
    folder, name = os.path.split(path)
    sys.path.insert(0, folder)
    module = _import(name.removesuffix(".py"), path, folder)
    home = getattr(module, "__file__", None)
    if home is None or os.path.realpath(home) != os.path.realpath(path):
        message = (
            f"{path} cannot be imported: {module.__name__} is the name of another module, "
            f"{home or 'built into Python'}. Rename the file."
        )
        raise CannotLoad(message)
    return module
