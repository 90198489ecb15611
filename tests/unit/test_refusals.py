"""Wrong settings and terms are refused at the call: by name, with the value, and nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from workpool import Array, Pool, Shared, UnknownBackend, Unsupported


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool that runs in this thread."""
    with Pool(backend="inline") as pool:
        yield pool


WRONG_ANYWHERE: list[tuple[str, object, type[Exception]]] = [
    ("time_limit", 0, ValueError),
    ("time_limit", -1.0, ValueError),
    ("time_limit", float("nan"), ValueError),
    ("time_limit", "5", TypeError),
    ("time_limit", True, TypeError),
    ("retries", -1, ValueError),
    ("retries", 1.5, TypeError),
    ("retries", True, TypeError),
    ("retry_on", "OSError", TypeError),
    ("retry_on", [OSError], TypeError),
    ("retry_on", (OSError, 3), TypeError),
    ("retry_on", OSError(), TypeError),
    ("backoff", -0.1, ValueError),
    ("backoff", float("nan"), ValueError),
    ("backoff", "1", TypeError),
    ("priority", 1.0, TypeError),
    ("priority", "high", TypeError),
    ("name", 3, TypeError),
]
WRONG_TERMS: list[tuple[str, object, type[Exception]]] = [
    ("queue_timeout", -1, ValueError),
    ("queue_timeout", "1", TypeError),
]
WRONG_SETTINGS: list[tuple[str, object, type[Exception]]] = [
    ("max_workers", 0, ValueError),
    ("max_workers", -3, ValueError),
    ("max_workers", 2.0, TypeError),
    ("max_workers", "4", TypeError),
    ("max_workers", True, TypeError),
    ("initializer", 3, TypeError),
    ("initargs", 3, TypeError),
    ("initargs", "word", TypeError),
    ("initargs", b"bytes", TypeError),
    ("worker_context", "connection", TypeError),
    ("queue_size", -1, ValueError),
    ("queue_size", None, TypeError),
    ("backoff", None, TypeError),  # to options it says: as it is
    ("queue_size", 1.5, TypeError),
    ("exclusive", "yes", TypeError),
    ("exclusive", 1, TypeError),
    ("max_tasks_per_worker", 0, ValueError),
    ("max_tasks_per_worker", -1, ValueError),
    ("max_tasks_per_worker", 1.5, TypeError),
    ("start_method", 3, TypeError),
    ("start_timeout", 0, ValueError),
    ("start_timeout", "60", TypeError),
    ("end_timeout", 0, ValueError),
    ("end_timeout", "60", TypeError),
    ("record", -1, ValueError),
    ("record", "all", TypeError),
    ("record", 10**30, ValueError),
]


def refused(call: Callable[..., object], name: str, value: object, error: type[Exception]) -> None:
    """See that a call says no to a keyword, and why."""
    with pytest.raises(error) as caught:
        call(**{name: value})
    message = str(caught.value)
    assert name in message
    assert repr(value) in message


@pytest.mark.parametrize(("name", "value", "error"), [*WRONG_ANYWHERE, *WRONG_SETTINGS])
def test_a_wrong_setting_makes_no_pool(name: str, value: object, error: type[Exception]) -> None:
    """The setting is named, with what was given, before anything is started."""
    refused(Pool, name, value, error)


@pytest.mark.parametrize(("name", "value", "error"), [*WRONG_ANYWHERE, *WRONG_TERMS])
def test_a_wrong_term_makes_no_view(
    pool: Pool, name: str, value: object, error: type[Exception]
) -> None:
    """The term is named, with what was given; the pool goes on."""
    refused(pool.options, name, value, error)
    assert pool.submit(abs, -1).result(timeout=0) == 1


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("proces", "process"),
        ("threads", "thread"),
        ("in-line", "inline"),
        ("quantum", None),
        (None, None),
        (["thread"], "thread"),
    ],
)
def test_an_unknown_backend_is_refused_with_the_nearest(name: Any, near: str | None) -> None:
    """A slip of the keyboard is answered by the name that was meant, anything by the names there are."""
    with pytest.raises(UnknownBackend, match="There are: ") as caught:
        Pool(backend=name)
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert repr(name) in message
    assert ("Did you mean" in message) == (near is not None)
    if near is not None:
        assert f"Did you mean {near!r}?" in message


