"""The displays of progress: what is drawn by tqdm, by rich, and in plain text."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from importlib import import_module
from typing import Any, TypeVar

import pytest

from tests.support.gates import DEADLINE, Gate, Running, in_background
from tests.support.tasks import double, fail_if_odd, holding
from tests.support.watching import Watcher
from workpool import Pool, Progress, Unsupported
from workpool.integrations import progress as home
from workpool.integrations.progress import meter as counting
from workpool.integrations.progress.above import write_above
from workpool.integrations.progress.line import Line
from workpool.integrations.progress.meter import Meter
from workpool.integrations.progress.words import clock, pace, tell

Stream = TypeVar("Stream", bound=io.StringIO)


class Terminal(io.StringIO):
    """Text that believes to be on a terminal."""

    def isatty(self) -> bool:
        return True


# Inside of the test: between its set-up and its call pytest puts a stderr of its own in place.
def shown_on(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Make a stream the program's stderr."""
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def progress(**changes: Any) -> Progress:
    facts: dict[str, Any] = {
        "name": "resize",
        "done": 1200,
        "failed": 0,
        "restored": 0,
        "total": 4800,
        "elapsed": 60.0,
        "rate": 20.0,
        "left": 180.0,
        "ended": False,
    }
    return Progress(**{**facts, **changes})


# --------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "resize: 1,200 of 4,800 (25%), 20.0/s, 3:00 left"),
        ({"failed": 3}, "resize: 1,203 of 4,800 (25%), 3 failed, 20.0/s, 3:00 left"),
        ({"total": None, "left": None}, "resize: 1,200, 20.0/s, 1:00 gone"),
        ({"rate": 0.0, "left": None}, "resize: 1,200 of 4,800 (25%), 0/s, 1:00 gone"),
        ({"restored": 9}, "resize: 1,200 of 4,800 (25%), 9 from the journal, 20.0/s, 3:00 left"),
        ({"done": 4800, "left": 0.0, "ended": True}, "resize: 4,800, 20.0/s, 1:00 gone"),
        ({"ended": True}, "resize: 1,200 of 4,800 (25%), 20.0/s, 1:00 gone"),
        (
            {"done": 0, "total": 0, "rate": 0.0, "left": 0.0},
            "resize: 0 of 0 (100%), 0/s, 0:00 left",
        ),
    ],
)
def test_a_line_tells_what_matters(changes: dict[str, Any], line: str) -> None:
    """Done, failed, how fast, and how long still, or already where that is not known."""
    assert tell(progress(**changes)) == line


def test_a_name_of_two_lines_is_shown_in_one() -> None:
    """Nothing in a name ends the line, or reaches the terminal as an order."""
    assert tell(progress(name="a\nb\x1b[2J")).startswith("a\\nb\\x1b[2J: 1,200 of ")


