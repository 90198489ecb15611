"""The terms of a call: limits, and the pauses between its attempts."""

from __future__ import annotations

import threading

from workpool.scheduling.terms import Terms


def test_pauses_double_and_never_overflow() -> None:
    """The thousandth pause is a number, and no attempt's pause is shorter than the one before."""
    terms = Terms(retries=5_000, backoff=0.5)
    assert [terms.pause_before(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    pauses = [terms.pause_before(n) for n in range(1, 5_000)]
    assert pauses == sorted(pauses)


def test_what_no_clock_can_reach_is_no_limit() -> None:
    """The longest wait the system has is a limit still; a longer one is none."""
    most = threading.TIMEOUT_MAX
    assert Terms(time_limit=most).time_limit == most
    assert Terms(time_limit=most * 2).time_limit is None
    assert Terms(queue_timeout=float("inf")).queue_timeout is None


def test_what_no_clock_can_reach_is_as_long_as_one_can() -> None:
    """A pause, or the time to tidy up in: also a whole number that is no float."""
    for endless in (float("inf"), 10**400):
        terms = Terms(time_limit=1.0, grace=endless, retries=9, backoff=endless)
        assert (terms.grace, terms.backoff) == (threading.TIMEOUT_MAX,) * 2
        assert terms.pause_before(9) >= threading.TIMEOUT_MAX
