"""``python -m workpool demo``: what it finds, and what it tells."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.backends import needs_its_package
from workpool.__main__ import COMMANDS, main
from workpool.backends.base import BACKENDS
from workpool.commands.demo import job
from workpool.commands.demo.files import Report, examine, read_through, walk
from workpool.commands.demo.totals import FAILURES, Totals, human_size
from workpool.integrations.progress.line import FIRST, LIVING, LONGEST, Line


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small tree: texts, a file that is none, an empty one, folders, a link."""
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"one two  three\n")
    (root / "empty").touch()
    (root / "sub" / "b.txt").write_bytes(b"four " * 1000)
    (root / "sub" / "deep" / "c.bin").write_bytes(b"\0not words\xff")
    (root / "link").symlink_to(root / "a.txt")
    return root


# --------------------------------------------------------------------------- files


@given(blocks=st.lists(st.sampled_from([b"a", b" ", b"ab", b"a b", b"\n", b" a", b"a "])))
def test_words_are_counted_across_blocks(blocks: list[bytes]) -> None:
    """However a text is cut into blocks, its words and its checksum are those of the whole."""
    content = b"".join(blocks)
    report = read_through("text", iter(blocks))
    assert report == (
        "text",
        len(content),
        len(content.split()),
        hashlib.sha256(content).hexdigest(),
    )


def test_examine_tells_text_from_other_files(tree: Path) -> None:
    """A file with a zero byte at its beginning has no words; an empty one has none either, but is text."""
    assert examine(str(tree / "a.txt"))[1:3] == (15, 3)
    assert examine(str(tree / "empty"))[1:3] == (0, 0)
    assert examine(str(tree / "sub" / "deep" / "c.bin"))[1:3] == (11, None)


def test_walk_gives_regular_files_in_a_fixed_order(tree: Path) -> None:
    """Files of all folders, sorted by name; no links, no pipes, and nothing that is to be skipped."""
    os.mkfifo(tree / "pipe")
    failures: list[OSError] = []
    (tree / "other").mkdir()
    (tree / "other" / "file").touch()
    skip = frozenset({str(tree / "empty"), str(tree / "other")})
    found = list(walk(str(tree), failures.append, skip=skip))
    assert [os.path.relpath(path, tree) for path in found] == [
        "a.txt",
        "sub/b.txt",
        "sub/deep/c.bin",
    ]
    assert not failures


def test_walk_is_lazy_and_tells_what_it_cannot_list(tree: Path) -> None:
    """A folder that is gone when its turn comes is told by name; the walk goes on."""
    (tree / "z").mkdir()
    (tree / "z" / "last").touch()
    failures: list[OSError] = []
    found = walk(str(tree), failures.append)
    first = next(found)
    (tree / "sub" / "b.txt").unlink()
    (tree / "sub" / "deep" / "c.bin").unlink()
    (tree / "sub" / "deep").rmdir()
    (tree / "sub").rmdir()
    assert [first, *found] == [str(tree / name) for name in ("a.txt", "empty", "z/last")]
    assert [error.filename for error in failures] == [str(tree / "sub")]


# --------------------------------------------------------------------------- totals


def test_summary_names_the_first_failures_and_counts_the_rest() -> None:
    """A tree that cannot be read does not fill the screen, but the number is told."""
    totals = Totals("/tree")
    for n in range(FAILURES + 2):
        totals.failed(PermissionError(13, "Permission denied", f"/tree/file{n:02}"))
    totals.failed(ValueError("not about a file"))
    lines = list(totals.summary())
    assert f"{FAILURES + 3} could not be read:" in lines
    assert "  file00: Permission denied" in lines
    assert "  ValueError: not about a file" in lines
    assert lines[-1] == "  and 3 more"


def test_summary_names_the_largest_files() -> None:
    """Of many files, the five largest are named, the largest first."""
    totals = Totals("/tree")
    for size in (3, 8, 1, 6, 7, 2, 5):
        totals.add(Report(f"/tree/{size}", size, None, ""))
    assert [line.split()[-1] for line in totals.summary()][-5:] == ["8", "7", "6", "5", "3"]


