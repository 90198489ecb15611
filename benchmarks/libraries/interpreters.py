"""Pools whose workers are interpreters of one process: ours, and the standard library's. Python 3.14 has them."""

from __future__ import annotations

import sys

from benchmarks.libraries.executors import Executor
from benchmarks.libraries.ours import Workpool


class WorkpoolInterpreter(Workpool):
    """Pool with backend="interpreter"."""

    name = "workpool"
    kind = "interpreter"
    in_quick = True

    @classmethod
    def installed(cls) -> bool:
        return sys.version_info >= (3, 14)


class Interpreters(Executor):
    """concurrent.futures.InterpreterPoolExecutor; its map takes no notice of chunks."""

    name = "InterpreterPoolExecutor"
    kind = "interpreter"
    imports = "import concurrent.futures.interpreter"
    in_quick = True

    @classmethod
    def installed(cls) -> bool:
        return sys.version_info >= (3, 14)

    def load(self) -> None:
        import concurrent.futures

        self._make = getattr(concurrent.futures, "InterpreterPoolExecutor")  # noqa: B009 - of Python 3.14

    def open(self, workers: int) -> None:
        self.pool = self._make(workers)


LIBRARIES = [WorkpoolInterpreter, Interpreters]
