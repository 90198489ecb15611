"""The rule that keeps locks out of the library which Ctrl-C may leave locked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def rules() -> Any:
    spec = importlib.util.spec_from_file_location("house_rules", ROOT / "tools" / "house_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(text: str, folder: Path, path: str) -> list[str]:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    check = rules().check
    return list(check(Path(path)))


@pytest.mark.parametrize(
    "text",
    [
        "import threading\nlock = threading.Lock()\n",
        "import threading\nkind: threading.Condition | None = None\n",
        "from threading import Event\n",
        "from _thread import allocate_lock\n",
        "import _thread\nlock = _thread.RLock()\n",
    ],
)
def test_a_plain_lock_is_refused_in_the_library(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is named; a reason beside it makes an exception, and tests may have what they like."""
    monkeypatch.chdir(tmp_path)
    (said,) = found(text, tmp_path, "src/workpool/one.py")
    assert "which Ctrl-C may leave locked; take" in said
    excepted = text.rstrip("\n") + "  # house: lock - a reason\n"
    assert found(excepted, tmp_path, "src/workpool/two/three.py") == []
    assert found(text, tmp_path, "tools/four.py") == []
