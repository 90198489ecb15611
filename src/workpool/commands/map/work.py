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

__all__ = ["Work"]


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
    if with_input:
        # Read once more: the function may have changed its argument.
        result = {"input": json.loads(text) if reads_json else text, "result": result}
    return _written(result, any_result=any_result)


def _written(result: Any, *, any_result: bool) -> str:
    """Write a result as JSON in one line."""
    try:
        line = json.dumps(
            result, ensure_ascii=False, allow_nan=False, default=repr if any_result else None
        )
    except (TypeError, ValueError) as error:
        if any_result:
            line = json.dumps(repr(result), ensure_ascii=False)
        else:
            message = (
                f"the result cannot be written as JSON: {error}. Return what can, or say --repr."
            )
            raise TypeError(message) from None
    try:
        line.encode()
    except UnicodeEncodeError:  # a file's name that is no text
        return json.dumps(json.loads(line))
    return line
