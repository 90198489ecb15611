"""What came from another process and cannot be used here: told, and never in the way of a task."""

from __future__ import annotations

import logging
import pickle
from contextvars import ContextVar

import pytest

from tests.support.tasks import ExplodesWhenRebuilt
from workpool import NotPicklable, tasklog
from workpool.contexts import Arrived
from workpool.ipc.variables import Place

variable = ContextVar("variable", default="unset")

BROKEN = [
    (Place("no.such.module", "variable"), pickle.dumps(1)),
    (Place(__name__, "no_such_variable"), pickle.dumps(1)),
    (Place(__name__, "variable"), pickle.dumps(ExplodesWhenRebuilt())),
]


@pytest.mark.parametrize("entry", BROKEN, ids=["module", "attribute", "value"])
def test_a_variable_that_was_asked_for_must_arrive(entry: tuple[Place, bytes]) -> None:
    """A listed context variable that cannot be set fails the task by name."""
    arrived = Arrived([entry], {}, strict=True)
    where = f"{entry[0].module}.{entry[0].attribute}"
    with pytest.raises(NotPicklable, match=f"context variable {where}") as error:
        arrived.run(variable.get)
    assert error.value.part == "context"


@pytest.mark.parametrize("entry", BROKEN, ids=["module", "attribute", "value"])
def test_a_variable_that_was_not_asked_for_may_be_missing(entry: tuple[Place, bytes]) -> None:
    """With the whole context, what cannot be set is left out, and the others are there."""
    good = Place(__name__, "variable"), pickle.dumps("set")
    assert Arrived([entry, good], {}, strict=False).run(variable.get) == "set"
    assert variable.get() == "unset"


def test_a_log_record_that_cannot_be_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The record is lost, the log says why, and nobody else is troubled."""
    record = {"name": "there", "msg": ExplodesWhenRebuilt()}
    with caplog.at_level(logging.ERROR, "workpool"):
        tasklog.handle(pickle.dumps(record))
    assert "a log record from a worker cannot be unpickled" in caplog.text
    assert "ValueError: cannot be rebuilt" in caplog.text