def test_times_and_rates_are_said_as_a_person_would() -> None:
    """Hours only where there are any; seconds an item where items are slow."""
    assert [clock(s) for s in (0.4, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]
    assert [pace(r) for r in (0, 0.25, 1, 99.5, 12345)] == [
        "0/s",
        "4.0 s each",
        "1.0/s",
        "99.5/s",
        "12,345/s",
    ]


# --------------------------------------------------------------------------- rates


def test_the_rate_is_that_of_late_and_at_the_end_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time left follows from the last half minute; what a journal restored is no work of this run."""
    now = [1000.0]
    monkeypatch.setattr(counting, "monotonic", lambda: now[0])
    watcher = Watcher()
    meter = Meter(watcher_display(watcher), name="m", total=1000)
    try:
        meter.count(100, 0, restored=100)
        rates: list[float] = []
        for second in range(1, 101):
            now[0] = 1000.0 + second
            meter.count(1 if second <= 50 else 3, 0)
            rates.append(meter.snapshot().rate)
        assert rates[:50] == pytest.approx([1.0] * 50)
        assert rates[-1] == pytest.approx(3.0)
        ahead = meter.snapshot()
        assert ahead.finished == 300
        assert ahead.left == pytest.approx(700 / 3)
        assert meter.snapshot(ended=True).rate == pytest.approx(2.0)
    finally:
        meter.end()
        meter.wait()


def watcher_display(watcher: Watcher) -> Any:
    return home._Called(watcher)


def test_counts_after_the_end_are_not_counted() -> None:
    """What still comes after a map was closed changes nothing that is shown."""
    watcher = Watcher()
    meter = Meter(watcher_display(watcher), name="m", total=None)
    meter.count(1, 1)
    meter.end()
    meter.wait()
    meter.count(5, 5)
    meter.know_total(12)
    assert (watcher.last.done, watcher.last.failed, watcher.last.total) == (1, 1, None)
    assert (meter.snapshot().done, meter.snapshot().total) == (1, None)


def test_without_a_thread_the_map_goes_on_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started there is no display, and nobody waits for one."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        meter = Meter(watcher_display(Watcher()), name="m", total=None)
    meter.count(1, 0)
    meter.end()
    told: list[str] = []
    meter.when_done(lambda: told.append("at once"))
    assert told == ["at once"]
    meter.wait()


# --------------------------------------------------------------------------- plain


def test_plain_on_a_terminal_is_a_line_written_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line lives, and the last one stays."""
    terminal = shown_on(Terminal(), monkeypatch)
    with Pool(2) as pool, Gate() as gate:
        results = pool.map(holding(gate.path, 0), range(40), progress="plain")
        gate.arrival()
        until_written(terminal, "of 40")
        gate.open()
        list(results)
    assert re.match(r"\r_hold_item: \d+ of 40 \(\d+%\), ", terminal.getvalue())
    assert re.search(r"\r_hold_item: 40, [\d.,]+/s, 0:\d\d gone\n$", terminal.getvalue())


def test_plain_in_a_log_is_a_line_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short map call leaves one line in a log, without any control character."""
    log = shown_on(io.StringIO(), monkeypatch)
    with Pool(2) as pool:
        list(pool.map(fail_if_odd, range(10), progress="plain", return_exceptions=True))
    assert re.fullmatch(r"fail_if_odd: 10, 5 failed, [\d.,]+/s, 0:00 gone\n", log.getvalue())


def test_plain_displays_share_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two map calls at once do not write over each other."""
    terminal = shown_on(Terminal(), monkeypatch)
    with Pool(2) as pool, Gate() as gate:
        one, other = (
            pool.options(name=name).map(holding(gate.path, 0), range(2), progress="plain")
            for name in ("one", "other")
        )
        gate.arrivals(2)
        until_written(terminal, "one: ", "|  other: ")
        gate.open()
        list(one)
        list(other)
    left = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert sorted(line.split(",")[0] for line in left) == ["", "one: 2", "other: 2"]


def until_written(terminal: io.StringIO, *texts: str) -> None:
    """Wait until all of it has been written."""
    written = threading.Event()
    write = terminal.write

    def look(text: str) -> int:
        count = write(text)
        if all(t in terminal.getvalue() for t in texts):
            written.set()
        return count

    terminal.write = look  # type: ignore[method-assign]  # a stand-in
    look("")
    assert written.wait(DEADLINE), terminal.getvalue()


def test_nothing_is_shown_where_there_is_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a stderr maps all the same."""
    monkeypatch.setattr("sys.stderr", None)
    with Pool(2) as pool:
        assert list(pool.map(double, range(3), progress=True)) == [0, 2, 4]


MAPS = """
from workpool import Pool
with Pool(2) as pool:
    print(list(pool.map(abs, range(3), progress={showing!r})))
"""


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("showing", ["tqdm", "rich", "plain"])
def test_a_display_that_cannot_be_drawn_ends_alone(showing: str, stream: str) -> None:
    """Also where it fails as it is opened: the map goes on."""
    if showing != "plain":
        pytest.importorskip(showing)
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no file that is full")
    command = ["sh", "-c", f'exec "$0" -c "$1" {stream}', sys.executable]
    done = subprocess.run(
        [*command, MAPS.format(showing=showing)], check=False, capture_output=True, timeout=DEADLINE
    )
    assert done.stdout.split() == [b"[0,", b"1,", b"2]"]


@pytest.mark.parametrize("showing", ["tqdm", "rich", "plain"])
def test_a_display_whose_reader_has_left_ends_alone(showing: str) -> None:
    """The map goes on, and stdout leads where it did: a display writes to stderr alone."""
    if showing != "plain":
        pytest.importorskip(showing)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-c", MAPS.format(showing=showing)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=write_end,
            timeout=DEADLINE,
        )
    finally:
        os.close(write_end)
    assert done.stdout.split() == [b"[0,", b"1,", b"2]"]


def test_a_line_that_stays_stands_above_the_living_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left on a terminal is written where the living line was, which comes back below."""
    now = [0.0]
    monkeypatch.setattr("workpool.integrations.progress.line.monotonic", lambda: now[0])
    terminal = Terminal()
    line = Line(terminal, lambda: "living")
    now[0] = 1.0
    line.look()
    line.leave("stays")
    line.look()
    assert terminal.getvalue() == "\rliving\r      \rstays\n\rliving"


# --------------------------------------------------------------------------- tqdm, rich


def test_tqdm_draws_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar counts what is finished, tells what failed, and knows the total."""
    terminal = shown_on(Terminal(), monkeypatch)
    before = set(threading.enumerate())
    with Pool(2) as pool:
        list(pool.map(fail_if_odd, range(10), progress=True, return_exceptions=True))
    assert "fail_if_odd: 100%|" in terminal.getvalue()
    assert "10/10 [" in terminal.getvalue()
    assert "failed=5]" in terminal.getvalue()
    assert set(threading.enumerate()) <= before  # tqdm's own thread, which would stay, is not there


def test_a_line_written_as_the_bar_ends_stands_above_or_below_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a bar is being closed, a line of another thread waits, and is not put behind the bar."""
    terminal = shown_on(Terminal(), monkeypatch)
    bar = import_module("workpool.integrations.progress.with_tqdm").display("m", 2)
    bar.show(progress(done=1, total=2))
    forget, writes = bar._bar._decr_instances, list[Running[None]]()

    def forget_while_another_writes(_: object, instance: Any) -> None:
        forget(instance)
        writes.append(in_background(write_above, "a line", terminal))
        writes[0].thread.join(0.2)  # long enough for it to go wrong

    monkeypatch.setattr(type(bar._bar), "_decr_instances", forget_while_another_writes)
    bar.close(progress(done=2, total=2, ended=True))
    writes[0].result()
    assert re.search(r"\] *\na line\n$", terminal.getvalue())


def test_tqdm_does_not_count_what_was_restored_in_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items from a journal move the bar, and are no work of this run."""
    terminal = shown_on(Terminal(), monkeypatch)
    bar = import_module("workpool.integrations.progress.with_tqdm").display("m", 100)
    bar.show(progress(done=60, restored=50, total=100))
    assert (bar._bar.n, bar._bar.initial) == (60, 50)
    bar.close(None)
    assert "60/100" in terminal.getvalue()


def test_rich_draws_rows_on_one_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two map calls at once have a row each; when both are done, the display is gone."""
    terminal = shown_on(Terminal(), monkeypatch)
    with Pool(2) as pool, Gate() as gate:
        one, other = (
            pool.options(name=name).map(holding(gate.path, 0), range(2), progress="rich")
            for name in ("[one]", "other")
        )
        gate.arrivals(2)
        gate.open()
        list(one)
        list(other)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"\[one\] +━+ 100% 2/2 ", text)
    assert re.search(r"other +━+ 100% 2/2 ", text)
    assert import_module("workpool.integrations.progress.with_rich")._screen is None


