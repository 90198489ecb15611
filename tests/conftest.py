"""What holds for every test: it leaves nothing running and nothing behind.

A test that kills or leaves things on purpose says so, and why::

    @pytest.mark.leaks_expected("the parent is killed before it can tidy up")
"""

from __future__ import annotations

import faulthandler
from collections.abc import Generator
from typing import Any, cast

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key, get_timeout_config_value

from tests.leaks import end_processes_since, leaks_since, mark_processes, take_picture
from tests.support.onlookers import look_on_harmlessly, unlock_coverage

_failed = pytest.StashKey[bool]()


def pytest_configure() -> None:
    """Mark this run before anything is started, and have whoever looks on harm nothing."""
    mark_processes()
    unlock_coverage()
    look_on_harmlessly()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a test that may take longer than others as much grace beyond its own limit as they have.

    The limit is an alarm whose handler raises. Python drops what is raised in a finalizer, and a test
    of alarms takes the alarm for itself: such a test would hang, and the whole run with it. Whoever
    has not ended by then has its stacks shown, and its process is ended; pytest-xdist names the test
    and goes on with the others in a new process.
    """
    marker = item.get_closest_marker("timeout")
    most = get_timeout_config_value(item.config)
    stderr = item.config.stash.get(fault_handler_stderr_fd_key, None)
    if marker is None or most <= 0 or stderr is None:
        return
    limit = float(item.config.getini("timeout"))
    if marker.args[0] > limit:
        faulthandler.dump_traceback_later(most - limit + marker.args[0], file=stderr, exit=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure: its traceback keeps pools alive, which is no leak."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


# First of the function's fixtures to be set up, so the last to be torn down;
# what wider scopes hold (a module's pool) is there before it and stays.
@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Generator[None]:
    """Compare what there is before and after the test."""
    before = take_picture()
    yield
    node: object = cast("Any", request).node  # untyped in pytest
    assert isinstance(node, pytest.Item)
    if node.stash.get(_failed, False) or node.get_closest_marker("leaks_expected"):
        end_processes_since(before)
    elif leaks := leaks_since(before):
        end_processes_since(before, within=0.0)
        pytest.fail("left behind by this test:\n" + "\n".join(leaks), pytrace=False)


@pytest.fixture(scope="session")
def arena() -> None:
    """Make the shared memory that stays until the process ends, before a test looks for leaks."""
    from workpool.ipc import memory

    memory.allocate(1)
