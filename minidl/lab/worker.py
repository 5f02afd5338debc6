"""Runs one seed of one experiment in this process: `python -m minidl.lab.worker E18 0 DIR`.

The result is written to the seed's file. An error or a crash ends this process alone.

The stdin of this process is a pipe whose other end the runner holds. Whatever ends the runner, even
SIGKILL, closes the pipe, and then the worker ends at once, as nobody needs its result any more. (A
signal at the death of the parent process would be simpler, but only Linux has one.)
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

QUICK, UNTIL_EOF = "quick", "until-eof"  # optional arguments after the folder


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
    """Start a thread that ends this process as soon as its stdin is closed."""

    def wait() -> None:
        # Read from descriptor 0, because at exit Python waits for threads that read sys.stdin.
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    if UNTIL_EOF in sys.argv[4:]:
        end_with_stdin()
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], QUICK in sys.argv[4:])
