"""context: what the caller's context variables say, tasks see, on every backend."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.scripts import printed_by
from workpool import NotPicklable, Pool

request: ContextVar[str] = ContextVar("request", default="none")
user: ContextVar[Any] = ContextVar("user", default="nobody")


class Holder:
    """Has a variable as an attribute."""

    def __init__(self) -> None:
        self.variable: ContextVar[str] = ContextVar("held", default="none")


holder = Holder()


def seen(_: object = None) -> tuple[str, Any]:
    return request.get(), user.get()


def seen_held() -> str:
    return holder.variable.get()


def change() -> str:
    before = request.get()
    request.set("changed by a task")
    return before


def fail_at_first(value: str) -> str:
    """Fail at the first attempt, after a change of the context."""
    before = request.get()
    request.set("changed by an attempt")
    tasks.fail_until(2)
    return before + value


@pytest.fixture(autouse=True)
def values() -> Generator[None]:
    """Set the variables for the length of a test."""
    tokens = request.set("r1"), user.set("ann")
    yield
    request.reset(tokens[0])
    user.reset(tokens[1])


class Unread:
    """Cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


class Leaves:
    """Ends the program when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (4,)


class Proxy:
    """As of a web framework: outside of a request, whatever is asked raises."""

    @property  # type: ignore[misc]  # lies
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - lies, too
        raise RuntimeError

    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # lies
        raise RuntimeError

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_a_proxy_among_the_globals_is_let_be(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are looked for in all modules, in which there may be anything."""
    monkeypatch.setitem(globals(), "a_proxy", Proxy())
    monkeypatch.setattr("workpool.ipc.variables._places", {})  # they are looked for anew
    assert pool.options(context=True).submit(seen).result(DEADLINE) == ("r1", "ann")


@pytest.mark.needs("concurrent")
def test_it_is_off_unless_asked_for(pool: Pool) -> None:
    """Without the setting, a task sees what its worker has."""
    assert pool.submit(seen).result(DEADLINE) == ("none", "nobody")
    assert pool.options(context=False).submit(seen).result(DEADLINE) == ("none", "nobody")


def test_true_takes_all(pool: Pool) -> None:
    """context=True takes along what the caller sees at the call, in submit and in map."""
    view = pool.options(context=True)
    task = view.submit(seen)
    results = view.map(seen, range(5))
    token = request.set("r2")
    assert view.submit(seen).result(DEADLINE) == ("r2", "ann")
    request.reset(token)
    assert task.result(DEADLINE) == ("r1", "ann")
    assert list(results) == [("r1", "ann")] * 5
    assert list(view.map(seen, range(3), chunksize=1)) == [("r1", "ann")] * 3


@pytest.mark.needs("concurrent")
def test_a_list_takes_these_only(make_pool: MakePool) -> None:
    """Other variables are as they are in the worker."""
    pool = make_pool(context=[request])
    assert pool.submit(seen).result(DEADLINE) == ("r1", "nobody")
    assert list(pool.map(seen, range(3))) == [("r1", "nobody")] * 3
    assert list(pool.starmap(seen, [(1,)])) == [("r1", "nobody")]
    assert "context=listed" in repr(pool)


def test_a_variable_without_a_value_keeps_its_default(pool: Pool) -> None:
    """A listed variable that the caller has not set is not set in the task."""
    view = pool.options(context=[holder.variable])
    assert view.submit(seen_held).result(DEADLINE) == "none"
    token = holder.variable.set("of an attribute")
    assert view.submit(seen_held).result(DEADLINE) == "of an attribute"
    holder.variable.reset(token)


def test_what_a_task_sets_is_gone_with_it(make_pool: MakePool) -> None:
    """Neither the next task nor the caller sees it."""
    pool = make_pool(1, context=True)
    assert pool.submit(change).result(DEADLINE) == "r1"
    assert pool.submit(seen).result(DEADLINE) == ("r1", "ann")
    assert list(pool.map(lambda _: change(), range(3))) == ["r1"] * 3
    assert request.get() == "r1"


def test_each_attempt_has_the_callers_context(pool: Pool) -> None:
    """A second attempt does not see what the first one has set."""
    view = pool.options(context=True, retries=1, retry_on=LookupError)
    assert view.submit(fail_at_first, "!").result(DEADLINE) == "r1!"


