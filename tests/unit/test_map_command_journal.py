"""``python -m workpool map --journal``: what is compared, and in which words a run is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workpool import Journal, JournalMismatch, Pool
from workpool.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module."""
    (tmp_path / "mapped_tools.py").write_text("def upper(text):\n    return text.upper()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mapped_tools", raising=False)
    return tmp_path


@pytest.mark.parametrize("version", [[], ["--journal-version", "1"]], ids=["code", "version"])
@pytest.mark.parametrize("option", ["--jsonl", "--repr", "--with-input"])
def test_options_that_change_the_lines_are_compared(
    option: str, version: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the option, whether the function goes by its code or by a version."""
    (folder / "in").write_text('"a"\n')
    command = ["map", "mapped_tools:length", "--input", "in", "--journal", "run.sqlite"]
    command += [*version, "--with-input" if option == "--repr" else "--repr"]
    (folder / "mapped_tools.py").write_text("length = len\n")
    assert main(command) == 0
    before = capsys.readouterr().out
    assert main([*command, option]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"was begun without {option}, which changes what is kept" in err
    assert main(command) == 0
    assert capsys.readouterr().out == before


def test_a_changed_function_is_told_in_the_words_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way out is an option, not a line of Python; so it is for another version."""
    command = ["map", "--journal", "run.sqlite", "--files", "a", "--", "mapped_tools:upper"]
    assert main(command) == 0
    (folder / "mapped_tools.py").write_text("def upper(text):\n    return 1 / 0\n")
    sys.modules.pop("mapped_tools")
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "say so: --journal-version 2. Else" in err
    assert "Journal(" not in err
    version = ["--journal-version", "good enough"]
    assert main([*command[:-2], *version, *command[-2:]]) == 0
    assert main(command) == 2
    assert (
        "has none. If its results are good all the same, say so: --journal-version 'good enough'"
        in (capsys.readouterr().err)
    )


def test_another_function_is_refused_with_the_same_version(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The function has its own name, not that of what the command wraps it in."""
    command = ["map", "--journal", "run.sqlite", "--journal-version", "1", "--files", "a", "--"]
    assert main([*command, "mapped_tools:upper"]) == 0
    assert main([*command, "builtins:len"]) == 2
    assert "function upper, and this call is about len" in capsys.readouterr().err


def test_a_journal_of_a_program_is_none_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program keeps values and the command lines of text: one does not go on with the other's."""
    path = folder / "run.sqlite"
    with Pool(1) as pool:
        assert list(pool.map(len, ["a"], journal=Journal(path, version="1"))) == [1]
    command = ["map", "builtins:len", "--journal", str(path), "--journal-version", "1"]
    assert main([*command, "--files", "a"]) == 2
    assert "was begun by a program" in capsys.readouterr().err
    path.unlink()
    assert main([*command, "--files", "a"]) == 0
    with Pool(1) as pool, pytest.raises(JournalMismatch, match="was begun by a command"):
        pool.map(len, ["a"], journal=Journal(path, version="1"))
