"""Call a Python function for each line of the input, on all workers.

MODULE:FUNCTION names the function: a module of the current folder or of those installed,
or a file, as in ./file.py:function. It is given a line of text, with --jsonl the value of a
line, with --files a path. What it returns is written to stdout as a line of JSON, in the
order of the input. An item that fails is told on stderr, and the others go on.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TextIO, cast

from workpool.commands import streams
from workpool.commands.arguments import add_workers, one_or_more, path
from workpool.commands.map.output import Output
from workpool.commands.map.source import Source, unreadable
from workpool.commands.map.stdin import kept_for_items
from workpool.commands.map.target import CannotLoad, load
from workpool.commands.map.words import of_the_command, told
from workpool.commands.map.work import Work
from workpool.errors import WorkpoolError
from workpool.journal.settings import CommandJournal
from workpool.naming import function_name
from workpool.pool import Pool

if TYPE_CHECKING:
    import argparse

    from workpool.pool import Options

__all__ = ["add_arguments", "run"]

EPILOG = """\
exit status: 0 all went well, 1 some items failed, 2 the command line is wrong, 130 stopped by Ctrl-C.

  ls *.png | python -m workpool map --backend process imaging:shrink
  python -m workpool map --jsonl --input orders.jsonl --journal run.sqlite ./orders.py:price
  python -m workpool map os.path:getsize --unordered --files *.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The command's own.
    """
    parser.epilog = EPILOG
    parser.add_argument(
        "target", metavar="MODULE:FUNCTION", help="what to call, or ./FILE.py:FUNCTION"
    )
    taken = parser.add_argument_group("input")
    taken.add_argument(
        "--input", metavar="FILE", default="-", help="whose lines are the items (default: stdin)"
    )
    taken.add_argument(
        "--jsonl", action="store_true", help="lines are JSON; empty ones are skipped"
    )
    taken.add_argument("--files", metavar="PATH", nargs="+", help="the items are these paths")
    told = parser.add_argument_group("output")
    told.add_argument(
        "--repr", action="store_true", help="write what JSON cannot express as its repr, a string"
    )
    told.add_argument(
        "--with-input",
        action="store_true",
        help='write {"input": ..., "result": ...} for each item',
    )
    told.add_argument("--unordered", action="store_true", help="write results as they come")
    shown = told.add_mutually_exclusive_group()
    shown.add_argument(
        "--progress",
        action="store_true",
        default=None,
        help="show on stderr how far it is (default: if stderr is a terminal, and stdout is none)",
    )
    shown.add_argument("--no-progress", dest="progress", action="store_false", help="show nothing")
    how = parser.add_argument_group("work")
    add_workers(how)
    how.add_argument(
        "--retries", metavar="N", type=int, default=0, help="run what fails again, so often"
    )
    how.add_argument(
        "--time-limit", metavar="SECONDS", type=float, help="an item that runs longer fails"
    )
    how.add_argument(
        "--chunksize",
        metavar="N",
        type=one_or_more,
        help="items that travel together (default: measured)",
    )
    how.add_argument(
        "--journal",
        metavar="FILE",
        type=path,
        help="keep results there, and go on where an earlier run stopped",
    )
    how.add_argument(
        "--journal-version",
        metavar="TEXT",
        help="know the function by this instead of by its code",
    )


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do it.

    Parameters
    ----------
    arguments : argparse.Namespace
        The command line.
    parser : argparse.ArgumentParser
        Refuses what cannot be.

    Returns
    -------
    int
        0 when all items are done, 1 when some failed or the input broke off.
    """
    if arguments.files is not None and (arguments.jsonl or arguments.input != "-"):
        parser.error("--files gives the items by itself: leave out --input and --jsonl")
    if arguments.journal_version is not None and arguments.journal is None:
        parser.error("--journal-version says something about a journal: give --journal too")
    from_stdin = arguments.files is None and arguments.input == "-"
    if from_stdin and streams.is_closed(sys.stdin):
        parser.exit(
            2, f"{parser.prog}: error: stdin is closed: give the items by --input or --files\n"
        )
    # Around the import of the function, and the start of workers, too.
    with Output() as output, kept_for_items() if from_stdin else nullcontext() as stdin:
        return _run(arguments, parser, stdin, output)


def _run(
    arguments: argparse.Namespace,
    parser: argparse.ArgumentParser,
    stdin: TextIO | None,
    output: Output,
) -> int:
    try:
        fn = load(arguments.target)
        source = Source.of(arguments, stdin)
        pool = Pool(arguments.workers, backend=arguments.backend, name="map")
        options = pool.options(
            time_limit=arguments.time_limit,
            retries=arguments.retries,
            retry_on=BaseException,  # sys.exit too
            name=function_name(fn),
        )
    except (CannotLoad, OSError, ValueError, TypeError) as error:
        parser.error(
            unreadable(error) if isinstance(error, OSError) else of_the_command(str(error))
        )
    work = Work.of(fn, arguments)
    with source:
        try:
            with pool:
                failed, why = _map(options, work, source, output, arguments), None
        except (BrokenPipeError, streams.CannotWrite):
            pool.kill()  # nobody reads: what runs is not wanted any more
            raise
        except WorkpoolError as error:
            failed, why = True, of_the_command(str(error))
    if source.broken is not None:
        why = source.broken  # what a journal says of an input that ends too early is no news then
    if why is not None:
        streams.tell(f"error: {why}")
        return 1 if source.taken else 2
    return int(failed)


def _map(
    options: Options, work: Work, source: Source, output: Output, arguments: argparse.Namespace
) -> bool:
    """Write results and tell errors; True when an item has failed."""
    progress: bool | None = arguments.progress
    if progress is None:
        progress = sys.stderr.isatty() and not output.is_terminal
    how: dict[str, Any] = {
        "chunksize": arguments.chunksize,
        "ordered": not arguments.unordered,
        "progress": progress,
    }
    if arguments.journal is not None:
        how["journal"] = CommandJournal(
            arguments.journal,
            version=arguments.journal_version,
            function=work.function,
            options=work.options,
        )
    failed = False
    call: Any = work.call
    with options.map(call, source.items, return_exceptions=True, **how) as results:
        for result in results:
            position = results._position
            item = source.forget(position)
            # A function may call sys.exit, or raise what Ctrl-C raises: that is the item's affair. The real
            # one is not among the results, also where items run in this very thread: the map call raises it.
            if isinstance(result, BaseException):
                failed = True
                streams.tell(f"item {position + 1} ({item}): {told(result)}")
            else:
                output.write(cast("str", result))
    return failed
