"""Every block of code in the documentation runs, and prints what the page says.

A page's claim that cannot be run is a claim that nobody checks.
"""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Program, blocks_of, pages, programs_of

PROGRAMS = [program for page in pages() for program in programs_of(page)]
KNOWN = {"python", "text", "sh"}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.label)
def test_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    """A reader who saves a program of a page and runs it sees what the page shows, and no more."""
    script = tmp_path / "program.py"
    script.write_text(program.source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    checker = doctest.OutputChecker()
    for promised, printed in ((program.errors, ran.stderr), (program.output, ran.stdout)):
        stripped = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        if not checker.check_output(promised, stripped, doctest.ELLIPSIS):
            example = doctest.Example(program.source, promised)
            difference = checker.output_difference(example, stripped, doctest.ELLIPSIS)
            pytest.fail(difference, pytrace=False)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    """No code escapes the tests because its fence is spelt another way."""
    languages = {block.language for block in blocks_of(page)}
    assert {language for language in languages if not language.startswith("{")} <= KNOWN
