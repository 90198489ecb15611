"""backend="interpreter": each worker is a daemon thread here with an interpreter of its own beside it.

The far end of a worker's pipes is not a process but a thread of this one, which
stays inside of its interpreter (`host`). All else is the process backend's: packing,
batches, journal, limits, settling. What differs is the end of a worker that hangs: nothing
can kill it, so it is *written off* (`host`, and ``ipc/guest.py``), and what becomes of it when
the program ends is told in `strays`.
"""

from workpool.backends.interpreter.backend import InterpreterBackend

__all__ = ["InterpreterBackend"]
