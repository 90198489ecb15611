"""Pickles of calls, items, results and errors; who is to blame when there is none, ``blaming.py`` finds out.

Plain pickle first, because it is fast; cloudpickle where pickle cannot, and for
what is defined in a ``__main__`` that a worker cannot import. Each pickle belongs
to one task, so a failure does too, and names the part at fault.

What only a failure needs (`errors`, ``traceback``) is loaded when there is one: a
worker that is an interpreter loads all of its modules anew.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.ipc import mainmodule
from workpool.ipc.made_twice import is_made_twice
from workpool.traces import set_args, set_cause, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = [
    "ALWAYS_PICKLES",
    "A_PROCESS",
    "NO_ARGUMENTS",
    "WHOLE",
    "Apart",
    "dump_call",
    "dump_error",
    "dump_item",
    "dump_result",
    "dump_whole",
    "dumps",
    "load_error",
    "load_error_or_stand_in",
    "loads",
    "main_is_importable",
    "mentions_main",
    "put_apart",
    "reusable",
]

PROTOCOL = 5
A_PROCESS = "a process"  # what a worker is, for messages
home = A_PROCESS  # what this worker is, where this is one
_LONGEST_TRACEBACK = 100_000  # characters
# Pickled and unpickled without running any code.
PLAIN = frozenset({int, float, bool, str, bytes, type(None), complex})
# Of these nothing can go wrong, and there is nothing to be laid apart or looked for.
ALWAYS_PICKLES = frozenset({int, float, bool, type(None)})

loads = pickle.loads
_APART = 1 << 18  # bytes: larger buffers do not go into the pickle, where asked for
NO_ARGUMENTS = pickle.dumps(((), {}), PROTOCOL)
_A_STATE = 2_000  # bytes: that of a generator of random numbers takes more
_MOST_BY_NAME = 256
# Pickles of functions that are found by name, by their identity. One step each to read and
# to store, and a weak reference tells a function from another that came to lie at its place.
_by_name: dict[int, tuple[Any, bytes]] = {}


def dumps(
    value: Any,
    *,
    by_value: bool = False,
    buffers: list[memoryview] | None = None,
    whole: bool = False,
) -> bytes:
    """Pickle a value, by cloudpickle where pickle cannot; raises what the last try raised.

    Large buffers of it (protocol 5) are added to ``buffers``, where that is given. With ``whole``, what goes by value
    takes along all that it needs: over there is another program.
    """
    apart = None if buffers is None else partial(put_apart, buffers)
    if not by_value:
        try:
            if "multiprocessing.connection" in sys.modules:
                # Plain pickle would take a connection's number along, which is another file over there.
                into = io.BytesIO()
                forking: Any = sys.modules["multiprocessing.reduction"].ForkingPickler
                forking(into, PROTOCOL, True, apart).dump(value)  # which takes nothing by name
                data = into.getvalue()
            else:
                data = pickle.dumps(value, PROTOCOL, buffer_callback=apart)
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            # Else cloudpickle's error says more, or it succeeds.
            if _is_ours(error) or _was_sent(error):
                raise
        else:
            # Not by "in": for bytes that costs ten times as much, for it tries a number first.
            if data.find(b"__main__") < 0 or main_is_importable():
                return data
    from workpool.ipc.by_value import dump_by_value

    try:
        return dump_by_value(value, buffers, by_name=not by_value, whole=whole)
    except pickle.PicklingError as error:
        if isinstance(error.__cause__, RecursionError):
            raise error.__cause__ from None  # cloudpickle has another name for it
        raise


def dump_whole(
    value: Any, *, by_value: bool = False, buffers: list[memoryview] | None = None
) -> bytes:
    """Pickle a value for another machine, whose workers have a ``__main__`` of their own."""
    data = dumps(value, by_value=by_value, buffers=buffers, whole=True)
    if not by_value and mentions_main(data):
        data = dumps(value, by_value=True, buffers=buffers, whole=True)
    return data


def _is_ours(error: Exception) -> bool:
    """Tell whether a thing of ours says that it cannot travel, and what to do instead."""
    errors = sys.modules.get("workpool.errors")  # loaded by whoever raises one
    return errors is not None and isinstance(error, errors.NotPicklable)


def _was_sent(error: BaseException) -> bool:
    """Tell whether an error, just caught, is none of the value."""
    from workpool.ipc.strikes import sent

    return sent(error)


def put_apart(buffers: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Take a large buffer out of a pickle; True for one that belongs into it."""
    try:
        raw = buffer.raw()
    except BufferError:  # it does not lie in one piece
        return True
    if raw.nbytes < _APART:
        return True
    buffers.append(raw)
    return False


