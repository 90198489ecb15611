"""seed: random numbers that depend on the task alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from workpool import JournalMismatch, Pool


def draw(_: object = None) -> float:
    return tasks.situation().rng.random()


def draw_two() -> list[float]:
    return [tasks.situation().rng.random(), tasks.situation().rng.random()]


def own_seed(_: object = None) -> int | None:
    return tasks.situation().seed


def draw_at_second_attempt(first: int) -> float:
    number = draw()
    tasks.fail_until(first)
    return number


def runs(make_pool: MakePool, fn: Callable[..., Any], workers: int, chunksize: int | None) -> Any:
    pool = make_pool(workers, seed=7)
    first = pool.submit(fn)
    mapped = list(pool.map(fn, range(40), chunksize=chunksize))
    second = pool.submit(fn)
    starred = list(pool.starmap(fn, [(n,) for n in range(5)]))
    return [first.result(DEADLINE), mapped, second.result(DEADLINE), starred]


def test_numbers_do_not_depend_on_workers_or_chunks(make_pool: MakePool) -> None:
    """One worker or three, one item at a time or many: the same numbers; and no two are alike."""
    found = [runs(make_pool, draw, *how) for how in [(1, None), (3, None), (2, 1), (2, 7)]]
    assert found[1:] == found[:1] * 3
    first, mapped, second, starred = found[0]
    assert len({first, *mapped, second, *starred}) == 47


def test_numbers_are_the_same_on_every_backend(make_pool: MakePool) -> None:
    """What one backend gives, the others give; written down here, so that it stays so."""
    first, mapped, *_ = runs(make_pool, own_seed, 2, None)
    assert first == 0x941425C8E56DD4806BE52838E9B94431
    assert mapped[0] == 0xE24D07DBA34314BAE4195FE8710777F7
    assert mapped[39] == 0x85397BEEC2F022F9C4D276D57BB430D2


@pytest.mark.lacks("own_threads")
def test_generators_of_the_process_are_seeded_where_a_task_has_them_for_itself(
    make_pool: MakePool, kind: Kind
) -> None:
    """In a process and inline, random and numpy's old generator start from the task's seed."""
    pytest.importorskip("numpy")
    from tests.support.chance import draw_globally

    # The loopback's workers are threads of one process: only a single one has the generators for itself.
    several = [(1, 1), (1, 7)] if kind.name == "loopback" else [(3, None), (2, 1)]
    found = [runs(make_pool, draw_globally, *how) for how in [(1, None), *several]]
    assert found[1:] == found[:1] * 2
    assert len({number for pair in found[0][1] for number in pair}) == 80


@pytest.mark.lacks("pickles")
def test_the_callers_generators_are_left_alone(pool: Pool) -> None:
    """What the program itself draws is not touched by the seeds of its tasks."""
    numpys: Any = pytest.importorskip("numpy.random")
    random.seed(1)
    numpys.seed(1)
    expected = random.random(), float(numpys.random())
    random.seed(1)
    numpys.seed(1)
    list(pool.options(seed=5).map(own_seed, range(10)))
    assert (random.random(), float(numpys.random())) == expected


def test_a_retry_has_the_same_numbers(pool: Pool) -> None:
    """An attempt begins with the same numbers as the one before."""
    view = pool.options(seed=3, retries=2, retry_on=LookupError)
    plain = pool.options(seed=3)
    assert view.submit(draw_at_second_attempt, 3).result(DEADLINE) == plain.submit(draw).result(
        DEADLINE
    )


def test_a_task_has_one_generator(pool: Pool) -> None:
    """current().rng goes on where it was, at each look."""
    one, other = pool.options(seed=1).submit(draw_two).result(DEADLINE)
    assert one != other


def test_seeds_are_of_their_view(pool: Pool) -> None:
    """Each seed has its own count of calls; views without one share that of their pool."""
    one, other = pool.options(seed=1), pool.options(seed=1)
    assert one.submit(own_seed).result(DEADLINE) == other.submit(own_seed).result(DEADLINE)
    assert one.submit(own_seed).result(DEADLINE) != pool.options(seed=2).submit(own_seed).result(
        DEADLINE
    )


def test_views_of_a_seeded_pool_share_its_count(make_pool: MakePool) -> None:
    """Other terms, the same row of numbers."""
    pool = make_pool(seed=4)
    assert "seed=4" in repr(pool)
    other = make_pool(seed=4)
    here = [pool.submit(own_seed), pool.options(retries=1).submit(own_seed)]
    there = [other.submit(own_seed), other.submit(own_seed)]
    assert [task.result(DEADLINE) for task in here] == [task.result(DEADLINE) for task in there]


def test_without_a_seed_there_is_none(pool: Pool) -> None:
    """current().seed is None, and to ask for a generator is an error that says the way out."""
    assert pool.submit(own_seed).result(DEADLINE) is None
    with pytest.raises(RuntimeError, match=r"Pool\(seed=...\)"):
        pool.submit(draw).result(DEADLINE)


def test_a_journal_knows_the_seed(pool: Pool, tmp_path: Path) -> None:
    """A map call that goes on draws what it would have drawn; on another seed it is another call."""
    journal = tmp_path / "run.sqlite"
    whole = list(pool.options(seed=9).map(draw, range(6)))
    first = list(pool.options(seed=9).map(draw, iter(range(3)), journal=journal))
    assert first + list(pool.options(seed=9).map(draw, range(6), journal=journal))[3:] == whole
    with pytest.raises(ValueError, match="journal"):
        list(pool.options(seed=10).map(draw, range(6), journal=journal))


def test_a_refused_call_has_no_number(pool: Pool, tmp_path: Path) -> None:
    """A call that was never begun changes nothing for those behind it, also where a journal knows their seed."""
    again = pool.options(seed=9)
    first = list(again.map(draw, range(3)))
    calls = pool.options(seed=9)
    wrong: Any = {"chunksiz": 3}
    with pytest.raises(TypeError):
        calls.map(draw, range(3), **wrong)
    with pytest.raises(ValueError, match="chunksize"):
        calls.map(draw, range(3), chunksize=0)
    assert list(calls.map(draw, range(3), journal=tmp_path / "journal")) == first
    assert list(calls.map(draw, range(3))) == list(again.map(draw, range(3)))
    with pytest.raises(JournalMismatch, match="or its seed"):
        calls.map(draw, range(3), journal=tmp_path / "journal")


def test_a_whole_number_of_any_kind_is_a_seed(pool: Pool) -> None:
    """What can stand for an index, such as numpy's integers, is taken for the number that it is."""

    class Seven:
        def __index__(self) -> int:
            return 7

    seed: Any = Seven()
    mine, usual = (pool.options(seed=one).submit(own_seed) for one in (seed, 7))
    assert mine.result(DEADLINE) == usual.result(DEADLINE) is not None


@pytest.mark.parametrize("wrong", ["1", 1.0, True])
def test_what_is_no_seed_is_refused(pool: Pool, wrong: Any) -> None:
    """A seed is a whole number."""
    with pytest.raises(TypeError, match="seed is a whole number"):
        pool.options(seed=wrong)
