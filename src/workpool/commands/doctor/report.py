"""The facts, as a page to read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workpool.commands.doctor.advice import SHM, size

if TYPE_CHECKING:
    from workpool.commands.doctor.trial import Trial

__all__ = ["lines_of"]

LABEL = 15  # width of what stands in front
WIDTH = 100


def lines_of(facts: dict[str, Any], trials: list[Trial], advice: list[str]) -> Iterator[str]:
    """Write the page.

    Parameters
    ----------
    facts : dict
        What there is.
    trials : list of Trial
        How the backends did.
    advice : list of str
        What to do about it.

    Yields
    ------
    str
        A line.
    """
    python, system = facts["python"], facts["system"]
    yield f"workpool {facts['workpool']}"
    yield ""
    yield from _row("Python", f"{python['implementation']} {python['version']}, {_gil(python)}")
    yield from _row("", python["executable"])
    yield from _row("system", f"{system['name']} {system['release']} on {system['machine']}")
    yield from _row("CPUs", _cpus(facts["cpus"]))
    yield from _row("start methods", _start_methods(facts["start_methods"]))
    yield from _row("BLAS threads", _blas(facts["blas_threads"]))
    yield from _row("memory", _memory(facts["memory"]))
    shared = facts["shared_memory"]
    told = f"{size(shared['free'])} free of {size(shared['size'])}" if shared else "not there"
    yield from _row(SHM, told)
    yield from _row("limits", _limits(facts["limits"]))
    there = [f"{name} {version}" for name, version in facts["packages"].items() if version]
    missing = [name for name, version in facts["packages"].items() if not version]
    yield from _row("packages", ", ".join(there) or "none of those that are optional")
    if missing:
        yield from _row("", f"not there, and not needed: {', '.join(missing)}")
    yield ""
    for trial in trials:
        yield from _row(trial.backend, _trial(trial))
    yield ""
    if any(trial.broken for trial in trials):
        yield "Something is broken:"
    elif advice:
        yield "All that was tried works. Good to know:"
    else:
        yield "All that was tried works."
    for sentence in advice:
        yield from textwrap.wrap(
            sentence, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )


def _row(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=" " * LABEL,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _gil(python: dict[str, Any]) -> str:
    if not python["free_threaded_build"]:
        return "with the GIL"
    return (
        "free-threaded, but with its GIL on" if python["gil"] else "free-threaded, without the GIL"
    )


def _cpus(cpus: dict[str, Any]) -> str:
    quota = "no quota" if cpus["quota"] is None else f"a quota of {cpus['quota']:g}"
    affinity = "" if cpus["affinity"] is None else f"{cpus['affinity']} by affinity, "
    return f"{cpus['usable']} usable: {cpus['machine']} in the machine, {affinity}{quota}"


def _start_methods(methods: dict[str, Any]) -> str:
    if not methods["there"]:
        return "none: this system has no processes for a pool"
    default = methods["default"]
    why = {
        "forkserver": "forks a small process without threads, which is quick and safe",
        "spawn": "starts each from nothing, for there is no forkserver here",
        "fork": "forks this very process",
    }[default]
    others = [method for method in methods["there"] if method != default]
    return f"{default} by default ({why}); also {', '.join(others)}"


def _blas(variables: dict[str, str]) -> str:
    if not variables:
        return "not set, so worker processes get their share of the CPUs each"
    return f"set for all: {', '.join(f'{name}={value}' for name, value in variables.items())}"


def _memory(memory: dict[str, Any]) -> str:
    parts: list[str] = []
    if memory["available"] is not None:
        parts.append(f"{size(memory['available'])} available")
    if memory["limit"] is None:
        parts.append("no limit by a control group")
    else:
        used = "" if memory["used"] is None else f", {size(memory['used'])} of it used"
        parts.append(f"{size(memory['limit'])} by a control group{used}")
    return ", ".join(parts)


def _limits(limits: dict[str, int | None]) -> str:
    names = {"NOFILE": "open files", "NPROC": "processes and threads", "AS": "address space"}
    parts: list[str] = []
    for name, limit in limits.items():
        shown = "no limit" if limit is None else size(limit) if name == "AS" else f"{limit:,}"
        parts.append(f"{names[name]}: {shown}")
    return "; ".join(parts) or "not told by this system"


def _trial(trial: Trial) -> str:
    if trial.broken:
        return f"BROKEN: {trial.why}"
    if trial.start is None or trial.round_trip is None:
        return f"not tried: {trial.why}"
    return f"works: first result after {_time(trial.start)}, then {_time(trial.round_trip)} there and back"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.0f} us"