def test_a_start_method_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with those that there are, and with the backend that has any."""
    method: Any = "vfork"
    with pytest.raises(Unsupported, match=r"'vfork'.*'forkserver', 'spawn', 'fork'"):
        Pool(backend="process", start_method=method)
    with pytest.raises(Unsupported, match=r"'spawn'.*backend='thread'.*Only backend=\"process\""):
        Pool(backend="thread", start_method="spawn")


def test_a_backend_in_the_place_of_the_workers(pool: Pool) -> None:
    """It is refused with the keyword that it goes by; other values are not taken for backends."""
    call: Any = Pool
    with pytest.raises(TypeError, match=r"got 'process'\. .*: backend='process'$"):
        call("process")
    for other in ("four", [4]):
        with pytest.raises(TypeError, match="whole number of workers") as caught:
            call(other)
        assert "backend" not in str(caught.value)


def test_errors_to_retry_on_are_shown_as_they_were_given(pool: Pool) -> None:
    """And not as the tuple that was made of them."""
    kind: Any = "OSError"
    with pytest.raises(TypeError, match=r"tuple of them; got 'OSError'$"):
        pool.options(retry_on=kind)


def test_a_limit_that_cannot_be_kept(pool: Pool) -> None:
    """Where tasks run in the caller's own thread a time limit is refused, with backends that keep one."""
    for call in (Pool, pool.options):
        how: dict[str, Any] = {"backend": "inline"} if call is Pool else {}
        with pytest.raises(Unsupported, match=r'time_limit=2\.5.*backend="process"'):
            call(time_limit=2.5, **how)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("chunksize", 0, ValueError),
        ("chunksize", 2.5, TypeError),
        ("chunksize", True, TypeError),
        ("buffersize", 0, ValueError),
        ("buffersize", "9", TypeError),
        ("timeout", "9", TypeError),
        ("timeout", True, TypeError),
        ("ordered", None, TypeError),
        ("ordered", "x", TypeError),
        ("ordered", 1, TypeError),
        ("return_exceptions", "x", TypeError),
        ("return_exceptions", None, TypeError),
    ],
)
def test_a_wrong_way_to_map_starts_nothing(
    pool: Pool, name: str, value: object, error: type[Exception]
) -> None:
    """Neither map nor starmap has taken an item when it refuses."""
    taken: list[int] = []
    refused(lambda **how: pool.map(taken.append, [1], **how), name, value, error)
    refused(lambda **how: pool.starmap(taken.append, [(1,)], **how), name, value, error)
    assert taken == []
    assert pool.unfinished == 0


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("chunk_size", "Did you mean 'chunksize'?"),
        ("retries", "pool.options(retries=...).map(...)"),
        ("seed", "pool.options(seed=...).map(...)"),
        ("base", "functools.partial(fn, base=...)"),
    ],
    ids=["misspelt", "a term", "the seed", "of the function"],
)
def test_a_keyword_that_map_does_not_have(pool: Pool, name: str, way_out: str) -> None:
    """The message says where it belongs: to map by another name, to options, or to the function."""
    taken: list[int] = []
    calls: list[Any] = [pool.map, pool.options(name="other").map]
    for call in calls:
        with pytest.raises(TypeError, match=rf"map\(\) has no keyword '{name}'") as caught:
            call(taken.append, [1], **{name: 2})
        assert way_out in str(caught.value)
    assert taken == []
    assert pool.unfinished == 0


@pytest.mark.parametrize("name", ["max_tasks_per_worker", "blas_threads"])
@pytest.mark.parametrize("value", [-1, 0])
def test_what_must_be_one_or_more_says_so(name: str, value: int) -> None:
    """At once, and not that it may be 0, which it may not."""
    how: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"{name} must be 1 or more, .*; got {value}$"):
        Pool(backend="process", **how)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1.0, ValueError),
        (float("nan"), ValueError),
        ("x", TypeError),
        (True, TypeError),
        ([1], TypeError),
    ],
    ids=repr,
)
def test_a_group_kills_after_seconds(value: Any, error: type[Exception]) -> None:
    """Anything else is refused as it is for the other limits."""
    with Pool(1) as pool:
        refused(pool.group, "kill_after", value, error)


