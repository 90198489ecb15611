"""What travels to the workers: read an item, call the function, write the result.

Text goes there and text comes back, so the workers share the work of reading and
writing JSON, and a line that is no JSON fails in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from workpool.naming import function_name

if TYPE_CHECKING:
    import argparse

__all__ = ["Work", "as_ascii"]


@attrs.frozen
class Work:
    """How the function is called."""

    call: Callable[[str], str]
    function: str  # its name
    options: str  # those that change what it writes, as they are given

    @classmethod
    def of(cls, fn: Callable[..., Any], arguments: argparse.Namespace) -> Work:
        """Take it from the command line."""
        call: Any = partial(
            _call,
            fn,
            reads_json=arguments.jsonl,
            any_result=arguments.repr,
            with_input=arguments.with_input,
        )
        options = {
            "--jsonl": arguments.jsonl,
            "--repr": arguments.repr,
            "--with-input": arguments.with_input,
        }
        given = " ".join(option for option in options if options[option])
        return cls(call, function_name(fn), given)


def _call(
    fn: Callable[[Any], Any], text: str, /, *, reads_json: bool, any_result: bool, with_input: bool
) -> str:
    item: Any = text
    if reads_json:
        try:
            item = json.loads(text)
        except ValueError as error:
            message = f"the line is no JSON: {error}"
            raise ValueError(message) from None
    result = fn(item)
    line = _written("result", result, "Return what can", any_result=any_result)
    if not with_input:
        return line
    # Read once more: the function may have changed its argument.
    item = json.loads(text) if reads_json else text
    given = _written("input", item, "Leave out --with-input", any_result=any_result)
    return f'{{"input": {given}, "result": {line}}}'


def _written(what: str, value: Any, way_out: str, *, any_result: bool) -> str:
    """Write a result, or an input, as JSON in one line."""
    try:
        line = json.dumps(
            value, ensure_ascii=False, allow_nan=False, default=repr if any_result else None
        )
    except (TypeError, ValueError) as error:
        if any_result:
            line = json.dumps(repr(value), ensure_ascii=False)
        else:
            message = f"the {what} cannot be written as JSON: {error}. {way_out}, or say --repr."
            raise TypeError(message) from None
    try:
        line.encode()
    except UnicodeEncodeError:  # a file's name that is no text
        return as_ascii(line)
    return line


def as_ascii(line: str) -> str:
    """Escape what is not ASCII in a line of JSON, where that can be in strings only."""
    return "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in line)
