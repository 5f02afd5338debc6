"""One seed of one experiment, in a process of its own: `python -m minidl.lab.worker E18 0 DIR`.

What it measures is written to the seed's file. An error, and a crash, end this process alone.
"""

from __future__ import annotations

import sys
import time

from .. import machine
from ..random import manual_seed
from ..version import __version__
from . import store
from .registry import chosen


def main(id: str, seed: int, folder: str, quick: bool) -> None:
    """Run a seed and write its file."""
    experiment, = chosen([id])
    settings = experiment.settings(quick)
    manual_seed(seed)
    start = time.perf_counter()
    result = experiment.run(seed, settings)
    store.write(store.seed_path(folder, experiment.id, seed), {
        "id": experiment.id, "seed": seed, "settings": settings,
        "seconds": round(time.perf_counter() - start, 2), "minidl": __version__,
        "machine": machine.facts(), "result": result})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], "quick" in sys.argv[4:])
