"""What to do about it: one sentence each, only where there is something to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workpool.commands.doctor.trial import Trial

__all__ = ["SHM", "advise", "size"]

SHM = "/dev/shm"  # noqa: S108 - named, not used

FEW_FILES = 1024  # descriptors; a worker process takes a handful, and programs open files too
LITTLE_SHARED = 256 << 20  # bytes; containers are given 64 MB unless told otherwise
LITTLE_MEMORY = 512 << 20  # bytes for each worker


def advise(facts: dict[str, Any], trials: list[Trial]) -> list[str]:
    """Say what to do.

    Parameters
    ----------
    facts : dict
        What there is.
    trials : list of Trial
        How the backends did.

    Returns
    -------
    list of str
        Sentences, what is broken first.
    """
    return [*_about_trials(trials), *_about_python(facts), *_about_system(facts)]


def _about_trials(trials: list[Trial]) -> Iterator[str]:
    for trial in trials:
        if trial.broken:
            why = trial.why.removesuffix(".")
            yield (
                f'backend="{trial.backend}" is there and does not work: {why}. Run with --json for its traceback; '
                "until it is mended, use another backend."
            )


def _about_python(facts: dict[str, Any]) -> Iterator[str]:
    python, cpus = facts["python"], facts["cpus"]
    if python["free_threaded_build"] and python["gil"]:
        yield (
            "This Python could run threads side by side, and its GIL is on: a package that was imported wants it, "
            "or PYTHON_GIL is set. Look for the warning at its import."
        )
    elif python["gil"] and cpus["usable"] > 1:
        yield (
            "Python code runs in one thread at a time here (the GIL): threads are for what waits or computes in C, "
            'backend="process" for Python code on all CPUs.'
        )
    for name, threads in facts["blas_threads"].items():
        if threads.isdecimal() and int(threads) > 1:
            yield (
                f"{name}={threads} is set, and so holds in each worker process: {cpus['usable']} of them start up to "
                f"{cpus['usable'] * int(threads)} threads. Unset it, and each gets its share of the CPUs."
            )


def _about_system(facts: dict[str, Any]) -> Iterator[str]:
    cpus, limits = facts["cpus"], facts["limits"]
    quota = cpus["quota"]
    if quota is not None and quota < (cpus["affinity"] or cpus["machine"] or 1):
        yield (
            f"The control group allows {quota:g} CPUs of time: more busy workers than that are halted now and then. "
            f"max_workers=None makes {cpus['usable']}."
        )
    files = limits.get("NOFILE")
    if files is not None and files < FEW_FILES:
        yield f"Only {files:,} files may be open at a time: raise it with `ulimit -n 4096` if you want many workers."
    if limits.get("NPROC") is not None and limits["NPROC"] < 64 + 4 * cpus["usable"]:
        yield f"Only {limits['NPROC']:,} processes and threads are allowed: raise it with `ulimit -u`."
    if limits.get("AS") is not None:
        yield (
            f"The address space is limited to {size(limits['AS'])}: threads and shared memory take address space "
            "that they never fill. Lift it with `ulimit -v unlimited`, and limit memory by a control group."
        )
    shared = facts["shared_memory"]
    if shared is not None and shared["free"] < LITTLE_SHARED:
        yield (
            f"{SHM} has {size(shared['free'])} free of {size(shared['size'])}. Memory that workpool shares is not in "
            "there, but that of multiprocessing.shared_memory and of others is. A container gets more by --shm-size=1g."
        )
    limit = facts["memory"]["limit"]
    if limit is not None and limit < LITTLE_MEMORY * cpus["usable"]:
        yield (
            f"The control group allows {size(limit)} of memory, {size(limit / cpus['usable'])} for each worker: "
            "one that takes more is killed (WorkerLost). Use fewer workers, or smaller tasks."
        )


def size(count: float) -> str:
    """Write a number of bytes with a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
