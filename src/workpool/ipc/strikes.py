"""Whether an error is a call's own, or has struck it from outside.

What a signal's handler raises, and what is sent into a thread, comes between any two steps of it: also
while user code is called, and when C has just copied a large value. It may be of any type. A handler is known by
what it is called with. Others are known by that they come once: so an error of which something depends is believed
when the call, made again, raises it again. Only a call that has failed is made twice.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from workpool.errors import TimeLimitExceeded
from workpool.ipc.shortage import is_shortage
from workpool.traces import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

__all__ = ["forgiving", "outside", "sent", "struck"]


def struck(error: BaseException, again: Callable[..., object], *args: Any) -> bool:
    """Tell whether an error is not the call's own: made again, that raises none of the type.

    A shortage never is. What is seen to strike meanwhile is raised.
    """
    if sent(error) or is_shortage(error):
        return True
    try:
        again(*args)
    except BaseException as other:
        if sent(other):
            raise
        return type(other) is not type(error)
    return True


def outside(error: BaseException) -> bool:
    """Tell, of an error just caught, whether the call of the system did not raise it: its errors have numbers."""
    return sent(error) or (isinstance(error, OSError) and error.errno is None)


class forgiving(suppress):  # noqa: N801 - as what it is made of
    """As ``contextlib.suppress``, for calls of the system: what strikes them is raised."""

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return not (error is not None and outside(error)) and super().__exit__(kind, error, trace)


def sent(error: BaseException) -> bool:
    """Tell whether an error, just caught, is a Ctrl-C, the end of a time limit, or what a signal's handler raised."""
    if isinstance(error, (KeyboardInterrupt, TimeLimitExceeded)):
        return True
    trace = trace_of(error)
    while trace is not None and (trace := trace.tb_next) is not None:  # the first frame is ours
        if _is_handler(trace.tb_frame):
            return True
    return False


def _is_handler(frame: FrameType) -> bool:
    """Tell whether a frame was given the frame that called it, as Python alone does, which calls handlers."""
    caller = frame.f_back
    return caller is not None and any(
        value is caller or (type(value) is tuple and len(value) == 2 and value[1] is caller)
        for value in frame.f_locals.values()
    )
