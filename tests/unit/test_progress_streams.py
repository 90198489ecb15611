"""What progress does with a stderr that is no whole stream: closed, or a program's own."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from tests.support.tasks import double
from workpool import Pool


class Bare:
    """Takes text, and is no more of a stream than ``print`` needs."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing is held back."""


def test_a_stderr_that_is_closed_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that closed it maps all the same."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with Pool(1) as pool:
        assert list(pool.map(double, range(3), progress=True)) == [0, 2, 4]


@pytest.mark.parametrize("showing", [True, "plain"])
def test_a_stderr_that_cannot_say_what_it_is_is_a_log(
    showing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without isatty it is no terminal: it is given whole lines."""
    stream = Bare()
    monkeypatch.setattr(sys, "stderr", stream)
    with Pool(1) as pool:
        assert list(pool.map(double, range(3), progress=showing)) == [0, 2, 4]
    assert stream.text.startswith("double: 3, ")
    assert stream.text.endswith("\n")
    assert "\r" not in stream.text
