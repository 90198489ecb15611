"""A recording: bounded, whole, and in a form that its readers take."""

from __future__ import annotations

import gzip
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, in_background
from workpool import Pool
from workpool.observe.recording import Recording, Slice, Wait, depth
from workpool.observe.report import columns_of
from workpool.observe.trace import events_of, write_trace

STATS = Pool(1, backend="inline").stats()


def recording(slices: list[Slice], waits: list[Wait] | None = None) -> Recording:
    return Recording(
        pool="p",
        backend="thread",
        began_at=1_700_000_000.0,
        zero=100.0,
        until=200.0,
        slices=slices,
        waits=waits or [],
        happenings=[],
        left_out=0,
        stats=STATS,
    )


def one_slice(queued: float, began: float, ended: float, *, count: int = 0) -> Slice:
    return Slice(0, queued, began, ended, "f", 0, count, 0, 1, "done", "")


def test_only_the_latest_slices_are_kept(tmp_path: Path) -> None:
    """record=10 keeps ten slices, and says how many had to go."""
    with Pool(1, backend="inline", record=10) as pool:
        for n in range(25):
            pool.submit(tasks.double, n)
        pool.timeline(tmp_path / "t.json")
    trace = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    ids = [e["args"]["id"] for e in trace["traceEvents"] if e["ph"] == "X"]
    assert ids == list(range(15, 25))
    assert trace["otherData"]["left_out"] == "15"


@pytest.mark.parametrize("wrong", ["yes", 1.5, None])
def test_a_wrong_record_is_refused(wrong: Any) -> None:
    """record is yes, no or a number, and said so at the call."""
    with pytest.raises(TypeError, match="record"):
        Pool(1, record=wrong)


