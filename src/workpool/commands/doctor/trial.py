"""A small real run on each backend: does it start, how long does a task take, is nothing lost."""

from __future__ import annotations

import traceback
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import attrs

from workpool.backends.base import BACKENDS, find
from workpool.commands.streams import in_a_line
from workpool.errors import Unsupported
from workpool.pool import Pool

if TYPE_CHECKING:
    from workpool.backends.base import BackendName
    from workpool.shared import Counter

__all__ = ["Trial", "try_all", "try_one"]

PATIENCE = 30.0  # seconds for a task that does next to nothing
ROUNDS = 20
# Those that need a cluster, which is not started for a look, and their packages.
ENGINES = {"dask": "distributed", "ray": "ray"}


@attrs.frozen(kw_only=True)
class Trial:
    """How a backend did."""

    backend: str
    broken: bool = False
    tried: bool = False
    why: str = ""  # why it is not usable, or was not tried
    start: float | None = None  # seconds from nothing to the first result
    round_trip: float | None = None  # seconds, of a task that does nothing
    trace: str = ""

    def as_facts(self) -> dict[str, Any]:
        """Give it in a form fit for JSON."""
        return attrs.asdict(self)


def try_all() -> list[Trial]:
    """Try each backend there is.

    Returns
    -------
    list of Trial
        One each, in the order of the table of backends.
    """
    return [try_one(name) for name in BACKENDS]


def try_one(name: str) -> Trial:
    """Try a backend.

    Parameters
    ----------
    name : str
        Which.

    Returns
    -------
    Trial
        How it did. What is missing is no fault; what is there and fails, is.
    """
    try:
        find(name)
    except (ImportError, Unsupported) as error:
        return Trial(backend=name, why=in_a_line(error))
    package = ENGINES.get(name)
    if package is not None:
        if find_spec(package) is None:
            why = f'it needs the package {package}: pip install "workpool[{name}]"'
        else:
            why = "it is there, but a try would start a cluster"
        return Trial(backend=name, why=why)
    try:
        return _run(name)
    except Unsupported as error:
        return Trial(backend=name, why=in_a_line(error))
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        return Trial(backend=name, tried=True, broken=True, why=in_a_line(error), trace=trace)


def _run(name: str) -> Trial:
    began = perf_counter()
    pool = Pool(1, backend=cast("BackendName", name), name="doctor", start_timeout=PATIENCE)
    try:
        pool.submit(int).result(timeout=PATIENCE)
        start = perf_counter() - began
        rounds: list[float] = []
        for _ in range(ROUNDS):
            began = perf_counter()
            pool.submit(int).result(timeout=PATIENCE)
            rounds.append(perf_counter() - began)
        counter = pool.counter()
        pool.starmap(_add, [(counter, n) for n in range(10)])
        pool.join(timeout=PATIENCE)
        if counter.value != sum(range(10)):
            message = f"a shared counter has {counter.value} where {sum(range(10))} were added"
            raise RuntimeError(message)
    except BaseException:
        pool.kill()
        raise
    pool.shutdown()
    return Trial(backend=name, tried=True, start=start, round_trip=median(rounds))


def _add(counter: Counter, n: int) -> None:
    counter.add(n)
