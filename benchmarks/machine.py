"""What the machine is, and what it can do: the best rates measured here and now."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels


def describe() -> dict[str, Any]:
    """The machine and the software, for the record."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines()
                 if line.startswith("model name")]
        model = names[0] if names else model
    return {"cpu": model, "cpus": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), "numpy": np.__version__,
            "minidl": md.__version__, "isa": kernels.isa, "date": time.strftime("%Y-%m-%d")}


def best(run: Any, seconds: float = 1.0) -> float:
    """The shortest time of a call."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of NumPy's sgemm (1024^3) and of ours, GB/s of copying 256 MiB, by all threads."""
    md.set_num_threads(threads)
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    flops = 2 * 1024**3
    source = np.zeros(2**26, np.float32)
    target = np.empty_like(source)
    target[:] = 0

    def copy() -> None:
        step = len(source) // threads
        workers = [threading.Thread(target=np.copyto, args=(target[k * step:(k + 1) * step],
                                                            source[k * step:(k + 1) * step]))
                   for k in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return {"numpy sgemm GFLOP/s": flops / best(lambda: a @ a) / 1e9,
            "native sgemm GFLOP/s": flops / best(lambda: kernels.matmul(a, a)) / 1e9,
            "copy GB/s": 2 * source.nbytes / best(copy) / 1e9}
