"""Calls that must be refused are refused by mypy and by pyright, line by line.

The checkers belong to the development set, not to what runs the tests everywhere:
``nox -s types`` is where these tests run in any case.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.typing.checkers import CHECKERS, Complaint, differences, missing

HERE = Path(__file__).parent
CASES = sorted((HERE / "rejected").glob("[a-z]*.py"))

LIE = '''\
"""A file whose marks are wrong."""

from workpool import Pool

pool = Pool()
pool.submit(len, 3)  # E
pool.submit(len, "abc")  # E
pool.submit(len, 4)
pool.sumbit(len, "abc")
pool.submit(lenght, "abc")  # E
'''

pytestmark = [
    pytest.mark.timeout(600),  # a checker that reads everything anew, on a busy machine
    pytest.mark.skipif(
        bool(missing()), reason=f"{missing()} not installed; `nox -s types` runs this"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files to where no setting of this project leaves them out, and add the lie."""
    folder = tmp_path_factory.mktemp("rejected")
    for path in CASES:
        shutil.copy(path, folder)
    (folder / "lie.py").write_text(LIE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def complaints(folder: Path) -> dict[str, list[Complaint]]:
    """Run each checker once, on all files."""
    paths = sorted(folder.glob("*.py"))
    return {name: list(check(paths)) for name, check in CHECKERS.items()}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("name", [path.name for path in CASES])
def test_marked_lines_are_refused_and_no_others(
    name: str, checker: str, folder: Path, complaints: dict[str, list[Complaint]]
) -> None:
    """Each call that cannot work is a type error, where it is written."""
    assert not "\n".join(differences(folder / name, complaints[checker]))


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_wrong_mark_is_noticed(
    checker: str, folder: Path, complaints: dict[str, list[Complaint]]
) -> None:
    """A marked line that is accepted, an error without a mark and a slip under one each count."""
    found = differences(folder / "lie.py", complaints[checker])
    assert [int(told.split(":")[1]) for told in sorted(set(found))] == [10, 7, 8, 9]
    assert any(told.startswith("lie.py:7: accepted: pool.submit") for told in found)
