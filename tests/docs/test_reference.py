"""The reference has a place for every public name, and for no other."""

from __future__ import annotations

import re

import workpool
from tests.docs.pages import DOCS

DOCUMENTED = re.compile(
    r"^\.\. auto(?:class|data|exception|function)::\s+workpool\.(\w+)(?:\(\))?\s*$", re.MULTILINE
)


def test_every_public_name_has_its_place_once() -> None:
    """What a user can import from workpool stands in the reference, exactly once."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    assert sorted(DOCUMENTED.findall(text)) == sorted(workpool.__all__)
