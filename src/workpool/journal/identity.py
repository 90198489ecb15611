"""Which function it is: a name and a digest that are the same in the next run.

A function is known by its name and the digest of its code: instructions, constants,
names, defaults and what it is bound to and closes over, but no line numbers. Functions
that it calls are not looked into. Instructions are those of one minor version of Python,
and are compared within that alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from types import FunctionType, MethodType
from typing import Any, cast

import attrs

from workpool.errors import NotPicklable, brief
from workpool.journal.digests import SIZE
from workpool.journal.holdings import function_holds, held, wrapped_by
from workpool.journal.instructions import code_parts
from workpool.naming import function_name

__all__ = ["Identity", "identify"]


@attrs.frozen
class Identity:
    """By what a journal knows its function."""

    name: str
    code: str  # digest, in hexadecimal; empty where there is a version
    python: str  # whose instructions they are
    star: bool  # items are tuples of arguments
    version: str | None  # instead of the code
    options: str | None = None  # of a command, those that change its results; None: no command


def identify(
    fn: Callable[..., Any],
    *,
    star: bool,
    version: str | None,
    name: str | None = None,
    options: str | None = None,
    way_out: str = "journal=Journal(path, version='1')",
) -> Identity:
    """Tell by what a function is to be known again; NotPicklable if that cannot be told."""
    name = name or function_name(fn)
    code = ""
    if version is None:
        try:
            code = _code(fn)
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:
            message = (
                f"the function {name} cannot be known again by a journal: what it holds could not be gone through: "
                f"{brief(error)}. Say which version of it this is: {way_out}"
            )
            raise NotPicklable(message, part="function") from error
    python = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
    return Identity(name, code, python, star, version, options)


def _code(fn: Callable[..., Any]) -> str:
    known = blake2b(digest_size=SIZE)
    for part in _parts(fn, set()):
        known.update(len(part).to_bytes(8, "big"))
        known.update(part)
    return known.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    """Go through what a function, or a value it holds, is made of."""
    if id(value) in seen:  # a function that closes over itself, a list in itself
        yield b"again"
    elif isinstance(value, FunctionType):
        seen.add(id(value))
        yield b"function"
        yield from code_parts(value.__code__)
        for held_ in function_holds(value):
            yield from _parts(held_, seen)
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
        seen.add(id(members))
        for member in members:
            yield from _parts(member, seen)
        seen.discard(id(members))
    else:
        yield from _value_parts(value, seen)


def _value_parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    kind: Any = value.__class__
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    call = getattr(kind, "__call__", None)  # noqa: B004 - the function itself is wanted
    # An object that is called, such as one with settings.
    if isinstance(call, FunctionType) or wrapped_by(call) is not None:
        yield from _parts(call, seen)
    yield held(value)
