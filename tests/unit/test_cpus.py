"""How many workers a process pool has by default: what this process may use, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workpool.backends.process.cpus import usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the affinity allow eight CPUs, whatever machine this is."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def version_2(cgroup: Path, quota: str) -> None:
    """Write what cgroups of version 2 say."""
    (cgroup / "cpu.max").write_text(quota)


def version_1(cgroup: Path, quota: int, period: int) -> None:
    """Write what cgroups of version 1 say."""
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    """Where no cgroup says anything, each CPU of the affinity counts."""
    assert usable_cpus(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # one and a half CPUs keep two workers busy
        ("5000 100000\n", 1),
        ("1600000 100000\n", 8),  # more than there are
    ],
)
def test_a_quota_of_version_2_caps(tmp_path: Path, quota: str, count: int) -> None:
    """A container with a quota gets as many workers as it can run at once, one at least."""
    version_2(tmp_path, quota)
    assert usable_cpus(tmp_path) == count


@pytest.mark.parametrize(("quota", "count"), [(-1, 8), (300_000, 3), (20_000, 1)])
def test_a_quota_of_version_1_caps(tmp_path: Path, quota: int, count: int) -> None:
    """The same holds for the older kind of cgroups; -1 is no quota."""
    version_1(tmp_path, quota, 100_000)
    assert usable_cpus(tmp_path) == count


@pytest.mark.parametrize("nonsense", ["", "two 100000", "100000 0", "100000"])
def test_what_cannot_be_read_is_no_quota(tmp_path: Path, nonsense: str) -> None:
    """A file of another form than known caps nothing."""
    version_2(tmp_path, nonsense)
    assert usable_cpus(tmp_path) == 8


def test_where_there_is_no_affinity_all_cpus_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems that tell no affinity tell how many CPUs there are; or nothing, which counts as one."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path) == 1
