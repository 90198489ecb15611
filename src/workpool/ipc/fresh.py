"""Starting a fresh interpreter like this one, without loading multiprocessing for it.

The first pool of processes waits for such an interpreter, and loads multiprocessing meanwhile. So what that knows of
this interpreter is asked for only where it is loaded already.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from workpool.plain import paths

__all__ = ["run_python", "sys_path"]

_KNOWN = sys.version_info < (3, 15)  # what a start takes
_NONE = -1  # no such descriptor, group or mask


def run_python(code: str, fds: list[int]) -> int:
    """Start a fresh interpreter like this one, with these descriptors; gives its pid."""
    import subprocess

    given: Any = vars(subprocess)["_args_from_interpreter_flags"]()  # in no stub
    if not _current_folder() and "-P" not in given:
        given = [
            *given,
            "-P",
        ]  # Python 3.13.0 fails at many an import if it is to look for that folder
    executable: Any = sys.executable
    if "multiprocessing.spawn" in sys.modules:  # where a program says what to run
        from multiprocessing import spawn  # another thread may be loading it still

        executable = spawn.get_executable()
    return _execute(os.fsencode(executable), [executable, *given, "-c", code], fds)


def _execute(path: bytes, args: list[str], fds: list[int]) -> int:
    """Do what ``multiprocessing.util.spawnv_passfds`` does.

    Not by ``subprocess``, whose parent waits for the end of a pipe that a fork of another thread may hold open.
    """
    if not _KNOWN:
        from multiprocessing import util

        return util.spawnv_passfds(path, args, fds)
    import _posixsubprocess

    may_vfork: tuple[Any, ...] = ()
    if sys.version_info < (3, 14):
        import subprocess

        may_vfork = (vars(subprocess)["_USE_VFORK"],)
    # Nobody hears what goes wrong on the way: who waits for the new process sees the end of its descriptors.
    unheard = os.pipe()
    try:
        what = (args, [path], True, tuple(sorted(fds)), None, None)
        streams = (_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, *unheard)
        as_we_are = (False, False, _NONE, None, None, None, _NONE, None)
        start: Any = _posixsubprocess.fork_exec
        return int(start(*what, *streams, *as_we_are, *may_vfork))
    finally:
        for fd in unheard:
            os.close(fd)


def sys_path() -> list[str]:
    """Give where to import from, by names that hold in every folder."""
    process = sys.modules.get("multiprocessing.process")  # which notes the folder when it is loaded
    # Where the folder is gone, nothing can be imported from there.
    here = getattr(process, "ORIGINAL_DIR", None) or _current_folder()
    return [path or here for path in paths(sys.path) if path or here]


def _current_folder() -> str:
    """Give the current folder; nothing if it is gone."""
    with suppress(OSError):
        return os.getcwd()
    return ""