def test_a_wrapped_task_keeps_its_name(pool: Pool) -> None:
    """Messages and current() name the function, not what is around it."""
    view = pool.options(context=True, seed=1)
    task = view.submit(tasks.facts)
    assert task.name == task.result(DEADLINE).task_name == "facts"
    assert {facts.task_name for facts in view.map(tasks.facts, range(3))} == {"facts"}


@pytest.mark.needs("pickles")
def test_true_leaves_out_what_cannot_be_pickled(pool: Pool) -> None:
    """With True, a value without a pickle, or a variable without a name, stays behind."""
    nameless: ContextVar[int] = ContextVar("nameless")
    context = copy_context()
    context.run(nameless.set, 1)
    context.run(user.set, threading.Lock())
    task = context.run(pool.options(context=True).submit, seen)
    assert task.result(DEADLINE) == ("r1", "nobody")


@pytest.mark.needs("pickles")
def test_a_listed_value_that_cannot_be_pickled_is_an_error(pool: Pool) -> None:
    """The error names the variable."""
    token = user.set(threading.Lock())
    view = pool.options(context=[request, user])
    told = "(task|map).*(: | )context variable 'user' cannot go to a worker: TypeError"
    for task in (view.submit(seen), view.submit(lambda: [user.get()])):
        with pytest.raises(NotPicklable, match=told) as caught:
            task.result(DEADLINE)
        assert caught.value.part == "context"
        assert "Wrapped" not in str(caught.value)
    with pytest.raises(NotPicklable, match=told):
        list(view.map(lambda _: user.get(), [1]))
    user.reset(token)


@pytest.mark.needs("pickles")
def test_true_leaves_out_what_cannot_be_unpickled(pool: Pool) -> None:
    """Whatever its unpickling raises, the task runs with what the worker has."""
    for kind in (Unread, Leaves):
        token = user.set(kind())
        assert pool.options(context=True).submit(seen).result(DEADLINE) == ("r1", "nobody")
        with pytest.raises(NotPicklable, match=r"user arrived but cannot be set"):
            pool.options(context=[user]).submit(seen).result(DEADLINE)
        user.reset(token)


@pytest.mark.needs("pickles")
def test_a_function_may_read_variables_that_have_a_name(pool: Pool) -> None:
    """Also one that travels by value, or a method of one; a variable without a name is named in the error."""
    view = pool.options(context=True)
    assert view.submit(lambda: [request.get()]).result(DEADLINE) == ["r1"]
    assert view.submit(request.get).result(DEADLINE) == "r1"
    nameless: ContextVar[int] = ContextVar("nameless", default=1)
    with pytest.raises(
        NotPicklable, match=r"function.*'nameless' cannot go to a worker: it is no"
    ) as caught:
        pool.submit(lambda: [nameless.get()]).result(DEADLINE)
    assert caught.value.part == "function"


@pytest.mark.needs("pickles")
def test_a_program_without_a_file_has_variables_too(kind: Kind) -> None:
    """Its workers cannot import it: function and context mean the same variable there, default included."""
    told = printed_by(
        kind,
        """
        from contextvars import ContextVar

        request = ContextVar("request", default="none")
        bare = ContextVar("bare")

        def seen(_=None):
            return request.get(), bare.get("nothing")

        if __name__ == "__main__":
            with Pool(1, backend=BACKEND) as pool:
                request.set("r1")
                bare.set("b1")
                listed = pool.options(context=[request])
                for view in (pool, listed, pool.options(context=True)):
                    print(view.submit(seen).result(), *view.map(lambda _: seen(), [1]))
        """,
    )
    assert told == [
        "('none', 'nothing') ('none', 'nothing')",
        "('r1', 'nothing') ('r1', 'nothing')",
        "('r1', 'b1') ('r1', 'b1')",
    ]


@pytest.mark.needs("pickles")
def test_a_cell_may_be_run_again(kind: Kind) -> None:
    """A variable that is made again is the new one in tasks, though the context still has the old ones."""
    told = printed_by(
        kind,
        """
        from contextvars import ContextVar

        if __name__ == "__main__":
            with Pool(1, backend=BACKEND, context=True) as pool:
                for n in range(8):
                    request = ContextVar("request")
                    request.set(n)
                    print(pool.submit(lambda: request.get()).result())
        """,
    )
    assert told == [str(n) for n in range(8)]


