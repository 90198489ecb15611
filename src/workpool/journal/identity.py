"""Which function it is, and which item: digests that are the same in the next run.

An item's digest is that of its pickle, made in a form that depends on the value alone:
without pickle's memo (else it would matter whether two equal parts are one object),
and with sets in a fixed order (else it would follow the hash seed of the process).

A function is known by its name and the digest of its code: instructions, constants,
names, defaults and what it closes over, but no line numbers. Functions that it calls
are not looked into. Instructions are those of one minor version of Python, and are
compared within that alone.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

import attrs

from workpool.errors import NotPicklable
from workpool.ipc.pickling import dumps
from workpool.naming import function_name

__all__ = ["Identity", "digest", "identify"]

SIZE = 16  # bytes of a digest
_PROTOCOL = 5
_SETS = b"\x8f", b"\x91"  # the opcodes of a set and of a frozenset


def digest(item: Any, position: int) -> bytes:
    """Give the digest of an item; NotPicklable if it has none."""
    try:
        data = _canonical(item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = (
            f"item {position} cannot be known again by a journal: its pickle failed with "
            f"{type(error).__name__}: {error}. Map over values that can be pickled, such as paths or keys."
        )
        raise NotPicklable(message, part="argument") from error
    return blake2b(data, digest_size=SIZE).digest()


def _canonical(value: Any) -> bytes:
    try:
        data = _pickled(pickle.Pickler, value)
        # A byte of a string may look like a set: then the longer way is taken each time.
        if any(data.find(code) >= 0 for code in _SETS):
            data = _pickled(_InOrder, value)
    except RecursionError:
        raise
    except Exception:  # lambdas, cycles: in a form that may depend on more than the value
        return dumps(value)
    return data


def _pickled(kind: type[pickle.Pickler], value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = kind(buffer, _PROTOCOL)
    pickler.fast = True  # no memo
    pickler.dump(value)
    return buffer.getvalue()


class _InOrder(pickle.Pickler):
    """Pickles sets as their members' pickles, sorted."""

    def persistent_id(self, obj: Any) -> Any:
        """Stand in for a set; None for everything else."""
        kind: Any = obj.__class__
        if kind is set or kind is frozenset:
            members = cast("set[Any]", obj)
            return kind.__name__, sorted(_pickled(_InOrder, member) for member in members)
        return None


# ------------------------------------------------------------------------ functions


@attrs.frozen
class Identity:
    """By what a journal knows its function."""

    name: str
    code: str  # digest, in hexadecimal
    python: str  # whose instructions they are
    star: bool  # items are tuples of arguments
    version: str | None  # instead of the code


def identify(fn: Callable[..., Any], *, star: bool, version: str | None) -> Identity:
    """Tell by what a function is to be known again."""
    known = blake2b(digest_size=SIZE)
    for part in _parts(fn, set()):
        known.update(len(part).to_bytes(8, "big"))
        known.update(part)
    python = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
    return Identity(function_name(fn), known.hexdigest(), python, star, version)


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    """Go through what a function, or a value it holds, is made of."""
    if id(value) in seen:  # a function that closes over itself
        yield b"again"
    elif isinstance(value, FunctionType):
        seen.add(id(value))
        yield b"function"
        yield from _code_parts(value.__code__, value.__doc__)
        for held in (value.__defaults__, value.__kwdefaults__, value.__closure__):
            yield from _parts(_contents(held), seen)
    elif isinstance(value, MethodType):
        yield b"method"
        yield from _parts(value.__func__, seen)
        yield from _parts(value.__self__, seen)
    elif isinstance(value, partial):
        yield b"partial"
        yield from _parts((value.func, value.args, sorted(value.keywords.items())), seen)
    elif isinstance(value, (tuple, list)):
        members = cast("list[Any]", value)
        yield b"%d members" % len(members)
        for member in members:
            yield from _parts(member, seen)
    else:
        yield from _value_parts(value, seen)


def _value_parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    kind: Any = value.__class__
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    call = getattr(kind, "__call__", None)  # noqa: B004 - the function itself is wanted
    if isinstance(call, FunctionType):  # an object that is called, such as one with settings
        yield from _parts(call, seen)
    try:
        yield _canonical(value)
    except Exception:  # what cannot be pickled (a lock it closes over) is known by its type
        yield b"?"


def _contents(held: Any) -> Any:
    """Give what defaults and closures hold, in order."""
    if held is None:
        return ()
    if isinstance(held, dict):
        return sorted(cast("dict[str, Any]", held).items())
    return [_cell(value) for value in held]


def _cell(value: Any) -> Any:
    if type(value).__name__ != "cell":
        return value
    try:
        return value.cell_contents
    except ValueError:  # not filled yet
        return None


def _code_parts(code: CodeType, told: str | None = None) -> Iterator[bytes]:
    yield code.co_code
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    yield repr((names, counts)).encode()
    constants = code.co_consts
    if told is not None and constants[:1] == (told,):  # its docstring
        constants = constants[1:]
    for constant in constants:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield _canonical(constant)
