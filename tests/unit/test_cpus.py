"""How many workers a process pool has by default: what this process may use, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workpool.backends.process import cgroups
from workpool.backends.process.cpus import usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the affinity allow eight CPUs, whatever machine this is."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def be_in(groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be in these control groups."""
    (tmp_path / "mine").write_text(groups)
    monkeypatch.setattr(cgroups, "MINE", str(tmp_path / "mine"))


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


@pytest.mark.parametrize(
    ("quotas", "count"),
    [
        ({"a/b/c": "200000 100000", "a": "max 100000"}, 2),  # its own
        ({"a/b/c": "600000 100000", "a/b": "300000 100000", "a": "400000 100000"}, 3),
        ({"a": "400000 100000", "": "100000 100000"}, 1),
        ({"a/other": "100000 100000"}, 8),  # another's
    ],
    ids=str,
)
def test_the_smallest_quota_on_the_way_up_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quotas: dict[str, str], count: int
) -> None:
    """A quota holds for all groups below it, so those of the group that this process is in count as well."""
    be_in("0::/a/b/c\n", tmp_path, monkeypatch)
    for group, quota in quotas.items():
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        version_2(tmp_path / group, quota)
    assert usable_cpus(tmp_path) == count


def test_the_same_holds_for_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its groups have a folder for each controller, or for several together."""
    be_in("4:memory:/x\n3:cpu,cpuacct:/a/b\n0::/\n", tmp_path, monkeypatch)
    version_1(tmp_path, -1, 100_000)
    for group, quota in ("a", 300_000), ("a/b", 500_000):
        (tmp_path / "cpu" / group).mkdir()
        (tmp_path / "cpu" / group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / group / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == 3


@pytest.mark.parametrize(
    "mine", ["0::/of/the/host\n", "0::/../other\n", "nonsense\n", ""], ids=repr
)
def test_what_is_mounted_counts_where_its_own_group_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str
) -> None:
    """As in a container; and nothing outside of what is mounted is read."""
    root = tmp_path / "mounted"
    root.mkdir()
    be_in(mine, tmp_path, monkeypatch)
    version_2(root, "300000 100000")
    (tmp_path / "other").mkdir()
    version_2(tmp_path / "other", "100000 100000")
    assert usable_cpus(root) == 3


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