def test_a_negative_record_is_refused() -> None:
    """A number of slices cannot be negative."""
    with pytest.raises(ValueError, match="record"):
        Pool(1, record=-1)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    """A name that says nothing of the form is refused, before anything is written."""
    with Pool(1, backend="inline", record=True) as pool, pytest.raises(ValueError, match=r"\.html"):
        pool.timeline(tmp_path / "timeline.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_replaced_whole(tmp_path: Path) -> None:
    """A report that cannot be written leaves the one before it, and no half of the new one."""
    (tmp_path / "t.json").mkdir()  # nothing can be put in the place of a folder
    with Pool(1, backend="inline", record=True) as pool, pytest.raises(OSError, match=r"t\.json"):
        pool.timeline(tmp_path / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_threads_may_write_to_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes its own file beside it, and the last to be done stays."""
    written = threading.Barrier(3, timeout=DEADLINE)

    def write_with_others(*arguments: Any) -> None:
        write_trace(*arguments)
        written.wait()

    monkeypatch.setattr("workpool.observe.trace.write_trace", write_with_others)
    with Pool(1, backend="inline", record=True) as pool:
        writes = [in_background(pool.timeline, tmp_path / "t.json") for _ in range(3)]
        for write in writes:
            write.result()
    assert json.loads((tmp_path / "t.json").read_bytes())["otherData"]["left_out"] == "0"
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_any_name_that_a_file_can_have_will_do(tmp_path: Path) -> None:
    """Also the longest; a link is followed, not replaced; and an error names the file that was asked for."""
    longest = "x" * (255 - len(".html")) + ".html"
    (tmp_path / "link.json").symlink_to("real.json")
    with Pool(1, backend="inline", record=True) as pool:
        pool.timeline(tmp_path / longest)
        pool.timeline(tmp_path / "link.json")
        with pytest.raises(FileNotFoundError, match=r"'nowhere/t\.html'"):
            pool.timeline("nowhere/t.html")
    assert {path.name for path in tmp_path.iterdir()} == {longest, "link.json", "real.json"}
    assert (tmp_path / "link.json").is_symlink()


@pytest.mark.parametrize(
    ("name", "title"), [("\udcff", "\\udcff"), ("{{data}}", "{{data}}"), ("{{title}}", "{{title}}")]
)
def test_any_pool_has_a_report(name: str, title: str, tmp_path: Path) -> None:
    """Whatever its name is, it stands in the title."""
    with Pool(1, backend="inline", record=True, name=name) as pool:
        pool.timeline(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"<title>{title} · workpool timeline</title>" in page


def test_the_queue_rises_and_falls() -> None:
    """The depth follows what was queued, started, cancelled or still waits."""
    story = recording(
        [one_slice(101.0, 103.0, 104.0), one_slice(102.0, 105.0, 106.0, count=10)],
        [Wait(102.5, 104.0, 1), Wait(107.0, None, 2)],
    )
    assert depth(story) == [
        (101.0, 1),
        (102.0, 11),
        (102.5, 12),
        (103.0, 11),
        (104.0, 10),
        (105.0, 0),
        (107.0, 2),
    ]


def test_a_long_story_keeps_its_peaks() -> None:
    """Of too many steps the highest of each stretch stays, and the last of all."""
    slices = [one_slice(100.0 + n, 100.5 + n, 101.0 + n) for n in range(1_000)]
    slices[500:500] = [one_slice(599.9, 600.2, 600.3)] * 5
    steps = depth(recording(slices), most=100)
    assert len(steps) <= 100
    assert max(level for _, level in steps) == 6
    assert steps[-1] == (1099.5, 0)


def test_a_trace_has_what_viewers_ask_for() -> None:
    """Each event has phase, process, track and name; times are microseconds; tracks are named first."""
    story = recording([one_slice(101.0, 102.0, 102.5), one_slice(0.0, 103.0, 103.0, count=3)])
    events = list(events_of(story))
    assert all({"ph", "pid", "tid", "name"} <= set(event) for event in events)
    assert [event["name"] for event in events if event["ph"] == "M"] == [
        "process_name",
        "thread_name",
        "thread_sort_index",
    ]
    first, second = (event for event in events if event["ph"] == "X")
    assert (first["ts"], first["dur"]) == (2_000_000.0, 500_000.0)
    assert first["args"]["waited_ms"] == 1_000.0
    assert second["args"] == {"outcome": "done", "first item": 0, "items": 3, "failed": 0}
    assert all(event["ts"] >= 0 for event in events if event["ph"] in "XCi")
    assert {event["ph"] for event in events} == {"M", "X", "C"}


def test_a_compressed_trace_is_the_same(tmp_path: Path) -> None:
    """.json.gz is what .json is."""
    with Pool(1, backend="inline", record=True) as pool:
        pool.submit(tasks.double, 1)
    pool.timeline(tmp_path / "t.json")
    pool.timeline(tmp_path / "t.json.gz")
    assert json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes())) == json.loads(
        (tmp_path / "t.json").read_bytes()
    )


class Outside(HTMLParser):
    """Finds what a page would fetch, and how many scripts it has."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetches += [str(value) for name, value in attrs if name in {"src", "href"}]
        assert tag not in {"link", "img", "iframe"}


def test_a_report_needs_nothing_else_and_trusts_no_name(tmp_path: Path) -> None:
    """The page fetches nothing, and a name that looks like markup stays text."""
    evil = "</script><script>alert(1)</script><!--"
    with Pool(1, backend="inline", record=True, name=evil) as pool:
        pool.options(name=evil).submit(tasks.double, 1)
    pool.timeline(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    seen = Outside()
    seen.feed(page)
    assert (seen.fetches, seen.scripts) == ([], 2)
    assert not re.search(r"https?://", page)
    assert "{{" not in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert (data["pool"], data["names"]) == (evil, [evil])


def test_columns_are_of_one_length() -> None:
    """Each slice has one entry in each column, a wait that is not known is -1."""
    story = recording([one_slice(101.0, 102.0, 102.5), one_slice(0.0, 103.0, 103.0, count=3)])
    columns = columns_of(story)
    lengths = {
        key: len(columns[key])
        for key in ("worker", "start", "length", "wait", "name", "number", "count", "failed")
    }
    assert set(lengths.values()) == {2}
    assert columns["wait"] == [1_000_000, -1]
    assert columns["start"] == [2_000_000, 3_000_000]
