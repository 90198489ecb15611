"""Records on their way out of a worker: what ends their task goes through."""

from __future__ import annotations

import logging
from typing import NoReturn

import pytest

from workpool import TimeLimitExceeded, tasklog


class Struck:
    """Something whose text, pickle and repr are never done: a time limit strikes in one of them."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _strike(self, where: str) -> None:
        if where == self._where:
            raise TimeLimitExceeded("it was told to end")

    def __str__(self) -> str:
        self._strike("text")
        return "text"

    def __reduce__(self) -> NoReturn:
        self._strike("pickle")
        raise ValueError("it has none")

    def __repr__(self) -> str:
        self._strike("repr")
        return "repr"


@pytest.mark.parametrize("where", ["text", "pickle", "repr"])
def test_a_time_limit_strikes_also_where_a_record_is_packed(where: str) -> None:
    """It is no fault of the record, but what its task is to hear."""
    struck = Struck(where)
    record = logging.LogRecord("any", logging.INFO, "file", 1, "%s", (Struck("text"),), None)
    if where != "text":
        record = logging.LogRecord("any", logging.INFO, "file", 1, "message", (), None)
        record.extra = struck
    with pytest.raises(TimeLimitExceeded):
        tasklog._pack(record)
