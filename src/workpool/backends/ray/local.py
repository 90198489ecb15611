"""A Ray on this machine for a pool that names none; see :mod:`workpool.backends.engine.local`."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any

from workpool.backends.engine.local import LocalEngine, folder_for, tell_address, wait_for_the_end

__all__ = ["LocalRay", "connect"]

AUTH_MODE = "RAY_AUTH_MODE"


class LocalRay(LocalEngine):
    """The process that has Ray, as seen from the program."""

    def __init__(self, workers: int, **settings: Any) -> None:
        self._keyless = False
        super().__init__(
            "a Ray",
            __name__,
            json.dumps({"num_cpus": workers, **settings}),
            RAY_USAGE_STATS_ENABLED="0",  # nobody asked for it to be told
        )

    def connect(self) -> None:
        """Connect the program to it."""
        self.address, _, mode = self.address.partition(" ")
        if mode and AUTH_MODE not in os.environ:
            # A Ray that a program starts for itself asks for a token since 2.56, and has the program
            # give one. Ours does, too; but that it is the program's own, Ray cannot know.
            self._keyless = True
            _set_mode(mode)
        connect(self.address)

    def close(self) -> None:
        """End it, and wait until it has."""
        super().close()
        if self._keyless and not import_module("ray").is_initialized():
            # Else it is the program's own by now, which has the mode of ours, and needs it.
            _set_mode(None)
        self._keyless = False


def connect(address: str) -> None:
    """Connect the program to a Ray, without a word."""
    ray: Any = import_module("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Ray about itself
        ray.init(address=address, logging_level=logging.ERROR)


def _set_mode(mode: str | None) -> None:
    """Have Ray show its token in this program, or not any more."""
    if mode is None:
        os.environ.pop(AUTH_MODE, None)
    else:
        os.environ[AUTH_MODE] = mode
    with suppress(Exception):  # in versions that know of no tokens
        import_module("ray._raylet").Config.initialize("")


def main(settings: str, descriptor: str) -> None:
    """Have a Ray until standard input ends; nothing of it stays on the disk."""
    ray: Any = import_module("ray")
    with folder_for("ray") as folder:
        context = ray.init(
            include_dashboard=False,
            log_to_driver=False,  # it is the program that shows what its tasks print
            logging_level=logging.ERROR,
            _temp_dir=folder,
            **json.loads(settings),
        )
        try:
            mode = os.environ.get(AUTH_MODE, "")  # Ray has decided
            tell_address(int(descriptor), f"{context.address_info['address']} {mode}")
            wait_for_the_end()
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
