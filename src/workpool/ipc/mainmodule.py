"""The program's ``__main__``, for workers that do not import it at their start: when something of it is asked for.

A function or class of the program is pickled as "that name in ``__main__``". A worker has
a ``__main__`` of its own, which stands in for the program's: at the first name it does not have,
the program is run once more, as ``__mp_main__``, so that what is under ``if __name__ ==
"__main__":`` is left out. A worker that is never sent anything of ``__main__`` never does so.

Such workers are interpreters; and processes, where the program is the ``__main__.py`` of a package, a folder or
an archive. ``multiprocessing`` loads none of these, as most have no guard. One without is run in no worker
here either: what is of it goes by value.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from types import ModuleType
from typing import Any

from workpool._compat import RLock, across_forks

__all__ = [
    "Main",
    "as_imported",
    "being_imported",
    "know_what_comes_back",
    "left_to_us",
    "note_what_is_there",
    "of_a_folder",
    "of_program",
    "ours",
    "place",
    "stand_in",
    "under_a_guard",
]

Main = tuple[str, str] | None  # ("name" or "path", and which): how to find it; None for a prompt

_ALIAS = "__mp_main__"  # multiprocessing's name for it, which pickles from there mention
_lock = across_forks(RLock())  # guards the import
_importing = False
# In a worker: the program whose __main__ its own stands in for, also for workers of its own; and that it failed to run.
_stands_for: Main = None
_failed = False
_imported: dict[str, Any] | None = None  # in a forked worker


def ours() -> Main:
    """Tell how others can find this program's ``__main__``."""
    know_what_comes_back()
    main = place()
    if main is None or _stands_for is not None:
        return main
    spec = sys.modules["__main__"].__spec__
    if of_a_folder(spec) and not under_a_guard(spec):
        return None
    return None if main[0] == "path" and not os.path.exists(main[1]) else main


def place() -> Main:
    """Tell where the ``__main__`` of this process or interpreter comes from."""
    if _stands_for is not None:
        return _stands_for
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    path = getattr(main, "__file__", None)
    if name == "__main__" and path is not None:
        return "path", os.path.abspath(os.path.dirname(path))  # a folder, or an archive
    if name is not None:
        return "name", name
    return None if path is None else ("path", os.path.abspath(path))


def of_program(main: Main) -> Any:
    """Give ``__main__``, and all that it defines, if it comes from there; else None."""
    global _failed  # noqa: PLW0603 - one __main__ a worker
    if main is None or place() != main:
        return None
    module = sys.modules["__main__"]
    if _stands_for is not None:
        if _failed:  # its prints, say, come once and not for each name
            return None
        try:
            _import(module, _stands_for)
        except Exception as error:  # user code of all kinds
            if _struck(error):
                raise
            _failed = True
            return None
    return module


def left_to_us() -> Main:
    """Tell how a process can find ``__main__``, where ``multiprocessing`` does not load it there."""
    if _stands_for is not None or of_a_folder(
        getattr(sys.modules.get("__main__"), "__spec__", None)
    ):
        return ours()
    return None


def of_a_folder(spec: object) -> bool:
    """Tell whether a module is the ``__main__.py`` of a package, a folder or an archive."""
    name = getattr(spec, "name", None)
    return name is not None and (name == "__main__" or name.endswith(".__main__"))


def under_a_guard(spec: Any) -> bool:
    """Tell whether such a module means to be imported, too: whether it looks at its name."""
    return _has_a_guard(spec.loader, spec.name)


@cache
def _has_a_guard(loader: Any, name: str) -> bool:
    try:
        lines = loader.get_source(name).splitlines()
    except Exception as error:  # no source, or no loader: other tools run programs, too
        if _struck(error):
            raise
        return False
    return any(line.startswith("if") and "__name__" in line for line in lines)


def _struck(error: Exception) -> bool:
    """Tell whether a time limit or an alarm has struck what was asked, which says nothing about that."""
    from workpool.ipc.strikes import sent

    return sent(error)


def note_what_is_there() -> None:
    """Note what a forked worker's ``__main__`` holds before anything runs: what another has as it was imported."""
    global _imported  # noqa: PLW0603 - one __main__ a worker
    main = sys.modules.get("__main__")
    if main is not None and main.__name__ == "__main__":
        _imported = dict(vars(main))


def as_imported(module: ModuleType) -> dict[str, Any]:
    """Give what a module of this worker held when it was new, as far as that is known."""
    is_main = module is sys.modules.get("__main__")
    return _imported if is_main and _imported is not None else vars(module)


def know_what_comes_back() -> None:
    """Have what workers made of this program's classes be of these classes here; before a worker starts.

    ``multiprocessing`` does so once, when it is loaded: maybe by who runs the program, and was ``__main__`` then.
    """
    main = sys.modules.get("__main__")
    if main is not None:
        sys.modules[_ALIAS] = main


def being_imported() -> bool:
    """Tell whether the program is just being run for a worker: what it does at import, it does again."""
    return _importing


def stand_in(main: Main) -> None:
    """Have this worker's ``__main__`` stand in for the program's."""
    global _stands_for  # noqa: PLW0603 - one __main__ a worker
    _stands_for = main
    module = sys.modules["__main__"]

    def find(name: str) -> Any:
        if main is not None and not (name.startswith("__") and name.endswith("__")):
            _import(module, main)
            if name in module.__dict__:
                return module.__dict__[name]
        message = f"module '__main__' has no attribute {name!r}"
        raise AttributeError(message)

    module.__getattr__ = find  # type: ignore[method-assign]  # PEP 562, for a module made here
    sys.modules[_ALIAS] = module


def _import(module: Any, main: tuple[str, str]) -> None:
    """Run the program, and take what it defines."""
    global _importing  # noqa: PLW0603 - one __main__ an interpreter
    import runpy

    how, which = main
    with _lock:
        if "__workpool_loaded__" in module.__dict__ or _importing:
            return
        _importing = True
        try:
            if how == "name":
                found = runpy.run_module(which, run_name=_ALIAS, alter_sys=False)
            else:
                found = runpy.run_path(which, run_name=_ALIAS)
            kept = {name: value for name, value in found.items() if name != "__getattr__"}
            module.__dict__.update(kept, __workpool_loaded__=True)
        finally:
            _importing = False
