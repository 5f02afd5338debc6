"""This module describes the machine and measures the best rates that it reaches here and now."""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels, machine


def describe(**others: Any) -> dict[str, Any]:
    """Return a record of the machine and the software. `others` is what another side reports of
    itself.
    """
    return {
        "cpu": machine.cpu(),
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()),
        **machine.versions(),
        "isa": kernels.isa,
        "date": time.strftime("%Y-%m-%d"),
        **others,
    }


def best(run: Callable[[], Any], seconds: float = 1.0) -> float:
    """Return the shortest time of a call."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def on_threads(threads: int, run: Callable[[int], Any]) -> None:
    """Call run(0) ... run(threads - 1) at the same time. Each call should release the GIL."""
    workers = [threading.Thread(target=run, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def sgemm_peaks(threads: int) -> dict[str, float]:
    """Return the GFLOP/s of NumPy's sgemm and of ours (1024^3)."""
    md.set_num_threads(threads)
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    flops = 2 * 1024**3
    return {
        "numpy sgemm GFLOP/s": flops / best(lambda: a @ a) / 1e9,
        "native sgemm GFLOP/s": flops / best(lambda: kernels.matmul(a, a)) / 1e9,
    }


def copy_rate(threads: int, size: int) -> float:
    """Return the GB/s, read and written, of copying `size` bytes with all threads."""
    source = np.zeros(size, np.uint8)
    target = np.ones_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    repeats = max(1, 2**27 // size)  # threads start slowly, so one copy may be too short to measure

    def copy(k: int) -> None:
        for _ in range(repeats):
            np.copyto(*parts[k])

    return 2 * size * repeats / best(lambda: on_threads(threads, copy)) / 1e9


def copy_peaks(threads: int) -> dict[str, float]:
    """Return the rates of a copy in memory, and of one whose arrays the caches may hold, as those
    of a layer.
    """
    return {"copy GB/s": copy_rate(threads, 2**28), "copy 8 MiB GB/s": copy_rate(threads, 2**23)}


def compiled_library(source: Path, folder: Path) -> ctypes.CDLL:
    """Compile a C source for this very CPU, and load it. Raises RuntimeError without a C
    compiler.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    library = folder / f"{source.stem}.so"
    try:
        subprocess.run(
            [
                compiler,
                "-O3",
                "-march=native",
                "-shared",
                "-fPIC",
                "-ffp-contract=fast",
                str(source),
                "-o",
                str(library),
            ],
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"{source.name} could not be compiled: {error}") from error
    return ctypes.CDLL(str(library))


def fma_peak(threads: int) -> dict[str, float]:
    """Return the most that the arithmetic units can do in float32, with all threads.

    fma.c measures it: independent multiply-adds on registers that do not touch memory, compiled for
    this very CPU. No kernel can be faster, except one like Winograd that does less arithmetic than
    the textbook formula by which it is counted. Raises RuntimeError without a C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = compiled_library(Path(__file__).with_name("fma.c"), Path(folder)).fma_rounds
    run.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_void_p]
    rounds = 10**6  # takes some milliseconds
    flops = threads * rounds * run(1, 0.999, ctypes.byref(ctypes.c_float()))
    seconds = best(
        lambda: on_threads(threads, lambda k: run(rounds, 0.999, ctypes.byref(ctypes.c_float())))
    )
    return {"FMA GFLOP/s": flops / seconds / 1e9}