def mentions_main(data: object) -> bool:
    """Tell whether a pickle refers to something of ``__main__`` by name; a large payload's is not looked at."""
    return isinstance(data, (bytes, bytearray)) and data.find(b"__main__") >= 0


def dump_call(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    task: str,
    *,
    by_value: bool = False,
    dump: Callable[..., Any] = dumps,
    to: str = A_PROCESS,
) -> tuple[Any, Any]:
    """Pickle a call, by ``dump``, as function and ``(args, kwargs)``; NotPicklable names the part at fault."""
    function = None if by_value else _by_name.get(id(fn))
    if function is None or function[0]() is not fn:
        try:
            data = _dump_function(fn, dump, by_value=by_value)
        except BaseException as error:
            if _was_sent(error):
                raise
            from workpool.ipc.blaming import blame

            raise blame(task, "function", fn, "", error, to) from error
        if not by_value and reusable(fn, data):
            if len(_by_name) >= _MOST_BY_NAME:
                _by_name.clear()
            _by_name[id(fn)] = weakref.ref(fn), data
    else:
        data = function[1]
    if not args and not kwargs:
        return data, NO_ARGUMENTS
    if not kwargs and ALWAYS_PICKLES.issuperset(map(type, args)):
        return data, pickle.dumps((args, kwargs), PROTOCOL)
    try:
        return data, dump((args, kwargs), by_value=by_value)
    except BaseException as error:
        if _was_sent(error):
            raise
        from workpool.ipc.blaming import blame, can_pickle, parameter

        labelled = [(parameter(fn, at), value) for at, value in enumerate(args)]
        labelled += [(repr(name), value) for name, value in kwargs.items()]
        for label, value in labelled:
            if not can_pickle(value):
                raise blame(task, "argument", value, label, error, to) from error
        raise blame(task, "argument", args, "", error, to) from error


def _dump_function(fn: Callable[..., Any], dump: Callable[..., Any], *, by_value: bool) -> Any:
    data = dump(fn, by_value=by_value)
    if not by_value and _copies_a_generator(data):
        return dump(fn, by_value=True)  # which leaves those behind that a module has
    return data


def _copies_a_generator(data: Any) -> bool:
    """Tell whether a generator of random numbers is in a pickle, with its state: each task would draw the same."""
    if data.__class__ is not bytes or len(data) < _A_STATE:
        return False
    return data.find(b"Random\x94\x93") >= 0 or data.find(b"__randomstate_ctor") >= 0


def dump_item(
    item: Any,
    task: str,
    *,
    by_value: bool = False,
    dump: Callable[..., Any] = dumps,
    to: str = A_PROCESS,
) -> Any:
    """Pickle one item of a map call, by ``dump``."""
    try:
        return dump(item, by_value=by_value)
    except BaseException as error:
        # KeyboardInterrupt too: items are pickled by a driver, which Ctrl-C does not interrupt here.
        from workpool.ipc.blaming import blame

        raise blame(task, "argument", item, "", error, to) from error


def dump_result(
    value: Any, label: Callable[..., str], *about: object, dump: Callable[..., Any] = dumps
) -> Any:
    """Pickle a result, by ``dump``, in the worker, which Ctrl-C does not reach; ``label(*about)`` names the call."""
    if type(value) in ALWAYS_PICKLES:
        return pickle.dumps(value, PROTOCOL)
    try:
        return dump(value)
    except BaseException as error:
        from workpool.ipc.blaming import blame

        raise blame(label(*about), "result", value, "", error, home) from error


