"""Measure the peak rates of the machine with the kernels in use, once for each backend and number
of threads."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..locks import lock
from .switch import recorders

SECONDS = 0.2  # duration of each of the two measurements
SIDE = 512  # side of the matrices, which fit into a cache
VALUES = 1 << 23  # values of each of the sum's three arrays: 32 MB, which fit into no cache


class Peaks(NamedTuple):
    """The best rates that were measured with a number of threads.

    gflops:  10^9 floating point operations per second, in a product of float32 matrices
    gbytes:  10^9 bytes read and written per second, in a sum of two arrays larger than the caches
    threads: the number of threads

    Kernels can exceed `gbytes` on arrays that fit into a cache, and `gflops` in convolutions by
    Winograd's algorithm, which needs less arithmetic than is counted.
    """

    gflops: float
    gbytes: float
    threads: int


_known: dict[tuple[str, int], Peaks] = {}  # by backend and number of threads
_lock = lock()  # two simultaneous measurements would slow each other down


def peaks() -> Peaks:
    """Return the peaks of the backend in use for its number of threads. The first call takes half a
    second."""
    threads = kernels.get_num_threads()
    key = kernels.backend(), threads
    with _lock:
        if key not in _known:
            recorder = recorders.get(get_ident())
            if recorder is not None:
                recorder.paused = True
            try:
                _known[key] = Peaks(_product(), _stream(), threads)
            finally:
                if recorder is not None:
                    recorder.paused = False
        return _known[key]


def _product() -> float:
    a = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    out = np.empty_like(a)
    return 2 * SIDE**3 / _best(lambda: kernels.matmul(a, a, out=out)) / 1e9


def _stream() -> float:
    a, b, out = (np.full(VALUES, k, np.float32) for k in range(3))
    return 3 * a.nbytes / _best(lambda: kernels.add(a, b, out=out)) / 1e9


def _best(run: Callable[[], Any]) -> float:
    """Return the shortest time of at least ten calls."""
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) < 10 or perf_counter() < end:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)
