"""All names at once: the list that says which is read as it is written."""

from __future__ import annotations

from typing import assert_type

from workpool import *  # noqa: F403 - what is tested

assert_type(Pool(1).submit(len, "abc"), Task[int])  # noqa: F405 - of the star
