"""What the machine can do, as far as the kernels in use show it: measured once for each backend and
number of threads."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..locks import lock
from .switch import recorders

SECONDS = 0.2  # of each of the two measurements
SIDE = 512  # of the matrices, which a cache holds
VALUES = 1 << 23  # of each of the three arrays that a sum streams through, 32 MB: none does


class Peaks(NamedTuple):
    """The best rates that were measured with a number of threads.

    `gflops`: 10^9 floating point operations a second, of a product of float32 matrices. `gbytes`:
    10^9 bytes a second read and written, of a sum of two arrays that no cache holds. Arrays that a
    cache holds may go faster, and so may convolutions by an algorithm with less arithmetic.
    """

    gflops: float
    gbytes: float
    threads: int


_known: dict[tuple[str, int], Peaks] = {}  # by backend and number of threads
_lock = lock()  # threads that measured at the same time would share the machine


def peaks() -> Peaks:
    """The peaks of the backend in use, for the number of threads that its kernels use at most; half
    a second the first time."""
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
    """The shortest time of a call, of ten at least."""
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) < 10 or perf_counter() < end:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)
