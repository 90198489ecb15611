"""``Pool.timeline``: a recording, written in the form that the file's name asks for."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from workpool.errors import Unsupported
from workpool.observe.recording import read

if TYPE_CHECKING:
    from workpool.observe.recording import Recorder
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["write"]


def write(
    scheduler: Scheduler,
    recorder: Recorder | None,
    path: str | os.PathLike[str],
    *,
    backend: str,
) -> None:
    """Write a pool's recording, whole or not at all."""
    name = os.fsdecode(path)
    if recorder is None:
        message = (
            f"{scheduler.name} does not record, so there is no timeline to write to {name!r}. "
            "Make it with Pool(..., record=True)."
        )
        raise Unsupported(message)
    ending = next((one for one in (".html", ".json", ".json.gz") if name.endswith(one)), None)
    if ending == ".html":
        from workpool.observe.report import write_report as writer
    elif ending is not None:
        from workpool.observe.trace import write_trace as writer
    else:
        message = (
            f"timeline() writes .html (a report) or .json and .json.gz (a trace for Perfetto), not {name!r}. "
            "Give the file one of these endings."
        )
        raise ValueError(message)
    # Beside it first: a report that is there is never half a report. The ending stays, for the writer; a link
    # leads where it did; and the name is nobody else's, and as short as any.
    whole = os.path.realpath(name)
    partly = os.path.join(os.path.dirname(whole), f".{secrets.token_hex(8)}{ending}")
    try:
        writer(read(scheduler, recorder, backend=backend), partly)
        os.replace(partly, whole)
    except OSError as error:
        if error.filename == partly:
            error.filename = name  # what was asked for
        raise
    finally:
        if os.path.exists(partly):
            os.unlink(partly)