def test_a_display_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package, how to get it, and what there is without it."""
    monkeypatch.setattr(home, "find_spec", lambda _: None)
    with Pool(2) as pool, pytest.raises(Unsupported, match=r"rich.*workpool\[rich\].*\"plain\""):
        pool.map(double, [1], progress="rich")


@pytest.mark.parametrize(
    ("living", "installed", "chosen"),
    [(True, True, "tqdm"), (True, False, "plain"), (False, True, "plain")],
)
def test_true_chooses_what_fits(
    living: bool, installed: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar on a terminal where tqdm is there; else plain text, so that no log is full of bars."""
    monkeypatch.setattr("sys.stderr", Terminal() if living else io.StringIO())
    monkeypatch.setattr(home, "find_spec", lambda _: object() if installed else None)
    assert home._fitting() == chosen


def test_true_is_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's stderr is no terminal, and can show a bar all the same."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert home._fitting() == "tqdm"


def test_rich_tells_what_the_other_displays_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has failures, what came from the journal, and the time that is left, or else that is gone."""
    terminal = shown_on(Terminal(), monkeypatch)
    row = import_module("workpool.integrations.progress.with_rich").display("m", 4800)
    told: list[str] = []
    monkeypatch.setattr(row._screen, "update", lambda _, **fields: told.append(fields["told"]))
    row.show(progress(failed=3, restored=9))
    row.show(progress(total=None, left=None))
    monkeypatch.undo()
    shown_on(terminal, monkeypatch)
    row.close(None)
    assert told == [
        "1,203/4,800  3 failed  9 from the journal  20.0/s  3:00 left",
        "1,200  20.0/s  1:00 gone",
    ]


def test_a_line_that_stays_stands_above_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no tqdm is, what tasks print on a terminal takes the place of the living line."""
    terminal = shown_on(Terminal(), monkeypatch)
    monkeypatch.delitem(sys.modules, "workpool.integrations.progress.with_tqdm", raising=False)
    plain = import_module("workpool.integrations.progress.plain")
    now = [0.0]
    monkeypatch.setattr("workpool.integrations.progress.line.monotonic", lambda: now[0])
    shown = plain.display("m", 10)
    now[0] = 1.0
    shown.show(progress())
    write_above("a line", terminal)
    shown.close(None)
    write_above("another", terminal)
    assert re.fullmatch(r"\rresize: .* left\r +\ra line\nanother\n", terminal.getvalue())