def test_a_join_takes_seconds(pool: Pool) -> None:
    """Anything else is refused, by name."""
    refused(pool.join, "timeout", "60", TypeError)


@pytest.mark.parametrize("fn", [None, 3, "abs"], ids=repr)
def test_a_task_needs_a_function(pool: Pool, fn: Any) -> None:
    """What cannot be called is refused at the call, and not by a worker."""
    view: Any = pool.options(seed=1)
    for submit in (pool.submit, view.submit):
        with pytest.raises(TypeError, match=rf"submit\(\) takes a function .*; got {fn!r}, which"):
            submit(fn, 1)
    with pytest.raises(TypeError, match=rf"run\(\) takes a function .*; got {fn!r}, which"):
        asyncio.run(pool.run(fn))
    with pool.group() as group, pytest.raises(TypeError, match="which cannot be called"):
        group.submit(fn)
    assert pool.unfinished == 0


def test_none_in_the_place_of_a_function(pool: Pool) -> None:
    """It is what most functions return that were called already."""
    submit: Any = pool.submit
    with pytest.raises(TypeError, match="Was the function called already, and returned None"):
        submit(None)


def test_a_map_needs_a_function_and_what_can_be_iterated(pool: Pool) -> None:
    """A call with something else in their places is refused where it stands."""
    call: Any = pool.map
    with pytest.raises(TypeError, match=r"map\(\) calls a function with each item; got 'abs'"):
        call("abs", [1])
    with pytest.raises(TypeError, match="not iterable"):
        call(abs, 3)
    assert pool.unfinished == 0


@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_map_of_no_iterables_is_empty(pool: Pool, chunksize: int | None) -> None:
    """As Executor.map's is: ``map(fn, *columns)`` of a table without columns calls nothing."""
    call: Any = pool.map
    assert list(call(abs, chunksize=chunksize)) == []
    assert pool.unfinished == 0


async def _connect() -> None: ...


def _prepare() -> Generator[None]:
    yield


@pytest.mark.parametrize(
    "fn",
    [_connect, _prepare, partial(partial(_connect))],
    ids=["coroutine", "generator", "partial"],
)
def test_an_initializer_whose_call_does_nothing_is_refused(fn: Callable[..., object]) -> None:
    """A coroutine or a generator that nobody runs would be made, and its tasks miss what it was to do."""
    with pytest.raises(TypeError, match=r"initializer must be a function whose call does the work"):
        Pool(backend="inline", initializer=fn)


def test_a_pool_that_is_not_made_yet_can_be_shown() -> None:
    """By a class of the user's that logs itself before it calls __init__."""
    seen: list[str] = []

    class Own(Pool):
        def __init__(self) -> None:
            seen.append(repr(self))
            super().__init__(backend="inline")

    Own().shutdown()
    assert seen == ["<Own, not made yet>"]


@pytest.mark.parametrize("timeout", [int, "1", [], 1j], ids=repr)
def test_a_timeout_is_a_number_of_seconds(pool: Pool, timeout: Any) -> None:
    """Also where the type of it could be one, and the conversion says something else."""
    with pytest.raises(TypeError, match="timeout is seconds as a number, or None; got"):
        pool.join(timeout)


def test_a_timeout_beyond_all_numbers_is_none(pool: Pool) -> None:
    """Nobody lives to see its end."""
    endless: Any = Fraction(10**5000)
    pool.join(endless)
    pool.join(-endless)
    pool.join(-(10**400))


def test_an_array_that_is_too_large_for_this_process_says_how_large_it_was_to_be() -> None:
    """As one between processes does."""
    with pytest.raises(OSError, match="no room for 800000000000000 more bytes of memory"):
        Array(10**14)


def test_an_update_takes_a_function() -> None:
    """And leaves the value open to others."""
    shared = Shared(1)
    with pytest.raises(TypeError, match=r"update\(\) takes a function of the value, not None"):
        shared.update(None)  # type: ignore[arg-type]  # refused by checkers, too
    assert shared.update(lambda n: n + 1) == 2
