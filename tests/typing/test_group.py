"""What a group's calls give, as type checkers see it; they are what fails here."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from workpool import Group, Pool, Task


def test_a_group_has_the_types_of_its_pool() -> None:
    """A group's submit is typed as its pool's, and what the block assigns is known behind it."""
    with Pool(1) as pool:
        with pool.group() as group:
            assert_type(group, Group)
            length = group.submit(len, "abc")
            assert_type(length, Task[int])
        assert_type(length.result(), int)  # a block that is left without an error was run
        with pool.options(retries=1).group() as other:
            assert_type(other.submit(str, 1), Task[str])
        if TYPE_CHECKING:
            group.submit(len, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def async_block(pool: Pool) -> None:
    async with pool.group(kill_after=1.0) as group:
        assert_type(group, Group)
        task = group.submit(len, "abc")
    assert_type(await task, int)