def test_fingerprint_does_not_depend_on_the_order(tree: Path) -> None:
    """Workers come back in any order; the fingerprint is that of the tree."""
    reports = [examine(path) for path in walk(str(tree), print)]
    one, other, less = Totals(str(tree)), Totals(str(tree)), Totals(str(tree))
    for report in reports:
        one.add(report)
    for report in reversed(reports):
        other.add(report)
    for report in reports[1:]:
        less.add(report)
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != less.fingerprint


def test_a_strange_name_does_nothing_to_the_terminal() -> None:
    """Control characters in a file name are shown, not sent."""
    totals = Totals("/tree")
    totals.failed(OSError(5, "Input/output error", "/tree/\x1b[2Jx\udcff"))
    assert list(totals.summary())[-1] == r"  '\x1b[2Jx\udcff': Input/output error"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (2.5e6, "2.5 MB"),
        (7e9, "7.0 GB"),
        (3e12, "3.0 TB"),
    ],
)
def test_sizes_have_a_unit_that_fits(size: float, text: str) -> None:
    """Bytes are written as a person would say them."""
    assert human_size(size) == text


# --------------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    """Text that believes to be on a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the clock of the progress line by hand."""
    clock = Clock()
    monkeypatch.setattr("workpool.integrations.progress.line.monotonic", clock)
    return clock


def test_progress_in_a_log_is_a_line_now_and_then(clock: Clock) -> None:
    """Where there is no terminal, a line comes soon, and then less and less often: no log is flooded."""
    log = io.StringIO()
    shown = Line(log, lambda: f"{clock.now / FIRST:g}")
    for now in range(17):
        clock.now = now * FIRST
        shown.look()
    clock.now = 1e6
    shown.look()
    clock.now += LONGEST
    shown.look()
    shown.clear()
    lines = log.getvalue().splitlines()
    assert lines[:4] == ["1", "3", "7", "15"]
    assert len(lines) == 6


def test_progress_on_a_terminal_is_written_over_itself(clock: Clock) -> None:
    """On a terminal a shorter line leaves nothing of a longer one, and the last is taken away."""
    terminal = Terminal()
    lines = iter(["long line", "short"])
    shown = Line(terminal, lambda: next(lines))
    for clock.now in (LIVING, LIVING * 2):
        shown.look()
    shown.clear()
    assert terminal.getvalue() == "\rlong line" + "\rshort    " + "\r     \r"


