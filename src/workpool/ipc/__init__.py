"""Pipes, frames, pickling, shared memory, and the worker process's main loop."""
