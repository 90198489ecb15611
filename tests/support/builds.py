"""What holds on some builds of Python only; each mark says why."""

from __future__ import annotations

import pytest

from workpool._compat import gil_enabled

__all__ = ["frees_at_once", "needs_gil"]

needs_gil = pytest.mark.skipif(
    not gil_enabled(),
    reason="without a GIL this is done under a lock, and nothing can come between",
)
frees_at_once = pytest.mark.skipif(
    not gil_enabled(),
    reason="without a GIL an object goes when the thread that made it runs again, or the collector does",
)
