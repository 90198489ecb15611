"""Tell what this machine gives a pool, try each backend, and say what to do about it.

CPUs that may be used, threads of Python and of BLAS, how processes start, memory and limits,
packages that are there, and a small real run on each backend. Ends with status 1 if something
is broken.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workpool.commands.doctor.advice import advise
from workpool.commands.doctor.facts import gather
from workpool.commands.doctor.report import lines_of
from workpool.commands.doctor.trial import try_all
from workpool.commands.streams import say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The command's own.
    """
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do it.

    Parameters
    ----------
    arguments : argparse.Namespace
        The command line.
    parser : argparse.ArgumentParser
        Not asked: there is nothing that cannot be.

    Returns
    -------
    int
        0 when all is well, 1 when something is broken.
    """
    del parser
    facts = gather()
    trials = try_all()
    broken = any(trial.broken for trial in trials)
    advice = advise(facts, trials)
    if arguments.json:
        whole = {
            **facts,
            "backends": {trial.backend: trial.as_facts() for trial in trials},
            "advice": advice,
            "broken": broken,
        }
        say(json.dumps(whole, indent=2))
    else:
        for line in lines_of(facts, trials, advice):
            say(line)
    return int(broken)