@pytest.mark.needs("pickles")
def test_a_variable_that_its_worker_lacks_comes_back(kind: Kind) -> None:
    """As a result, and in the error that it has no value; and it goes on to a pool of the worker's."""
    told = printed_by(
        kind,
        """
        from contextvars import ContextVar

        if __name__ == "__main__":
            request = ContextVar("request")

            def onwards():
                with Pool(1, backend="process") as inner:
                    return inner.submit(lambda: request.get("unset")).result()

            with Pool(1, backend=BACKEND) as pool:
                print(pool.submit(lambda: request).result() is request)
                error = pool.submit(lambda: request.get()).exception()
                print(type(error).__name__, error.args[0] is request)
                print(pool.submit(onwards).result())
        """,
    )
    assert told == ["True", "LookupError True", "unset"]


@pytest.mark.needs("pickles")
def test_a_listed_variable_without_a_name_is_an_error(pool: Pool) -> None:
    """One that no module has cannot be found on the other side."""
    nameless: ContextVar[int] = ContextVar("nameless")
    context = copy_context()
    context.run(nameless.set, 1)
    view = pool.options(context=[nameless])
    task = context.run(view.submit, seen)
    with pytest.raises(NotPicklable, match="'nameless' cannot go to a worker: it is no global"):
        task.result(DEADLINE)


SCRIPT = """
from contextvars import ContextVar
from workpool import Pool

request = ContextVar("request", default="none")

def seen():
    return request.get()

if __name__ == "__main__":
    late = ContextVar("late")
    request.set("of the script")
    late.set("of its guard")
    with Pool(1, backend="process", context=[request, late]) as pool:
        print(pool.submit(seen).result())
        print(pool.submit(lambda: (request.get(), late.get())).result())
"""


@pytest.mark.needs("pickles")
def test_variables_of_a_script_reach_its_tasks(pool: Pool, tmp_path: Path) -> None:
    """A variable of __main__ is found there in a worker."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "of the script\n('of the script', 'of its guard')\n"


@pytest.mark.parametrize("wrong", [1, "request", ["request"], [1]])
def test_what_is_no_context_is_refused(pool: Pool, wrong: Any) -> None:
    """True, False, or a list of variables."""
    with pytest.raises(TypeError, match="context is"):
        pool.options(context=wrong)


def test_a_journal_does_not_know_the_context(pool: Pool, tmp_path: Path) -> None:
    """A map call that goes on in another context has its kept results, and runs the rest in that one."""
    journal = tmp_path / "run.sqlite"
    assert (
        list(pool.options(context=True).map(seen, range(3), journal=journal)) == [("r1", "ann")] * 3
    )
    token = request.set("r2")
    again = list(pool.options(context=True).map(seen, iter(range(5)), journal=journal))
    request.reset(token)
    assert again == [("r1", "ann")] * 3 + [("r2", "ann")] * 2


# ---------------------------------------------------------------------- OpenTelemetry


def child_span() -> tuple[int, int]:
    """Make a span in the worker, with a tracer of its own; tell its trace and its parent."""
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    with TracerProvider().get_tracer("worker").start_as_current_span("child") as span:
        assert isinstance(span, ReadableSpan)
        parent = span.parent
        return span.get_span_context().trace_id, 0 if parent is None else parent.span_id


def child_span_of_item(_: int) -> tuple[int, int]:
    return child_span()


@pytest.mark.parametrize("context", [True, ["opentelemetry"]])
def test_spans_of_tasks_belong_to_the_trace_of_the_caller(pool: Pool, context: Any) -> None:
    """A span made in a worker is a child of the caller's current span, by the real OpenTelemetry SDK."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    view = pool.options(context=context)
    with trace.TracerProvider().get_tracer("caller").start_as_current_span("parent") as parent:
        mine = parent.get_span_context()
        task = view.submit(child_span)
        results = view.map(child_span_of_item, range(3))
    assert task.result(DEADLINE) == (mine.trace_id, mine.span_id)
    assert list(results) == [(mine.trace_id, mine.span_id)] * 3
    assert view.submit(child_span).result(DEADLINE)[1] == 0
