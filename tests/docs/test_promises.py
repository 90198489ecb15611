"""Each test that the page of promises names is there, and each promise has one."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS

PAGE = (DOCS / "explanation" / "promises.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize(("path", "test"), sorted(set(NAMED.findall(PAGE))))
def test_a_test_that_is_named_is_there(path: str, test: str) -> None:
    """A reader who looks for the proof of a promise finds it under its name."""
    source = (DOCS.parent / path).read_text(encoding="utf-8")
    assert re.search(rf"^ *def {test}\(", source, re.MULTILINE)


def test_each_promise_has_a_test() -> None:
    """Both tables of the page have the same rows, in the same order."""
    promises, tests = (
        [row for row in table.splitlines() if row.startswith("| ")][1:]
        for table in PAGE.split("## Which test shows it")
    )
    assert len(promises) == len(tests)
    for row in tests:
        assert NAMED.search(row), row
