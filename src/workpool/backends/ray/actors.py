"""The actors of one pool: made, watched, let go, killed.

States of a far end: made (its process starts), entering (its initializer runs), begun,
over (it leaves, or is being ended: what becomes of it is nobody's concern any more).

- All but ``ask`` is called by the clerk, and whatever Ray answers is taken in by the
  clerk; so a far end's state is touched by that thread alone.
- An actor's death is heard of whether or not something runs in it: one call of it never
  returns, and fails with it.
- An actor that finds no room on a full cluster keeps its place in Ray's line: others may end
  any moment. What it lacks is said early; if nothing of the pool ever finds room, it fails.
- After ``close``, and after a ``ray.shutdown()`` of somebody else's, Ray is not called any
  more: by itself, it would start anew at the next call. That shutdown is told to nobody
  who waits for Ray, so somebody here has to look.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock
from workpool.backends.engine import remote
from workpool.backends.ray.connection import identity_of
from workpool.backends.ray.room import has_process, lacking
from workpool.errors import WorkerStartFailed
from workpool.ipc import pickling
from workpool.safelog import SafeLog
from workpool.waits import LOOK_AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.engine.slots import Slot
    from workpool.backends.ray.room import Share

__all__ = ["Actors", "Far"]

_log = SafeLog("workpool")

_SAY = (
    8.0  # seconds without room after which that is said; a process may take some of them to start
)
_AGAIN = 5.0  # seconds between two looks for room
_START = 60.0  # seconds that a process may take to start, where there is room
_FULL = 300.0  # seconds that the first actors may wait for room
_WAY_OUT = (
    "It begins when others there have ended; to have room sooner, end them, add nodes, or ask for less: fewer workers "
    "(max_workers), or smaller resources."
)
_LOOK = 2.0  # seconds between two looks at whether the connection is still there


class Far:
    """An actor, and what is known of it."""

    __slots__ = (
        "actor",
        "begun",
        "entering",
        "life",
        "made",
        "over",
        "resources",
        "slot",
        "then",
        "timer",
        "until",
        "where",
    )

    def __init__(self, actor: Any, slot: Slot, resources: dict[str, float]) -> None:
        self.actor = actor
        self.slot = slot
        self.resources = resources
        self.then: Callable[[], object] = int  # what is done when it has begun
        self.entering = False
        self.begun = False
        self.over = False
        self.made = monotonic()
        self.timer: Any = None  # strikes when it has not gone on in time
        self.until = inf  # when it has had its time to leave
        self.life = ""  # the name of its process in Ray, once it has told it
        self.where = "a process that had not started"


class Actors:
    """Makes the actors of one pool, and sees to their ends."""

    def __init__(
        self,
        ray: Any,
        pool: str,
        setup: bytes | None,
        *,
        share: Share,
        start_timeout: float | None,
        end_timeout: float | None,
        ended: Callable[[str], None],
    ) -> None:
        from workpool.backends.ray.far import remote_worker

        self._ray = ray
        self._identity = identity_of(ray)
        self._pool = pool
        self._setup = setup
        self._share = share
        self._timeout = start_timeout
        self._end_timeout = end_timeout
        self._ended = ended  # told the name of each process that has
        self._kind = remote_worker()
        self._fars: set[Far] = set()  # whose actors may be there
        self._leaving: dict[Any, Far] = {}  # by what tells that the context has been left
        self._any_there = False
        self._said: set[frozenset[tuple[str, float]]] = set()  # for which demands room was missing
        self._watching = False
        self._closed = False
        self._open = Lock()  # guards _closed, against calls of ``ask``

    def make(self, slot: Slot, resources: dict[str, float]) -> Far:
        """Make an actor, whose ``then`` is called when it has begun."""
        self.check_connected()
        kind = self._kind.options(**self._share.options(resources))
        far = Far(kind.remote(self._pool, slot.index), slot, resources)
        self._fars.add(far)
        self.hear(slot, far.actor.hello.remote(), partial(self._said_hello, far))
        self._after(_SAY, far, partial(self._look_for_room, far))
        if not self._watching:
            self._watching = True
            self._watch(slot)
        return far

    def ask(self, far: Far, what: str, number: int) -> Any:
        """Ask an actor something about an order; from any thread. Gives a future."""
        with self._open:
            if self._closed:
                raise RuntimeError
            self.check_connected()
            return getattr(far.actor, what).remote(number).future()

    def let_go(self, far: Far) -> None:
        """Have the context left, if there is one, and the actor ended then, or when it has had its time."""
        far.over = True
        if self._setup is None or not far.begun:
            self.kill(far)
            return
        with suppress(Exception):
            self.check_connected()
            said = far.actor.leave.remote()
            self._leaving[said] = far
            self.hear(far.slot, said, partial(self._has_left, said))
            if self._end_timeout is not None:
                far.until = monotonic() + self._end_timeout
                self._after(self._end_timeout, far, partial(self._stays_too_long, said))

    def kill(self, far: Far) -> None:
        """End an actor at once, with what runs in it; nothing if it has ended."""
        self._fars.discard(far)
        with suppress(Exception):
            self.check_connected()
            self._ray.kill(far.actor, no_restart=True)

    def close(self, killed: Callable[[], bool]) -> None:
        """End them all, once their contexts have been left, or have had their time, or the pool is killed.

        The clerk, and the timers, do nothing more for them.
        """
        with self._open:
            self._closed = True
        with suppress(Exception):
            while self._leaving and not killed():
                self.check_connected()
                pause = min(far.until for far in list(self._leaving.values())) - monotonic()
                if pause <= 0:
                    for said in [
                        said
                        for said, far in list(self._leaving.items())
                        if far.until <= monotonic()
                    ]:
                        self._end_late(said)
                    continue
                left, _ = self._ray.wait([*self._leaving], timeout=min(pause, LOOK_AGAIN))
                for said in left:
                    self._has_left(said, said.future())
        for far in list(self._fars):
            self.kill(far)

    def hear(self, slot: Slot, answer: Any, then: Callable[[Any], None]) -> None:
        """Have the clerk take in an answer when it is there; a thread of Ray's tells it."""
        answer.future().add_done_callback(partial(self._post, slot, then))

    def over(self, far: Far, error: BaseException) -> None:
        """Take in that an actor is dead, or out of reach, which comes to the same."""
        self._expect_no_more(far)
        self.kill(far)
        if far.life:
            with suppress(Exception):
                self.check_connected()
                self._ended(far.life)
        far.life = ""
        far.slot.died(far, f"the end of {far.where} ({_why(error)})", entering=far.entering)

    def check_connected(self) -> None:
        """Refuse to go on without the connection that the pool was made with."""
        if not self._connected():
            message = "the program has called ray.shutdown(), and its pools on Ray are no more"
            raise RuntimeError(message)

    # ------------------------------------------------------------------------- its course

    def _said_hello(self, far: Far, answer: Any) -> None:
        if (error := answer.exception()) is not None:
            self.over(far, error)
            return
        far.life, pid, machine = answer.result()
        far.where = f"process {pid} on {machine}"
        far.entering = self._any_there = True
        self._expect(far)
        self.hear(far.slot, far.actor.begin.remote(self._setup), partial(self._has_begun, far))

    def _has_begun(self, far: Far, answer: Any) -> None:
        if (error := answer.exception()) is not None:
            self.over(far, error)
            return
        slot = far.slot
        far.entering, far.begun = False, True
        self._expect_no_more(far)
        self.hear(slot, far.actor.stay.remote(), lambda ended: self.over(far, ended.exception()))
        failure: bytes | None = answer.result()
        if slot.far is not far:
            return
        if failure is None:
            far.then()
        elif slot.flight is not None:
            slot.landed(slot.flight, (remote.FAILED, failure))
        else:
            slot.failed(failure)

    def _has_left(self, said: Any, answer: Any) -> None:
        far = self._leaving.pop(said, None)
        if far is None:
            return  # it was late
        self._expect_no_more(far)
        self.kill(far)
        failure = None if answer.exception() is not None else answer.result()  # it may have died
        if failure is not None:
            _log.error(
                "worker_context of %s failed to leave worker %d",
                self._pool,
                far.slot.index,
                exc_info=pickling.load_error_or_stand_in(failure),
            )

    def _stays_too_long(self, said: Any) -> None:
        if not self._closed:
            self._end_late(said)

    def _end_late(self, said: Any) -> None:
        """End an actor whose context has had its time to be left; others may need what it holds."""
        far = self._leaving.pop(said, None)
        if far is None:
            return  # it has been left
        self.kill(far)
        _log.warning(
            "worker_context of %s was to leave worker %d and has not within end_timeout=%s s: the worker is killed "
            "(%s)",
            self._pool,
            far.slot.index,
            self._end_timeout,
            far.where,
        )

    # ------------------------------------------------------------------------ what is late

    def _expect(self, far: Far) -> None:
        """Expect an actor's initializer to be done within the time that it has."""
        self._expect_no_more(far)
        if self._timeout is not None:
            self._after(self._timeout, far, partial(self._late, far))

    def _after(self, seconds: float, far: Far, call: Callable[[], None]) -> None:
        slot = far.slot
        with suppress(RuntimeError):  # no thread for it: the program is ending
            far.timer = slot.scheduler.timers.after(seconds, partial(slot.post, call))

    def _expect_no_more(self, far: Far) -> None:
        timer, far.timer = far.timer, None
        if timer is not None:
            timer.cancel()

    def _late(self, far: Far) -> None:
        """End an actor whose initializer takes too long."""
        if not self._closed and not far.over and not far.begun:
            self._drop(far)
            far.slot.died(far, f"its start_timeout of {self._timeout} s", entering=True)

    def _look_for_room(self, far: Far) -> None:
        """See why an actor has not said a word yet; say what it lacks, once."""
        if self._closed or far.over or far.life:
            return
        demand = self._share.demand(far.resources)
        lacks = ""
        with suppress(Exception):
            self.check_connected()
            lacks = "" if has_process(far.actor) else lacking(self._ray, demand)
        waits = f"{self._pool} waits for room on the Ray cluster: a worker asks for {lacks}"
        asked = frozenset(demand.items())
        if lacks and asked not in self._said:
            self._said.add(asked)
            _log.warning("%s. %s", waits, _WAY_OUT)
        if far.resources or self._any_there:
            return  # those may be long in coming; and a pool works with what has found room
        waited = monotonic() - far.made
        if waited < (_FULL if lacks else _START):
            self._after(_AGAIN, far, partial(self._look_for_room, far))
        elif lacks:
            self._drop(far)
            far.slot.give_up(
                WorkerStartFailed(
                    f"{waits}, and none came in {_FULL:g} s; the pool takes no more tasks. {_WAY_OUT}"
                )
            )
        else:
            self._drop(far)
            far.slot.died(far, f"waiting: Ray had not started it after {_START} s")

    def _drop(self, far: Far) -> None:
        far.over = True
        self.kill(far)

    # ------------------------------------------------------------------------ the connection

    def _connected(self) -> bool:
        return identity_of(self._ray) == self._identity

    def _watch(self, slot: Slot) -> None:
        """Look now and then whether the connection is still there; for all, in the name of one slot."""
        if self._closed:
            return
        if not self._connected():
            self._watching = False
            for far in list(self._fars):
                self._fars.discard(far)
                far.slot.died(
                    far, "the end of the connection: the program has called ray.shutdown()"
                )
            return
        with suppress(RuntimeError):  # as above
            slot.scheduler.timers.after(_LOOK, partial(slot.post, partial(self._watch, slot)))

    def _post(self, slot: Slot, then: Callable[[Any], None], done: Any) -> None:
        slot.post(partial(self._take_in, then, done))

    def _take_in(self, then: Callable[[Any], None], done: Any) -> None:
        if not self._closed:
            then(done)


_BECAUSE = re.compile(r"[Tt]he actor (?:is dead|died) because (.+?)(?:\.\s|\.?$)", re.MULTILINE)
_KIND = re.compile(r"Worker exit type: (\w+)")


def _why(error: BaseException) -> str:
    """Give the heart of what Ray tells of a death, which it does at length."""
    text = str(error).strip()
    because = _BECAUSE.search(text)
    if because is None:
        return text.splitlines()[-1] if text else type(error).__name__
    kind = _KIND.search(text)
    return f"Ray says {kind[1]}" if kind else because[1]
