"""What several tests of single parts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workpool.shared.home import Scope


@pytest.fixture(params=["thread", "process"])
def scope(request: pytest.FixtureRequest) -> Scope:
    """Run a test on each scope."""
    return "thread" if request.param == "thread" else "process"
