"""``python -m workpool map``: what it reads, what it writes, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import needs_its_package
from tests.support.gates import Gate
from workpool.__main__ import main
from workpool.backends.base import BACKENDS
from workpool.commands.map.output import Output

# For a program of its own: what is tested here, and the package of the tests.
PATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
HERE = [sys.executable, "-m", "workpool", "map"]
MODULE = """
from tests.support.gates import say, stop

def upper(text):
    if text.startswith("bad"):
        raise ValueError("no\\ngood")
    return text.upper()

def price(order):
    return {"id": order["id"], "price": order.pop("price") * 2}

def collect(text):
    return {text}

def number_or_none(value):
    return None

class Tools:
    @staticmethod
    def length(text):
        return len(text)

def held(text):
    if text.startswith("/"):
        stop(text, "there")
    return text

number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module."""
    (tmp_path / "mapped_tools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mapped_tools", raising=False)
    return tmp_path


def feed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it the standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def mapped(arguments: list[str], given: bytes) -> list[Any]:
    """Give the results of a run of its own that goes well, with these bytes as its standard input."""
    environment = {**os.environ, "PYTHONPATH": PATH}
    run = subprocess.run(
        [*HERE, *arguments],
        input=given,
        capture_output=True,
        env=environment,
        timeout=50,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    return [json.loads(line) for line in run.stdout.splitlines()]


class TestHere:
    """In this process."""

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_lines_go_in_and_json_lines_come_out(
        self,
        backend: str,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Results are in order; what fails is told with position, item and error; the status is 1."""
        needs_its_package(backend)
        feed("one\nbad two\n\nthree ü", monkeypatch)
        workers = ["--backend", backend, "--workers", "2"]
        assert main(["map", "mapped_tools:upper", *workers]) == 1
        out, err = capsys.readouterr()
        assert out == '"ONE"\n""\n"THREE Ü"\n'
        assert err == "item 2 ('bad two'): ValueError: no good\n"

    def test_json_lines_go_in_too(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With --jsonl a line is a value; empty lines are skipped; one that is no JSON fails in its place."""
        feed('{"id": 1, "price": 2}\n\n{"id": 2, "price"\n{"id": 3, "price": 4}\n', monkeypatch)
        assert main(["map", "./mapped_tools.py:price", "--jsonl", "--with-input"]) == 1
        out, err = capsys.readouterr()
        assert [json.loads(line) for line in out.splitlines()] == [
            {"input": {"id": 1, "price": 2}, "result": {"id": 1, "price": 4}},
            {"input": {"id": 3, "price": 4}, "result": {"id": 3, "price": 8}},
        ]
        assert err.startswith("item 2 (")
        assert "ValueError: the line is no JSON: " in err

    def test_paths_are_items(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """With --files the items are paths."""
        (folder / "a").write_text("12345")
        assert main(["map", "os.path:getsize", "--files", "a", "gone", "a"]) == 1
        out, err = capsys.readouterr()
        assert out == "5\n5\n"
        assert err.startswith("item 2 ('gone'): FileNotFoundError: ")

    @pytest.mark.parametrize("more", [[], ["--chunksize", "1"]], ids=str)
    def test_unordered_results_and_their_errors_belong_together(
        self,
        more: list[str],
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Whatever order they come in, an error names its own item, and --with-input tells whose a result is."""
        items = [f"bad {n}" if n % 3 == 0 else f"good {n}" for n in range(60)]
        (folder / "in").write_text("\n".join(items))
        command = ["map", "mapped_tools:upper", "--unordered", "--with-input", "--input", "in"]
        assert main([*command, *more]) == 1
        out, err = capsys.readouterr()
        results = [json.loads(line) for line in out.splitlines()]
        assert sorted(line["input"] for line in results) == sorted(i for i in items if "g" in i)
        assert all(line["result"] == line["input"].upper() for line in results)
        assert sorted(err.splitlines()) == sorted(
            f"item {n + 1} ('{item}'): ValueError: no good"
            for n, item in enumerate(items)
            if item.startswith("bad")
        )

    def test_what_json_cannot_express(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A set fails its item and says the way out; with --repr it is written as text."""
        feed("a\n", monkeypatch)
        assert main(["map", "mapped_tools:collect"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "TypeError: the result cannot be written as JSON: Object of type set" in err
        assert "say --repr" in err
        feed("a\n", monkeypatch)
        assert main(["map", "mapped_tools:collect", "--repr"]) == 0
        assert capsys.readouterr() == ("\"{'a'}\"\n", "")

    def test_an_input_that_json_cannot_express_is_told_from_its_result(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Python reads NaN and numbers too large; written back with the result they fail as the input."""
        command = ["map", "./mapped_tools.py:number_or_none", "--jsonl", "--with-input"]
        feed("NaN\n1e999\n[1]", monkeypatch)
        assert main(command) == 1
        out, err = capsys.readouterr()
        assert out == '{"input": [1], "result": null}\n'
        told = "TypeError: the input cannot be written as JSON: Out of range float values"
        assert err.count(told) == 2
        feed("NaN", monkeypatch)
        assert main([*command, "--repr"]) == 0
        assert capsys.readouterr().out == '{"input": "nan", "result": null}\n'

    def test_a_name_that_is_no_text_survives(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Paths that are not UTF-8 come out as JSON escapes, in one line of ASCII."""
        assert main(["map", "os.path:basename", "--files", "x\udcff\n"]) == 0
        assert capsys.readouterr().out == '"x\\udcff\\n"\n'

    @pytest.mark.parametrize("more", [["--input", "in"], []], ids=["file", "stdin"])
    def test_lines_end_as_on_windows_too_and_may_begin_with_a_mark(
        self, more: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The ends are no part of the items, nor is a BOM in front of all; other marks and returns are."""
        given = "\ufeffa\r\nb\rc\n\r\n\ufeffd\r".encode()
        (folder / "in").write_bytes(given)
        assert mapped(["os.path:normcase", *more], given) == ["a", "b\rc", "", "\ufeffd\r"]

    def test_json_lines_may_begin_with_a_mark(self, folder: Path) -> None:
        """With --jsonl a BOM fails no item; a line with an end alone is an empty one."""
        given = '\ufeff{"id": 1, "price": 2}\r\n\r\n{"id": 2, "price": 3}\r\n'.encode()
        assert mapped(["mapped_tools:price", "--jsonl"], given) == [
            {"id": 1, "price": 4},
            {"id": 2, "price": 6},
        ]

    def test_a_mark_alone_is_no_line(self, folder: Path) -> None:
        """A file with nothing but a BOM is empty."""
        assert mapped(["mapped_tools:upper"], "\ufeff".encode()) == []

    def test_a_method_of_a_class_is_a_function_too(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The name behind the colon may be dotted; no input is no work."""
        feed("", monkeypatch)
        assert main(["map", "mapped_tools:Tools.length"]) == 0
        feed("abc\n", monkeypatch)
        assert main(["map", "mapped_tools:Tools.length", "--no-progress"]) == 0
        assert capsys.readouterr() == ("3\n", "")

    def test_retries_and_time_limits_are_kept(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A failing item is run again so often; one that takes too long fails."""
        (folder / "mapped_tools.py").write_text(
            "import itertools, threading\ncalls = itertools.count()\n"
            "def third(text):\n    if next(calls) < 2:\n        raise OSError(text)\n    return text\n"
            "def hang(text):\n    threading.Event().wait(20)\n"
        )
        assert main(["map", "mapped_tools:third", "--retries", "2", "--files", "a"]) == 0
        assert capsys.readouterr() == ('"a"\n', "")
        command = ["map", "mapped_tools:hang", "--time-limit", "0.1", "--backend", "process"]
        assert main([*command, "--files", "a"]) == 1
        assert "item 1 ('a'): TimeLimitExceeded: " in capsys.readouterr().err

    def test_progress_is_shown_when_asked_for(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--progress writes to stderr alone."""
        assert main(["map", "mapped_tools:upper", "--progress", "--files", "a", "bad"]) == 1
        out, err = capsys.readouterr()
        assert out == '"A"\n'
        assert "upper: 2, 1 failed, " in err

    def test_a_journal_goes_on(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What is kept is written again without being run; another function is refused with status 2."""
        command = ["map", "--journal", "run.sqlite", "--files", "a", "b", "--workers", "2"]
        assert main([*command, "mapped_tools:upper"]) == 0
        (folder / "mapped_tools.py").write_text("def upper(text):\n    return 1 / 0\n")
        capsys.readouterr()
        sys.modules.pop("mapped_tools")
        assert main([*command, "mapped_tools:upper"]) == 2
        assert "was begun with another code of upper" in capsys.readouterr().err
        sys.modules.pop("mapped_tools")
        assert main([*command, "--journal-version", "2", "mapped_tools:upper"]) == 0
        assert capsys.readouterr().out == '"A"\n"B"\n'

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["mapped_tools"],
                "has a colon between the two, as in os.path:getsize; got 'mapped_tools'",
            ),
            (["no_such_module:f"], "the module no_such_module cannot be imported"),
            (["mapped_tools:nope"], "mapped_tools has no nope"),
            (["mapped_tools:number"], "mapped_tools:number is no function: int cannot be called"),
            (["./nope.py:f"], "there is no file "),
            (
                ["./script.py:f"],
                "the module script cannot be imported: it ends the program (SystemExit: no settings)",
            ),
            (
                ["./lazy_tools.py:f"],
                "to look up f in ./lazy_tools.py raised ImportError: needs more",
            ),
            (["./json.py:f"], "json is the name of another module"),
            (["os:getcwd", "--input", "nope"], "--input: nope: No such file or directory"),
            (["os:getcwd", "--files", "a", "--jsonl"], "--files gives the items by itself"),
            (
                ["os:getcwd", "--workers", "0"],
                "--workers: must be a whole number, 1 or more; got '0'",
            ),
            (["os:getcwd", "--chunksize", "0"], "--chunksize: must be a whole number, 1 or more"),
            (["os:getcwd", "--files", "a", "--retries", "-1"], "retries must be 0 or more; got -1"),
            (["os:getcwd", "--files", "a", "--backend", "gpu"], "invalid choice: 'gpu'"),
            (["os:getcwd", "--journal-version", "1"], "give --journal too"),
            (["os:getcwd", "--journal", ""], "--journal: must be the path of a file; got ''"),
        ],
    )
    def test_wrong_arguments_are_refused(
        self,
        arguments: list[str],
        message: str,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """What cannot be is told with the value, and the exit status is 2."""
        (folder / "json.py").write_text("def f(text): pass\n")
        lazy = "def __getattr__(name):\n    raise ImportError('needs more')\n"
        (folder / "lazy_tools.py").write_text(lazy)
        (folder / "script.py").write_text("import sys\nsys.exit('no settings')\n")
        with pytest.raises(SystemExit) as refusal:
            main(["map", *arguments])
        assert refusal.value.code == 2
        assert message in capsys.readouterr().err


class TestThere:
    """In a process of its own."""

    @pytest.mark.parametrize("backend", ["thread", "process"])
    def test_ctrl_c_leaves_whole_lines_and_a_journal_to_go_on_with(
        self, backend: str, folder: Path
    ) -> None:
        """Ctrl-C ends it with 130 and no traceback; what was written is whole, and the run can go on."""
        command = [*HERE, "mapped_tools:held", "--backend", backend, "--workers", "2"]
        command += ["--journal", "run.sqlite", "--chunksize", "2"]
        environment = {**os.environ, "PYTHONPATH": PATH}
        with Gate() as gate:
            lines = ["a", "b", "c", "d", gate.path]
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,  # a group of its own, as on a terminal
            ) as program:
                assert program.stdin is not None
                assert program.stdout is not None
                program.stdin.write("".join(f"{line}\n" for line in lines))
                program.stdin.close()
                gate.arrival()
                written = [program.stdout.readline() for _ in range(4)]
                os.killpg(program.pid, signal.SIGINT)
                out, err = program.stdout.read(), program.stderr.read() if program.stderr else ""
                program.wait(timeout=30)
        assert (program.returncode, out, err) == (130, "", "")
        assert written == ['"a"\n', '"b"\n', '"c"\n', '"d"\n']
        again = subprocess.run(
            [*command[:-2], "--no-progress"],
            input="".join(f"{line}\n" for line in lines),  # the gate is gone: nothing waits
            capture_output=True,
            text=True,
            env=environment,
            timeout=50,
            check=False,
        )
        assert (again.returncode, again.stderr) == (0, "")
        assert [json.loads(line) for line in again.stdout.splitlines()] == lines

    def test_a_reader_that_leaves_is_no_error(self, folder: Path) -> None:
        """``| head`` ends it quietly, in the midst of an endless input."""
        with subprocess.Popen(
            [*HERE, "mapped_tools:upper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PATH},
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdin.write(b"y\n" * 20_000)
            program.stdin.flush()
            assert program.stdout.readline() == b'"Y"\n'
            program.stdout.close()
            with pytest.raises(BrokenPipeError):
                program.stdin.writelines(repeat(b"y\n" * 20_000))
            error = program.stderr.read()
            try:
                program.stdin.close()
            except BrokenPipeError:
                pass
            assert (program.wait(timeout=30), error) == (1, b"")


def test_ctrl_c_waits_for_the_line_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in the midst of which Ctrl-C comes is written to its end; a second Ctrl-C does not wait."""
    written: list[bytes] = []
    strikes = [1, 0, 2]

    def write(_: int, data: memoryview) -> int:
        for _ in range(strikes.pop(0)):
            signal.raise_signal(signal.SIGINT)
        written.append(bytes(data[:3]))
        return min(3, len(data))

    read_end, write_end = os.pipe()
    with open(read_end, "rb"), open(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with Output() as output:
            monkeypatch.setattr("workpool.commands.map.output.os.write", write)
            with pytest.raises(KeyboardInterrupt):
                output.write("abcd")
            assert written == [b"abc", b"d\n"]
            with pytest.raises(KeyboardInterrupt):
                output.write("efgh")
            assert len(written) == 2
        monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
