"""``python -m benchmarks.faults``: make each fault happen to each library, and print the table of what was seen."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from benchmarks.apart import run_apart
from benchmarks.faults.faults import FAULTS
from benchmarks.faults.pools import POOLS, PoolUnderTest
from benchmarks.faults.shortages import end_group

LIMIT = 20.0  # seconds: who has not come back by then hangs
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


def main() -> None:
    """Try, print, write."""
    asked = arguments()
    # Who starts this in the background may have had it ignore Ctrl-C, and so all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    libraries = [pool for pool in POOLS if not asked.library or pool.name in asked.library]
    faults = [fault for fault in FAULTS if not asked.fault or fault in asked.fault]
    for absent in [pool for pool in libraries if not pool.installed()]:
        print(f"{absent.name} is not installed", file=sys.stderr)
        libraries.remove(absent)
    rows: list[list[str]] = []
    for fault in faults:
        said = [trial(fault, pool) for pool in libraries]
        rows.append([FAULTS[fault][0], *said])
    text = "\n".join(table(["fault", *map(title, libraries)], rows))
    if asked.page:
        page = Path(asked.page)
        old = page.read_text(encoding="utf-8")
        before, _, rest = old.partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("-l", "--library", action="append", metavar="NAME", help="only this one")
    parser.add_argument("-f", "--fault", action="append", choices=FAULTS, help="only this one")
    parser.add_argument("--page", help="write the table into this page, between its marks")
    return parser.parse_args()


def trial(fault: str, pool: type[PoolUnderTest]) -> str:
    """Try once, in a process and session of its own; say what was seen."""
    began = monotonic()
    ended = run_apart("-m", "benchmarks.faults.trial", fault, pool.__name__, seconds=LIMIT)
    end_group()
    lines, complaint = ended.out.splitlines(), ended.errors.splitlines()
    if ended.code is None:
        said = "**hangs**"
    elif lines and not ended.code:
        said = lines[-1]
    else:
        said = f"the program ends (exit code {ended.code})"
    print(
        f"{fault:15} {pool.name:22} {monotonic() - began:5.1f} s  {said}"
        + (f"  <- {complaint[-1][:100]}" if ended.code and complaint else ""),
        file=sys.stderr,
        flush=True,
    )
    return said


def title(pool: type[PoolUnderTest]) -> str:
    """Give its name and version."""
    if not pool.package:
        return f"{pool.name} {sys.version_info[0]}.{sys.version_info[1]}"
    return pool.name if pool.name == "workpool" else f"{pool.name} {version(pool.package)}"


def table(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Make a table of Markdown."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    main()