def reusable(fn: object, data: bytes) -> bool:
    """Tell whether a callable unpickled from ``data`` is the same at every unpickling: named, not copied."""
    if type(fn) is types.BuiltinFunctionType:  # or a method, which takes along what it is bound to
        named = isinstance(fn.__self__, types.ModuleType)
    else:
        named = type(fn) in (types.FunctionType, type)  # a metaclass may have ways of its own
    return named and b"cloudpickle" not in data


# ------------------------------------------------------------------------- errors


def dump_error(error: BaseException, task: str) -> bytes:
    """Pickle an error with its traceback as text; a stand-in when it cannot travel.

    It is unpickled here as a trial, where a failure harms nobody.
    """
    try:
        import traceback

        text = _shorten("".join(traceback.format_exception(type(error), error, trace_of(error))))
    except BaseException:  # user code of all kinds
        text = f"{type(error).__name__} (its traceback could not be formatted)"
    for whole in WHOLE:
        try:
            data = dumps(whole(error))
            if not is_made_twice(error, _an_error(pickle.loads(data))):
                return pickle.dumps(text, PROTOCOL) + data
        except BaseException:  # noqa: S112 - user code of all kinds; the next way is tried
            continue
    try:
        from workpool.ipc.stand_ins import dump_in_place_of
    except Exception:  # nothing can be loaded any more, maybe for what this very error says
        stand_in = RuntimeError(f"{task} raised what cannot be told: {text}")
        return pickle.dumps(text, PROTOCOL) + pickle.dumps(stand_in, PROTOCOL)
    return pickle.dumps(text, PROTOCOL) + dump_in_place_of(error, task)


def _an_error(loaded: object) -> BaseException:
    if isinstance(loaded, BaseException):
        return loaded
    message = f"{type(loaded).__name__} is no exception"
    raise TypeError(message)


def _shorten(text: str) -> str:
    """Leave out the middle of a text that is too long to travel."""
    if len(text) <= _LONGEST_TRACEBACK:
        return text
    half = _LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n... ({len(text)} characters) ...\n{text[-half:]}"


def load_error(data: Any) -> BaseException:
    """Unpickle an error; the worker's traceback is its cause, and that of what is raised where it cannot be."""
    from workpool.errors import WorkerTraceback

    pickles = io.BytesIO(data)
    trace = WorkerTraceback(pickle.load(pickles))
    try:
        error = _an_error(pickle.load(pickles))
    except BaseException as failure:
        set_cause(failure, trace)
        raise
    set_cause(error, trace)
    return error


def load_error_or_stand_in(data: Any) -> BaseException:
    """Unpickle an error that is no task's, and so has nobody to fail: a NotPicklable tells of one that cannot be."""
    try:
        return load_error(data)
    except BaseException as failure:
        from workpool.errors import NotPicklable, WorkerTraceback, brief

        text = loads(data)
        _, _, what = text.rstrip().rpartition("\n")
        stand_in = NotPicklable(
            f"{what} - which cannot be unpickled here ({brief(failure)}); its traceback is the cause",
            part="exception",
        )
        stand_in.__cause__ = WorkerTraceback(text)
        return stand_in


def _as_it_is(error: BaseException) -> Any:
    # Tracebacks cannot travel, and __cause__ is the text's place: pickle drops both by itself.
    return error


class Apart:
    """Pickles as a call of :func:`_rebuild`: for errors whose own ``__init__`` wants other arguments."""

    def __init__(
        self, kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
    ) -> None:
        self._parts = kind, args, state

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._parts


def _taken_apart(error: BaseException) -> Any:
    return Apart(type(error), error.args, dict(error.__dict__))


# Ways in which an error travels as what it is.
WHOLE: tuple[Callable[[BaseException], Any], ...] = (_as_it_is, _taken_apart)


def _rebuild(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = kind.__new__(kind, *args)
    set_args(error, args)
    error.__dict__.update(state)
    return error


def main_is_importable() -> bool:
    """Tell whether a worker can import this program's ``__main__`` (a script or ``-m``, not a notebook)."""
    main = sys.modules.get("__main__")
    if main is None:
        return False
    spec = getattr(main, "__spec__", None)
    if getattr(spec, "name", None) is not None:
        return not mainmodule.of_a_folder(spec) or mainmodule.under_a_guard(spec)
    path = getattr(main, "__file__", None)
    return path is not None and not str(path).startswith("<")
