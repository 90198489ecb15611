"""The demo's job on each backend in turn, side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from workpool.backends.base import BACKENDS
from workpool.commands.demo.job import examine_tree
from workpool.commands.demo.totals import human_size
from workpool.commands.streams import say
from workpool.errors import Unsupported
from workpool.pool import Pool

if TYPE_CHECKING:
    from workpool.backends.base import BackendName
    from workpool.commands.demo.totals import Totals

__all__ = ["compare"]


def compare(root: str, workers: int | None, *, skip: frozenset[str]) -> list[Totals]:
    """Do the job on each backend, and print a line about each.

    Parameters
    ----------
    root : str
        The tree, as an absolute path.
    workers : int or None
        How many; ``None`` is what suits each backend.
    skip : frozenset of str
        Paths to leave out.

    Returns
    -------
    list of Totals
        What each found; Ctrl-C makes the last one incomplete, and the list short.
    """
    # What is read for the first time comes from the disk: that is nobody's merit or fault.
    warm_up = examine_tree(Pool(workers), root, skip=skip, progress=sys.stderr)
    if warm_up.stopped:
        return [warm_up]
    say(f"{warm_up.files:,} files, {human_size(warm_up.size)}, read once before")
    say(f"{'pool':<26} {'seconds':>8} {'files/s':>9} {'data/s':>9}  times inline")
    done: list[Totals] = []
    # One at a time comes first, for the others to be measured against.
    for name in sorted(BACKENDS, key=lambda name: name != "inline"):
        try:
            pool = Pool(workers, backend=cast("BackendName", name))
        except Unsupported as error:  # a package that is not installed, say
            print(f"Pool({name!r}) is left out: {error}", file=sys.stderr)
            continue
        totals = examine_tree(pool, root, skip=skip, progress=sys.stderr)
        done.append(totals)
        if totals.stopped:
            return done
        seconds = max(totals.seconds, 1e-9)
        say(
            f"{f'Pool({pool.max_workers}, {pool.backend!r})':<26} {seconds:>8.2f} {totals.files / seconds:>9,.0f} "
            f"{human_size(totals.size / seconds):>9}  {done[0].seconds / seconds:.2f}"
        )
    if len({totals.fingerprint for totals in done}) == 1:
        say(f"All found the same: fingerprint {done[0].fingerprint}")
    else:
        say("Not all found the same: files were changed meanwhile, or could not be read.")
    return done
