"""What the library says, ``python -m workpool map`` says in its own words: options, and items counted from 1."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workpool.__main__ import main

MODULE = """
import os

def picky(text):
    if text == "ends":
        os._exit(3)
    if text == "raises":
        raise ValueError('item 1 of map(it): give retries=1, backend="thread"')
    return text
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module."""
    (tmp_path / "picky_tools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "picky_tools", raising=False)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, items: list[str], status: int = 1) -> str:
    """Run the command and give what it told."""
    assert main(["map", "picky_tools:picky", *words, "--files", *items]) == status
    return capsys.readouterr().err


def test_an_item_has_one_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where an error of ours names the item once more, it is by the number the line begins with."""
    error = told(capsys, "--backend", "process", items=["a", "ends", "b"])
    assert error.startswith("item 2 ('ends'): WorkerLost: ")
    assert "while it ran item 2 of map(picky). " in error
    assert "; --retries 1 would run this one again" in error


def test_what_the_function_raises_is_left_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its words are the user's own."""
    error = told(capsys, items=["raises"])
    assert error.endswith('ValueError: item 1 of map(it): give retries=1, backend="thread"\n')


def test_a_journal_counts_items_as_the_command_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another item, or a missing one, has the number that its line has."""
    journal = "--journal", str(folder / "run.sqlite")
    assert told(capsys, *journal, items=["a", "b"], status=0) == ""
    error = told(capsys, *journal, items=["a", "c"], status=2)
    assert "begun with another item 2 than this call" in error
    error = told(capsys, *journal, items=["a"], status=2)
    assert "keeps the result of item 2, and this input ends after 1 items" in error


def test_advice_names_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a program would give as a keyword, a command line gives as an option."""
    with pytest.raises(SystemExit):
        told(capsys, "--backend", "inline", "--time-limit", "2", items=["a"])
    error = capsys.readouterr().err
    assert "--time-limit 2.0 cannot be kept with --backend inline: " in error
    assert "Use --backend process (the task is ended) or --backend thread." in error