# --------------------------------------------------------------------------- the command


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_finds_the_same(
    backend: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary is the same on every backend, but for the time it took."""
    needs_its_package(backend)
    assert main(["demo", str(tree), "--backend", backend, "--workers", "2"]) == 0
    head, by, total, *rest = capsys.readouterr().out.splitlines()
    assert head == f"SHA-256 and words of every file in {tree}"
    workers = 1 if backend == "inline" else 2
    assert by == f"by Pool({workers}, backend={backend!r})"
    assert total.startswith("4 files, 5.0 kB in ")
    assert rest == [
        "1,003 words in 3 text files",
        "fingerprint 9555df470de43abf95fcc0337e19b41e7acd8260bf6ce236452224bb53d94af4",
        "largest files:",
        "     5.0 kB  sub/b.txt",
        "       15 B  a.txt",
        "       11 B  sub/deep/c.bin",
        "        0 B  empty",
    ]


def test_what_cannot_be_read_is_told_and_is_not_fatal(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone meanwhile is named in the summary; the others are examined; the status is 1."""

    def walk_by_one_that_is_gone(root: str, *_: object, **__: object) -> Iterator[str]:
        yield os.path.join(root, "gone")
        yield os.path.join(root, "a.txt")

    monkeypatch.setattr(job, "walk", walk_by_one_that_is_gone)
    assert main(["demo", str(tree)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("1 files, 15 B in ")
    assert lines[-2:] == ["1 could not be read:", "  gone: No such file or directory"]


def test_output_holds_a_checksum_for_each_file(tree: Path, tmp_path: Path) -> None:
    """The output is what sha256sum writes, also of a name with a line break; it is not part of the tree."""
    strange = tree / "two\nlines"
    strange.write_bytes(b"x")
    output = tree / "sums"
    assert main(["demo", str(tree), "--output", str(output)]) == 0
    expected = {
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}"
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and path not in (output, strange)
    }
    escaped = str(strange).replace("\n", "\\n")
    expected.add(f"\\{hashlib.sha256(b'x').hexdigest()}  {escaped}")
    assert set(output.read_text().splitlines()) == expected


def test_a_backend_that_is_not_to_be_had_is_told(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is missing is named, and there is no traceback."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as refusal:
        main(["demo", str(tree), "--backend", "dask"])
    assert refusal.value.code == 2
    assert "distributed" in capsys.readouterr().err


def test_compare_tells_of_each_backend(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side: one line a backend, the one without concurrency first, and all agree."""
    assert main(["demo", str(tree), "--compare", "--workers", "2"]) == 0
    printed = capsys.readouterr()
    first, head, *lines, last = printed.out.splitlines()
    left_out = set(
        re.findall(r"Pool\('(\w+)'\) is left out: .* needs (?:the package|Python)", printed.err)
    )
    assert first == "4 files, 5.0 kB, read once before"
    assert head.split() == ["pool", "seconds", "files/s", "data/s", "times", "inline"]
    assert lines[0].startswith("Pool(1, 'inline') ")
    assert lines[0].endswith(" 1.00")
    compared = {line.split("'")[1] for line in lines}
    assert {"inline", "thread", "process"} <= compared
    assert compared | left_out == set(BACKENDS)
    assert last.startswith("All found the same: fingerprint ")


def test_the_default_is_pythons_own_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder, the files are those of Python, and not those of packages installed there."""
    walked: list[tuple[str, frozenset[str]]] = []

    def walk_nowhere(root: str, _: object, *, skip: frozenset[str]) -> Iterator[str]:
        walked.append((root, skip))
        yield from ()

    monkeypatch.setattr(job, "walk", walk_nowhere)
    assert main(["demo"]) == 0
    library = sysconfig.get_path("stdlib")
    assert walked[0][0] == library
    assert os.path.join(library, "site-packages") in walked[0][1]
    assert f"every file in {library}\n" in capsys.readouterr().out


def test_compare_tells_when_not_all_found_the_same(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of jobs that were not the same are no comparison, and that is told."""
    walks = count()

    def walk_another_tree(root: str, *_: object, **__: object) -> Iterator[str]:
        yield os.path.join(root, "a.txt")
        if next(walks) > 1:
            yield os.path.join(root, "empty")

    monkeypatch.setattr(job, "walk", walk_another_tree)
    assert main(["demo", str(tree), "--compare"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Not all found the same: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such/folder"], "DIRECTORY must be a folder, and 'no/such/folder' is none"),
        ([""], "DIRECTORY must be a folder, and '' is none"),
        ([".", "--workers", "0"], "--workers: must be a whole number, 1 or more; got '0'"),
        ([".", "--workers", "x"], "--workers: must be a whole number, 1 or more; got 'x'"),
        ([".", "--backend", "fast"], "invalid choice: 'fast'"),
        ([".", "--output", "no/such/file"], "--output: [Errno 2] No such file or directory"),
        ([".", "--compare", "--output", "sums"], "--output goes with one backend"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is told with the value, and the exit status is 2."""
    with pytest.raises(SystemExit) as refusal:
        main(["demo", *arguments])
    assert refusal.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` lists the commands, each with what it is for."""
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for name, (_, purpose) in COMMANDS.items():
        assert name in told
        assert purpose.split()[0] in told
