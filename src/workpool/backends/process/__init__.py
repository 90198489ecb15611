"""backend="process": each worker is a daemon thread here with a process of its own at the far end of pipes."""

from workpool.backends.process.backend import ProcessBackend

__all__ = ["ProcessBackend"]
