"""A pool's settings: checked by name when the pool is made, and never changed after it."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from workpool.backends.base import BACKENDS, Backend, Capabilities, find
from workpool.errors import Unsupported
from workpool.plain import plain
from workpool.scheduling.terms import (
    Terms,
    no_sooner_than_zero,
    positive_or_none,
    text_or_none,
)
from workpool.situation import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Settings"]


def _workers(name: str, number: Any) -> int | None:
    value = plain(number)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{name} is a whole number of workers, or None for a fitting one; got {value!r}"
        if isinstance(value, str) and value in BACKENDS:
            message += f". A backend is given by name: backend={value!r}"
        raise TypeError(message)
    if value <= 0:
        message = f"{name} must be greater than 0; got {value}"
        raise ValueError(message)
    return value


def _callable_or_none(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        message = f"{name} must be a callable, or None; got {value!r}"
        raise TypeError(message)
    return value


def _one_or_more(name: str, number: Any) -> int | None:
    value = plain(number)
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        message = f"{name} must be 1 or more, or None for no limit; got {value}"
        raise ValueError(message)
    return None if value is None else no_sooner_than_zero(name, value)


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        message = f"{name} is True or False; got {value!r}"
        raise TypeError(message)
    return value


def _yes_or_count(name: str, number: Any) -> bool | int:
    value = plain(number)
    if not isinstance(value, int):
        message = f"{name} is True, False, or how many slices to keep; got {value!r}"
        raise TypeError(message)
    if value < 0:
        message = f"{name} must be 1 slice or more, or False for none; got {value}"
        raise ValueError(message)
    if value > sys.maxsize:
        message = f"{name} must be at most {sys.maxsize} slices; got {value}"
        raise ValueError(message)
    return value


def _initializer(name: str, value: Any) -> Any:
    if _begun_by_none(_callable_or_none(name, value)):
        message = (
            f"{name} must be a function whose call does the work; a call of {value!r} only makes a "
            "coroutine or a generator. Give a function that runs it, with asyncio.run, say; or a worker_context"
        )
        raise TypeError(message)
    return value


def _begun_by_none(function: Any) -> bool:
    """Tell whether a call of a function only makes a coroutine or a generator."""
    kind = cast("Any", type(function))
    if kind is partial:
        return _begun_by_none(function.func)
    if kind is MethodType:
        return _begun_by_none(function.__func__)
    return kind is FunctionType and bool(function.__code__.co_flags & _BEGINS_NOTHING)


def _arguments(value: Any) -> tuple[Any, ...]:
    # A lone string would go to the initializer letter by letter.
    if not isinstance(value, (str, bytes)):
        with suppress(TypeError):
            return tuple(value)
    message = f"initargs is a tuple of arguments, ({value!r},) for one alone; got {value!r}"
    raise TypeError(message)


def _threads(name: str, number: Any) -> int | str | None:
    value = plain(number)
    if isinstance(value, str):
        if value != "auto":
            message = f'{name} is a whole number of threads, "auto" or None; got {value!r}'
            raise ValueError(message)
        return value
    return _one_or_more(name, value)


# Flags of the code of generators, coroutines and the two at once.
_BEGINS_NOTHING = 0x20 | 0x80 | 0x200

_ENGINES = {
    "address": 'Use backend="dask" or backend="ray" for a cluster.',
    "client": 'Use backend="dask" for a cluster with a client.',
    "exclusive": 'Use backend="dask" for a cluster that others may use too.',
}


class Settings:
    """What ``Pool(...)`` was given; never changed after it."""

    __slots__ = (
        "address",
        "backend",
        "blas_threads",
        "capture",
        "client",
        "end_timeout",
        "exclusive",
        "initargs",
        "initializer",
        "logs",
        "max_tasks_per_worker",
        "max_workers",
        "name",
        "queue_size",
        "record",
        "start_method",
        "start_timeout",
        "worker_context",
    )

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        backend: str = "thread",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        worker_context: Callable[[], Any] | None = None,
        queue_size: int = 0,
        max_tasks_per_worker: int | None = None,
        start_method: str | None = None,
        start_timeout: float | None = 60.0,
        end_timeout: float | None = 60.0,
        name: str | None = None,
        logs: bool = False,
        capture: bool = False,
        blas_threads: int | str | None = "auto",
        record: bool | int = False,
        address: str | None = None,
        client: Any = None,
        exclusive: bool | None = None,
    ) -> None:
        self.max_workers = _workers("max_workers", max_workers)
        self.backend: str = plain(backend)
        self.initializer: Callable[..., object] | None = _initializer("initializer", initializer)
        self.initargs = _arguments(initargs)
        self.worker_context: Callable[[], Any] | None = _callable_or_none(
            "worker_context", worker_context
        )
        self.queue_size = no_sooner_than_zero("queue_size", queue_size)
        self.max_tasks_per_worker = _one_or_more("max_tasks_per_worker", max_tasks_per_worker)
        self.start_method = text_or_none("start_method", start_method)
        self.start_timeout = positive_or_none("start_timeout", start_timeout)
        self.end_timeout = positive_or_none("end_timeout", end_timeout)
        self.name = text_or_none("name", name)
        self.logs = _yes_or_no("logs", logs)
        self.capture = _yes_or_no("capture", capture)
        self.blas_threads = _threads("blas_threads", blas_threads)
        self.record = _yes_or_count("record", record)
        # Of the engines:
        self.address = text_or_none("address", address)
        self.client = client
        self.exclusive = None if exclusive is None else _yes_or_no("exclusive", exclusive)

    def find_backend(self) -> type[Backend]:
        """Load the backend, and refuse a start method that it does not have."""
        kind = find(self.backend)
        methods = kind.capabilities.start_methods
        if self.start_method is not None and self.start_method not in methods:
            if methods:
                have = f"This system has: {', '.join(map(repr, methods))}."
            else:
                have = 'Only backend="process" starts processes.'
            message = f"start_method={self.start_method!r} is not there with backend={self.backend!r}. {have}"
            raise Unsupported(message)
        if self.reports and not kind.capabilities.reports:
            what = "logs" if self.logs else "capture"
            message = (
                f"{what}=True cannot be kept with backend={self.backend!r}: what its tasks log and print stays "
                'where they run. Use backend="process" or backend="thread".'
            )
            raise Unsupported(message)
        if isinstance(self.blas_threads, int) and kind.capabilities.name != "process":
            message = (
                f"blas_threads={self.blas_threads} cannot be kept with backend={self.backend!r}: its tasks share the "
                'libraries of this process. Use backend="process", or set OMP_NUM_THREADS for the program.'
            )
            raise Unsupported(message)
        self._check_engines(kind)
        return kind

    def _check_engines(self, kind: type[Backend]) -> None:
        """Refuse what only an engine could keep, or what it could not."""
        for setting in ("address", "client", "exclusive"):
            if getattr(self, setting) is not None and setting not in kind.capabilities.settings:
                message = f"{setting}= is nothing to backend={self.backend!r}. {_ENGINES[setting]}"
                raise Unsupported(message)
        if self.address is not None and self.client is not None:
            message = f"address={self.address!r} and client= both name a cluster. Give one of them."
            raise ValueError(message)
        if self.max_tasks_per_worker is not None and not kind.capabilities.recycles:
            message = (
                f"max_tasks_per_worker={self.max_tasks_per_worker} cannot be kept with backend={self.backend!r}: its "
                'workers are not the pool\'s to replace. Use backend="process" or "thread".'
            )
            raise Unsupported(message)

    @property
    def reports(self) -> bool:
        """Whether what tasks log or print is to be brought to the caller."""
        return self.logs or self.capture

    @property
    def setup(self) -> Setup:
        """What each worker does first and last."""
        return Setup(self.initializer, self.initargs, self.worker_context)

    def check_terms(self, terms: Terms, can: Capabilities) -> None:
        """Refuse terms that the backend cannot keep."""
        if terms.time_limit is not None and not can.time_limit:
            message = (
                f"time_limit={terms.time_limit} cannot be kept with backend={self.backend!r}: {can.no_time_limit}. "
                'Use backend="process" (the task is ended) or backend="thread".'
            )
            raise Unsupported(message)
        if terms.resources and not can.resources:
            message = (
                f"resources={dict(terms.resources)} cannot be kept with backend={self.backend!r}, which knows of none. "
                'Use backend="dask" or backend="ray".'
            )
            raise Unsupported(message)
        if not terms.grace:
            return
        if terms.time_limit is None:
            message = (
                f"grace={terms.grace} is time to end in after a time_limit; give a time_limit, too"
            )
            raise ValueError(message)
        if not can.warns_tasks:
            message = (
                f"grace={terms.grace} cannot be kept with backend={self.backend!r}: what waits there hears no "
                'exception. Use backend="process", or let the task look at workpool.current().cancelled.'
            )
            raise Unsupported(message)
