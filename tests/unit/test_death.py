"""What a lost worker died of, in words."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from workpool.backends.process import cgroups
from workpool.backends.process.death import cause_of_death, out_of_memory_kills


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file in which the kernel counts, of a cgroup whose memory the test can let run out."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    monkeypatch.setattr(cgroups, "MINE", str(tmp_path / "none"))
    return tmp_path / "memory.events"


def count(events: Path, kills: int) -> None:
    """Let the kernel have ended so many processes."""
    events.write_text(f"low 0\nhigh 0\nmax 12\noom 3\noom_kill {kills}\noom_group_kill 0\n")


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-signal.SIGSEGV, "SIGSEGV (exit code -11)"),
        (-signal.SIGKILL, "SIGKILL (exit code -9)"),
        (-200, "signal 200 (exit code -200)"),
        (None, "an unknown cause (its keeper died too)"),
    ],
)
def test_exit_codes_and_signals_are_named(events: Path, exitcode: int | None, words: str) -> None:
    """A signal has its name, and what nobody knows is said to be unknown."""
    count(events, 0)
    assert cause_of_death(exitcode, kills_before=0) == (words, False)


def test_the_oom_killer_is_told_from_another_kill(events: Path) -> None:
    """A SIGKILL since which the kernel has counted one more is the OOM killer's; another signal is not."""
    count(events, 4)
    before = out_of_memory_kills()
    assert before == 4
    assert cause_of_death(-signal.SIGKILL, before) == ("SIGKILL (exit code -9)", False)
    count(events, 5)
    words, out_of_memory = cause_of_death(-signal.SIGKILL, before)
    assert out_of_memory
    assert "OOM killer" in words
    assert cause_of_death(-signal.SIGSEGV, before) == ("SIGSEGV (exit code -11)", False)


@pytest.mark.parametrize("content", ["", "oom_kill\n", "oom_kill many\n", "low 0\n"])
def test_where_nobody_counts_no_kill_is_the_oom_killers(events: Path, content: str) -> None:
    """A system that does not count, or says it in another way, is not guessed about."""
    events.write_text(content)
    assert out_of_memory_kills() == 0
    events.unlink()
    assert out_of_memory_kills() == 0
    assert cause_of_death(-signal.SIGKILL, kills_before=0) == ("SIGKILL (exit code -9)", False)


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/jobs/mine", "jobs/mine/memory.events"),
        ("4:cpu,memory:/jobs/mine", "memory/jobs/mine/memory.oom_control"),
        ("4:cpu,memory:/of/the/host", "memory/memory.oom_control"),
    ],
)
def test_the_count_of_its_own_cgroup_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, file: str
) -> None:
    """Version 1 and 2 keep the count in different files, each for the cgroup that a process is in."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    monkeypatch.setattr(cgroups, "MINE", str(tmp_path / "mine"))
    (tmp_path / "mine").write_text(f"9:name=systemd:/\n{line}\n")
    counter = tmp_path / file
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert out_of_memory_kills() == 7
