"""One worker of the interpreter backend: the process backend's driver, with an interpreter at the far end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.backends.interpreter.host import WRITTEN_OFF, InterpreterHandle, launch
from workpool.backends.process.driver import ProcessWorker

if TYPE_CHECKING:
    from workpool.ipc.launch import WorkerHandle

__all__ = ["InterpreterWorker"]


class InterpreterWorker(ProcessWorker):
    """One worker: this thread, and the interpreter it keeps alive."""

    ENDED = (
        "its interpreter cannot be ended: it is written off and replaced. "
        'Use backend="process" to end such tasks truly'
    )
    BY_FORCE = "written off"
    KIND, NEEDS = "interpreter", "threads"

    def _launch(self) -> WorkerHandle:
        backend = self._backend
        return launch(
            backend.setup,
            pool=backend.pool,
            index=self.index,
            depot=backend.depot,
            reporting=backend.asked_of_worker(),
        )

    def _cause(self, handle: WorkerHandle) -> tuple[str, bool]:
        assert isinstance(handle, InterpreterHandle)
        return handle.cause, False

    def _count_death(self, why: str) -> None:
        with self.scheduler.lock:
            if why == WRITTEN_OFF:
                self.scheduler.tally.wrote_off(self.index)
            else:
                self.scheduler.tally.died(self.index, why)
