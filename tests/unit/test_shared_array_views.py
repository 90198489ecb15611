"""Looks at an Array's memory: one of its own each time, and cheap where numpy is not installed."""

from __future__ import annotations

import sys
from unittest.mock import Mock

import pytest

from workpool.shared import Array, Scope
from workpool.shared import array as array_module

pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture(params=["thread", "process"])
def scope(request: pytest.FixtureRequest) -> Scope:
    scope: Scope = request.param
    return scope


@pytest.mark.parametrize("dtype", ["int8", "float64", *array_module._NUMPYS])
def test_a_look_that_is_ended_ends_no_other(scope: Scope, dtype: str) -> None:
    """A memoryview that a with block has released is not the array's own."""
    if dtype in array_module._NUMPYS:
        pytest.importorskip("numpy")
    array = Array(3, dtype, scope=scope)
    with array.memory as memory:
        assert memory.nbytes == array.nbytes
    with array.lock() as view:
        view[0] = 1
    assert array[0] == 1


def test_numpy_is_not_looked_for_again_and_again(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that finds nothing is long, and so is made once; what the program loads later is found."""
    looked: list[str] = []

    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "numpy":
                looked.append(name)
                raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    monkeypatch.setattr(array_module, "_missing", False, raising=False)
    array = Array(3, "int8", scope=scope)
    assert [array[n] for n in range(3)] == [0, 0, 0]
    assert looked == ["numpy"]
    numpy = Mock()
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    assert array.view is numpy.frombuffer().reshape()
