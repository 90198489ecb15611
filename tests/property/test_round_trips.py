"""Whatever can be pickled comes through every backend as it went in: arguments, results, items, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.support import tasks
from tests.support.backends import KINDS, Kind
from tests.support.drawn import Coded, Colour, Pair
from workpool import Pool

DEADLINE = 60.0


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary(max_size=300)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.uuids()
    | st.sampled_from(Colour)
)
HASHABLE = st.integers() | st.text() | st.binary() | st.booleans() | st.sampled_from(Colour)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.frozensets(HASHABLE, max_size=4)
        | st.sets(HASHABLE, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)
ARRAYS = npst.arrays(
    dtype=st.sampled_from(["u1", "i8", "f4", "c16", "U3", "?"]),
    shape=npst.array_shapes(max_dims=3, max_side=6),
)
ARGUMENTS = st.lists(LEAVES, max_size=3).map(tuple)
KINDS_OF_ERRORS = st.sampled_from(
    [ValueError, KeyError, LookupError, TypeError, OSError, ArithmeticError, Exception]
)


@st.composite
def errors(draw: st.DrawFn) -> Exception:
    """Draw an error of the language or of this file, with notes and attributes, or a group of some."""
    if draw(st.integers(0, 4)) == 0:
        return ExceptionGroup(draw(st.text()), draw(st.lists(errors(), min_size=1, max_size=2)))
    error: Exception
    if draw(st.booleans()):
        error = Coded(draw(st.integers()), draw(st.text()))
        error.extra = draw(VALUES)
    else:
        error = draw(KINDS_OF_ERRORS)(*draw(ARGUMENTS))
    for note in draw(st.lists(st.text(), max_size=2)):
        error.add_note(note)
    return error


@pytest.fixture(
    params=[kind for kind in KINDS if kind.name not in {"dask", "ray"}], ids=lambda kind: kind.name
)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A pool of each kind that is here."""
    kind: Kind = request.param
    with Pool(1, **kind.settings) as made:
        yield made


many = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def told(error: BaseException) -> Any:
    """Give all that makes an error what it is, but for where it was raised."""
    if isinstance(error, ExceptionGroup):
        inside: list[Any] = list(cast("Any", error).exceptions)
        return type(error), error.message, vars(error), [told(one) for one in inside]
    return type(error), error.args, vars(error), str(error)


@many
@given(value=VALUES)
def test_values_come_back_as_they_went(pool: Pool, value: object) -> None:
    """An argument that is returned is equal to what was given, and of the same type."""
    back = pool.submit(tasks.echo, value).result(DEADLINE)
    assert back == value
    assert type(back) is type(value)


@many
@given(values=st.lists(VALUES, max_size=8), chunk=st.sampled_from([None, 1, 3]))
def test_items_come_back_as_they_went(pool: Pool, values: list[object], chunk: int | None) -> None:
    """Items of a map call arrive each as it was, in order, whatever travels with them."""
    assert list(pool.map(tasks.echo, values, chunksize=chunk, timeout=DEADLINE)) == values


@many
@given(array=ARRAYS)
def test_arrays_come_back_as_they_went(pool: Pool, array: Any) -> None:
    """Arrays keep shape, type and every element."""
    if pool.backend == "interpreter":
        pytest.skip("numpy can be loaded in the first interpreter only")
    back = pool.submit(tasks.echo, array).result(DEADLINE)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, (1 << 18) - 1, 1 << 18, 1 << 20])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_length_come_back(pool: Pool, size: int, kind: type[Any]) -> None:
    """The ways that a payload may go differ by its size; what comes out does not."""
    value = kind(bytes(range(256)) * (size // 256 + 1))[:size]
    assert pool.submit(tasks.echo, value).result(DEADLINE) == value
    assert list(pool.map(tasks.echo, [value, value], timeout=DEADLINE)) == [value, value]


@many
@given(error=errors())
def test_errors_come_back_as_they_were_raised(pool: Pool, error: Exception) -> None:
    """Type, arguments, attributes, notes and members of an error reach the caller."""
    expected = told(error)
    assert told(pool.submit(tasks.fail, error).exception(DEADLINE) or error) == expected
    (item,) = pool.map(tasks.fail, [error], return_exceptions=True, timeout=DEADLINE)
    assert told(item) == expected
