"""A signal's handler that raises while a worker looks for what it has of its own says nothing about that."""

from __future__ import annotations

import signal
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from workpool.ipc import mainmodule, own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGUSR1")

# The first time it is imported a signal comes.
MODULE = """
import signal, sys
if "struck_by_value" not in sys.modules:
    sys.modules["struck_by_value"] = sys
    signal.raise_signal(signal.SIGUSR1)
there = 1
"""


class Alarm(Exception):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    def strike(_signal: int, _frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, strike)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
        sys.modules.pop("struck_by_value", None)


def test_a_module_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for one that a worker cannot import, for as long as that worker lives."""
    (tmp_path / "struck_module.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    home = own.MODULE, "struck_module"
    with pytest.raises(Alarm):
        own._module(home)
    found = own._module(home)
    monkeypatch.delitem(sys.modules, "struck_module")
    assert found is not None
    assert vars(found)["there"] == 1


def test_the_program_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for one that fails when it is imported."""
    path = tmp_path / "program.py"
    path.write_text(MODULE)
    program = "path", str(path)
    main: Any = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(mainmodule, "_stands_for", program)
    with pytest.raises(Alarm):
        mainmodule.of_program(program)
    assert mainmodule.of_program(program) is main
    assert main.there == 1
