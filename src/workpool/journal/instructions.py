"""What makes a function's code: what it does, but not where it stands and what is told of it.

Instructions name their constants by number, and the numbers follow from things that do not count:
a docstring is a constant, which no instruction names. So each is taken out of its instruction, and
they are listed in the order they are named. The rest of the instructions stays as it is, which keeps
the places right that jumps and the exception table lead to.

A class knows its line (Python 3.13 and later), which its code stores first: that is left out as well.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import CodeType
from typing import Any, Final

from workpool.journal.digests import canonical

__all__ = ["code_parts"]

_HAS_DOCSTRING = 0x4000000  # a flag, on Python 3.13 and later
_CONSTANT: Final = frozenset(dis.hasconst)
_EXTENDED, _STORE = dis.opmap["EXTENDED_ARG"], dis.opmap["STORE_NAME"]
_SMALL_INT = dis.opmap.get("LOAD_SMALL_INT", -1)  # Python 3.14 and later
_LINE, _CLASSES_HAVE_LINES = "__firstlineno__", sys.version_info >= (3, 13)


def code_parts(code: CodeType) -> Iterator[bytes]:
    """Go through it, with the functions and classes in it."""
    instructions, constants = _taken_apart(code)
    yield instructions
    yield code.co_exceptiontable  # what each try covers
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    flags = code.co_flags & ~_HAS_DOCSTRING
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags
    yield repr((names, counts)).encode()
    for constant in constants:
        if isinstance(constant, CodeType):
            yield b"code " + constant.co_name.encode(errors="surrogatepass")
            yield from code_parts(constant)
        else:
            yield canonical(constant)


def _taken_apart(code: CodeType) -> tuple[bytes, list[Any]]:
    """Give the instructions without the numbers of constants, and the constants in their order."""
    raw = bytearray(code.co_code)
    constants: list[Any] = []
    steps = list(_steps(code.co_code))
    lined = _where_the_line_is_loaded(code, steps)
    for start, end, kind, argument in steps:
        if start == lined:
            raw[start:end] = bytes(end - start)
        elif kind in _CONSTANT:
            raw[start + 1 : end : 2] = bytes((end - start) // 2)
            constants.append(code.co_consts[argument])
    return bytes(raw), constants


_Step = tuple[int, int, int, int]  # where it begins and ends, its kind and its argument


def _steps(raw: bytes) -> Iterator[_Step]:
    start = argument = 0
    for place in range(0, len(raw), 2):
        kind, low = raw[place], raw[place + 1]
        argument = argument << 8 | low
        if kind != _EXTENDED:
            yield start, place + 2, kind, argument
            start, argument = place + 2, 0


def _where_the_line_is_loaded(code: CodeType, steps: list[_Step]) -> int:
    """Tell where the body of a class loads its own line; -1 if it is none."""
    if _CLASSES_HAVE_LINES and _LINE in code.co_names:
        name = code.co_names.index(_LINE)
        for (start, _, kind, argument), (_, _, after, stored) in pairwise(steps):
            if after == _STORE and stored == name:  # the first is the compiler's
                line = code.co_consts[argument] if kind in _CONSTANT else argument
                known = kind in _CONSTANT or kind == _SMALL_INT
                return start if known and line == code.co_firstlineno else -1
    return -1
