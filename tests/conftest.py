"""What holds for every test: it leaves nothing running and nothing behind.

A test that kills or leaves things on purpose says so, and why::

    @pytest.mark.leaks_expected("the parent is killed before it can tidy up")
"""

from __future__ import annotations

import faulthandler
from collections.abc import Generator
from importlib import import_module
from typing import Any, cast

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from tests.leaks import end_processes_since, leaks_since, mark_processes, take_picture
from tests.support.onlookers import look_on_harmlessly, unlock_coverage

_failed = pytest.StashKey[bool]()
_timeouts: Any = import_module("pytest_timeout")  # it has no types


def pytest_configure() -> None:
    """Mark this run before anything is started, and have whoever looks on harm nothing."""
    mark_processes()
    unlock_coverage()
    look_on_harmlessly()


# The limit of a test is an alarm whose handler raises (pytest-timeout). Python drops what is raised in a finalizer,
# no thread hears a signal while it waits for some locks of the interpreter, and a test of alarms takes the alarm for
# itself: such a test would hang, and the whole run with it. Whoever has not ended some time after its limit has
# its stacks shown, and its process is ended; pytest-xdist names the test and goes on in a new process.
_GRACE = 30.0  # seconds


def _end_process_after_limit(item: pytest.Item) -> None:
    stderr = item.config.stash.get(fault_handler_stderr_fd_key, None)
    limit: float = _timeouts._get_item_settings(item).timeout or 0.0
    debugged = item.config.getoption("usepdb") or _timeouts.is_debugging()
    if stderr is not None and limit > 0 and not debugged:
        faulthandler.dump_traceback_later(limit + _GRACE, file=stderr, exit=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """See that the test ends."""
    _end_process_after_limit(item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """See that the tear-down ends, too: after a failure there is no limit any more."""
    _end_process_after_limit(item)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how the run ended, beside the list of what failed: one that broke off has not run all (.ci/run)."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set("workpool/exit", int(exitstatus))


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
