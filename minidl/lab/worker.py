"""One seed of one experiment, in a process of its own: `python -m minidl.lab.worker E18 0 DIR`.

What it measures is written to the seed's file. An error, and a crash, end this process alone.

A runner holds the other end of a pipe that is this process's stdin. Whatever ends the runner,
SIGKILL too, closes it, and the worker, which has nobody left to work for, ends at once. (A system
would tell it by a signal, but only Linux has one for that.)
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from .. import machine
from ..random import manual_seed
from ..version import __version__
from . import store
from .registry import chosen

QUICK, UNTIL_EOF = "quick", "until-eof"  # words after the folder


def main(id: str, seed: int, folder: str, quick: bool) -> None:
    """Run a seed and write its file."""
    (experiment,) = chosen([id])
    settings = experiment.settings(quick)
    manual_seed(seed)
    start = time.perf_counter()
    result = experiment.run(seed, settings)
    store.write(
        store.seed_path(folder, experiment.id, seed),
        {
            "id": experiment.id,
            "seed": seed,
            "settings": settings,
            "seconds": round(time.perf_counter() - start, 2),
            "minidl": __version__,
            "machine": machine.facts(),
            "result": result,
        },
    )


def end_with_stdin() -> None:
    """From now on this process ends at once when its stdin does."""

    def wait() -> None:
        # By its number: at its end Python waits for threads that read from sys.stdin.
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    if UNTIL_EOF in sys.argv[4:]:
        end_with_stdin()
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], QUICK in sys.argv[4:])
