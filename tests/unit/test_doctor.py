"""``python -m workpool doctor``: what it finds, what it tries, and what it advises."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workpool import Counter, Unsupported
from workpool.__main__ import main
from workpool.backends.base import BACKENDS
from workpool.commands import doctor
from workpool.commands.doctor import trial as trying
from workpool.commands.doctor.advice import advise
from workpool.commands.doctor.facts import BLAS, gather
from workpool.commands.doctor.report import lines_of
from workpool.commands.doctor.trial import Trial, try_one

FINE = [Trial(backend="thread", tried=True, start=0.001, round_trip=0.00002)]


@pytest.fixture
def facts() -> dict[str, Any]:
    """Give the facts of a machine that wants no advice."""
    return {
        "workpool": "1.2",
        "python": {
            "version": "3.13.0",
            "implementation": "CPython",
            "executable": "/usr/bin/python",
            "free_threaded_build": False,
            "gil": True,
        },
        "system": {"name": "Linux", "release": "6.1", "machine": "x86_64"},
        "cpus": {"machine": 1, "affinity": 1, "quota": None, "usable": 1},
        "start_methods": {"there": ["forkserver", "spawn", "fork"], "default": "forkserver"},
        "blas_threads": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": ""},
        "shared_memory": {"size": 8 << 30, "free": 8 << 30},
        "memory": {"available": 8 << 30, "limit": None, "used": None},
        "limits": {"NOFILE": 65_536, "NPROC": None, "AS": None},
        "packages": {"numpy": "2.0", "tqdm": None},
    }


# --------------------------------------------------------------------------- the command


def test_all_backends_of_this_machine_work(capsys: pytest.CaptureFixture[str]) -> None:
    """Each backend of the table has its line; nothing is broken here, and the status is 0."""
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for name in ("thread", "process", "inline"):
        line = next(line for line in page.splitlines() if line.startswith(f"{name} "))
        assert "works: first result after" in line
    assert {name for name in BACKENDS if f"\n{name} " in page} == set(BACKENDS)
    assert "All that was tried works." in page
    assert max(map(len, page.splitlines())) <= 100


def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON holds facts, trials and advice, for programs to read."""
    assert main(["doctor", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["broken"] is False
    assert whole["cpus"]["usable"] >= 1
    assert whole["start_methods"]["default"] in whole["start_methods"]["there"]
    assert set(whole["backends"]) == set(BACKENDS)
    process = whole["backends"]["process"]
    assert process["tried"]
    assert 0 < process["round_trip"] < process["start"]
    assert isinstance(whole["advice"], list)


def test_what_is_broken_is_told_and_the_status_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backend that is there and fails is named with the reason, first of all advice."""

    def break_it(name: str) -> Trial:
        if name == "process":
            raise OSError(28, "No space left on device")
        return Trial(backend=name, tried=True, start=0.1, round_trip=0.1)

    monkeypatch.setattr(trying, "_run", break_it)
    assert main(["doctor"]) == 1
    page = capsys.readouterr().out
    assert "process        BROKEN: OSError: [Errno 28] No space left on device" in page
    told = page[page.index("Something is broken:") :].splitlines()
    assert told[1].startswith('- backend="process" is there and does not work: OSError')
    assert main(["doctor", "--json"]) == 1
    whole = json.loads(capsys.readouterr().out)
    assert "OSError" in whole["backends"]["process"]["trace"]


def test_what_is_missing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose package is not there, or that this system cannot have, says why; nothing is broken."""

    def missing(_: str) -> Any:
        raise ImportError("no package of that name")

    def unsupported(_: str) -> Any:
        raise Unsupported("not on this system")

    monkeypatch.setattr(trying, "_run", unsupported)
    assert try_one("process") == Trial(backend="process", why="Unsupported: not on this system")
    monkeypatch.setattr(trying, "find", missing)
    assert try_one("thread") == Trial(backend="thread", why="ImportError: no package of that name")


def test_a_backend_that_starts_a_cluster_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the machine starts no cluster."""
    monkeypatch.setattr(trying, "find_spec", lambda _: object())
    for engine in ("dask", "ray"):
        told = "it is there, but a try would start a cluster"
        assert try_one(engine) == Trial(backend=engine, why=told)


def test_an_engine_that_is_not_installed_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which package is missing, and how to get it."""
    monkeypatch.setattr(trying, "find_spec", {"ray": object()}.get)
    told = 'it needs the package distributed: pip install "workpool[dask]"'
    assert try_one("dask") == Trial(backend="dask", why=told)
    assert "it is there" in try_one("ray").why


# --------------------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("files", "limit", "quota"),
    [
        ({"memory.max": "max", "memory.current": "5", "cpu.max": "max 100000"}, None, None),
        (
            {"memory.max": "1048576", "memory.current": "5", "cpu.max": "150000 100000"},
            1 << 20,
            1.5,
        ),
        ({"memory/memory.limit_in_bytes": "1048576"}, 1 << 20, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        ({}, None, None),
    ],
    ids=str,
)
def test_limits_of_the_control_group_are_read(
    files: dict[str, str], limit: int | None, quota: float | None, tmp_path: Path
) -> None:
    """Both versions of control groups are understood, with and without limits."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    found = gather(tmp_path, str(tmp_path / "nowhere"))
    assert (found["memory"]["limit"], found["cpus"]["quota"]) == (limit, quota)
    assert found["shared_memory"] is None


def test_the_smallest_limit_of_memory_on_the_way_up_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with what is used in the group that it belongs to."""
    (tmp_path / "mine").write_text("0::/a/b\n")
    monkeypatch.setattr("workpool.backends.process.cgroups.MINE", str(tmp_path / "mine"))
    for group, limit, used in ("a/b", "max", 3), ("a", 1 << 20, 5), ("", 1 << 30, 7):
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "memory.max").write_text(f"{limit}\n")
        (tmp_path / group / "memory.current").write_text(f"{used}\n")
    memory = gather(tmp_path, str(tmp_path / "nowhere"))["memory"]
    assert (memory["limit"], memory["used"]) == (1 << 20, 5)


def test_facts_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs by affinity, capped threads of BLAS, limits, and versions of what is installed."""
    for name in BLAS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    found = gather()
    assert found["blas_threads"] == {"OPENBLAS_NUM_THREADS": "3"}
    if hasattr(os, "sched_getaffinity"):
        assert found["cpus"]["affinity"] == len(os.sched_getaffinity(0))
    assert found["limits"]["NOFILE"] is None or found["limits"]["NOFILE"] > 0
    assert found["packages"]["tqdm"] is not None
    json.dumps(found)


# --------------------------------------------------------------------------- advice


def change(facts: dict[str, Any], path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        facts = facts[group]
    facts[name] = value


def test_a_machine_without_limits_wants_no_advice(facts: dict[str, Any]) -> None:
    """Nothing is said where there is nothing to do."""
    assert advise(facts, FINE) == []
    assert "All that was tried works." in list(lines_of(facts, FINE, []))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cpus.usable": 4}, 'backend="process" for Python code on all CPUs'),
        ({"python.free_threaded_build": True}, "could run threads side by side, and its GIL is on"),
        ({"blas_threads": {"OMP_NUM_THREADS": "8"}}, "OMP_NUM_THREADS=8 is set, and so holds"),
        ({"cpus.quota": 0.5}, "allows 0.5 CPUs of time"),
        ({"limits.NOFILE": 256}, "Only 256 files may be open"),
        ({"limits.NPROC": 20}, "Only 20 processes and threads are allowed"),
        ({"limits.AS": 4 << 30}, "The address space is limited to 4 GB"),
        ({"shared_memory": {"size": 64 << 20, "free": 60 << 20}}, "has 60 MB free of 64 MB"),
        ({"memory.limit": 256 << 20}, "allows 256 MB of memory, 256 MB for each worker"),
    ],
    ids=str,
)
def test_each_limit_has_its_sentence(
    changes: dict[str, Any], says: str, facts: dict[str, Any]
) -> None:
    """One sentence, which names the value and the way out."""
    for path, value in changes.items():
        change(facts, path, value)
    (sentence,) = advise(facts, FINE)
    assert says in sentence


def test_a_reason_that_is_a_sentence_ends_once(facts: dict[str, Any]) -> None:
    """Messages of workpool end with a full stop; those of others need not."""
    for why in ("OSError: no", "Unsupported: no."):
        (told,) = advise(facts, [Trial(backend="process", broken=True, why=why)])
        assert f"{why.rstrip('.')}. Run with --json" in told


def test_a_page_can_be_written_of_a_system_that_tells_nothing(facts: dict[str, Any]) -> None:
    """Where a fact is not told, the page says so instead of failing."""
    unknown: dict[str, Any] = {
        "cpus.affinity": None,
        "shared_memory": None,
        "memory.available": None,
        "limits": {},
        "blas_threads": {},
        "start_methods": {"there": [], "default": "spawn"},
        "packages": {"tqdm": None},
        "python.free_threaded_build": True,
        "python.gil": False,
    }
    for path, value in unknown.items():
        change(facts, path, value)
    page = "\n".join(lines_of(facts, [Trial(backend="process", why="Unsupported: no")], []))
    for says in (
        "free-threaded, without the GIL",
        "none: this system has no processes for a pool",
        "no limit by a control group",
        "not told by this system",
        "none of those that are optional",
        "not tried: Unsupported: no",
    ):
        assert says in page


def test_the_command_takes_its_parts_from_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], facts: dict[str, Any]
) -> None:
    """Advice of the page is that of the facts and trials it shows."""
    gathered: Callable[[], dict[str, Any]] = lambda: facts  # noqa: E731 - a stand-in
    monkeypatch.setattr(doctor, "gather", gathered)
    monkeypatch.setattr(doctor, "try_all", lambda: FINE)
    change(facts, "limits.NOFILE", 100)
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    assert "All that was tried works. Good to know:\n- Only 100 files may be open" in page


def test_amounts_have_units_that_fit(facts: dict[str, Any]) -> None:
    """From bytes to terabytes, and from microseconds to seconds."""
    changes: dict[str, Any] = {
        "memory": {"available": 3 << 40, "limit": 3 << 20, "used": 1 << 20},
        "limits": {"NOFILE": 1024, "NPROC": None, "AS": 1 << 35},
    }
    for path, value in changes.items():
        change(facts, path, value)
    slow = Trial(backend="process", tried=True, start=2.5, round_trip=0.015)
    page = "\n".join(lines_of(facts, [slow, *FINE], []))
    for says in (
        "3.0 TB available, 3 MB by a control group, 1 MB of it used",
        "open files: 1,024; processes and threads: no limit; address space: 32 GB",
        "first result after 2.5 s, then 15 ms there and back",
        "first result after 1000 us, then 20 us there and back",
    ):
        assert says in page, page
    change(facts, "memory.used", None)
    assert "3 MB by a control group\n" in "\n".join(lines_of(facts, [], [])) + "\n"


def test_a_counter_that_loses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared state that does not add up is a broken backend, and its pool is gone."""

    def add_less(counter: Counter, n: int) -> None:
        counter.add(n - 1)

    monkeypatch.setattr(trying, "_add", add_less)
    trial = try_one("thread")
    assert trial.broken
    assert "a shared counter has 35 where 45 were added" in trial.why


def test_a_system_without_limits_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such module as resource, nothing is made up."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert gather()["limits"] == {}
