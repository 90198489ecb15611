"""The process that has an engine on this machine: how it is started, and how it ends; without an engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import local_engine
from tests.support.gates import DEADLINE, Gate
from tests.support.programs import Watched
from workpool.backends.engine import local
from workpool.backends.engine.local import LocalEngine, tell_address

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")

BYSTANDER = "planted_in_the_folder"


def started(task: str = "look", argument: str = BYSTANDER) -> LocalEngine:
    return LocalEngine("an engine", local_engine.__name__, task, argument)


@contextmanager
def outlived() -> Generator[None]:
    """Have a forked child of this program that stays until the end of the block."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    try:
        yield
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_an_engine_ends_in_order_beside_a_forked_child() -> None:
    """Whatever the child has inherited: the engine is told of the end, and is not killed."""
    engine = started()
    with outlived():
        engine.close()
        assert engine.exit_code == 0


def test_an_engine_ends_with_a_program_whose_forked_child_lives_on() -> None:
    """The end of the program is the end of the pipe: the child holds no end of it."""
    engine = started()
    seen = Watched("engine", engine.pid)
    with outlived():
        stdin = engine._process.stdin
        assert stdin is not None
        stdin.close()
        assert seen.gone(DEADLINE)
    engine.close()
    assert engine.exit_code == 0


def test_an_engine_is_told_to_end_also_where_its_pipe_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a child that was forked past Python, which runs nothing of ours."""
    engine = started()
    monkeypatch.setattr(local, "_engines", set[LocalEngine]())
    with outlived():
        engine.close()
        assert engine.exit_code == 0


def test_an_engine_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the program does: what it can import, its workers can."""
    (tmp_path / f"{BYSTANDER}.py").touch()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    engine = started()
    engine.close()
    assert engine.address.split()[0] == "False"
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    engine = started()
    engine.close()
    assert engine.address.split()[0] == "True"


def test_an_engine_starts_whatever_the_program_imports_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Path objects among it, over which Python passes here as well."""
    monkeypatch.setattr(sys, "path", [Path("/nowhere"), *sys.path])
    engine = started()
    engine.close()
    assert engine.exit_code == 0


def test_a_start_that_is_interrupted_is_over_at_once() -> None:
    """The engine is killed wherever it is, for it may not read for long; and nothing is left on the disk."""
    with Gate() as gate:
        arrived: list[str] = []

        def interrupt() -> None:
            arrived.append(gate.arrival(DEADLINE))
            os.kill(os.getpid(), signal.SIGINT)

        watching = threading.Thread(target=interrupt)
        watching.start()
        with pytest.raises(KeyboardInterrupt):
            started("stop", gate.path)
        watching.join(DEADLINE)
        pid, folder = arrived[0].split()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
        assert not os.path.exists(folder)


def test_nothing_is_left_of_an_engine_that_somebody_has_killed() -> None:
    """What it had on the disk is taken away when the pool ends."""
    engine = started()
    folder = engine.address.split()[1]
    os.kill(engine.pid, signal.SIGKILL)
    engine.close()
    assert engine.exit_code == -signal.SIGKILL
    assert not os.path.exists(folder)


def test_an_address_that_nobody_waits_for_is_no_error() -> None:
    """The program has ended meanwhile; that is told by the standard input."""
    hear, tell = os.pipe()
    os.close(hear)
    tell_address(tell, "nowhere")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(tell)
