"""Settings of the process: threads, memory kept for reuse, and what is installed."""

from __future__ import annotations

import os

from . import checks, cpus, kernels, machine
from .cpus import MAX_THREADS, default_threads


def set_num_threads(n: int) -> None:
    """Use up to `n` threads (1 to 1024) in kernels, however many CPUs there are.

    Where other processes use the CPUs, fewer run: threads that wait for one that has no CPU are
    slower than one alone. Results do not depend on the number. TypeError unless n is an integer,
    ValueError unless it is in the range.

    >>> before = md.get_num_threads()
    >>> md.set_num_threads(2)
    >>> md.get_num_threads()
    2
    >>> md.set_num_threads(before)
    """
    kernels.set_num_threads(checks.whole(n, "set_num_threads", "n", 1, MAX_THREADS))
    cpus.threads_were_set = True


def get_num_threads() -> int:
    """The number of threads that kernels use at most.

    At import: `OMP_NUM_THREADS` if it is 1 to 1024 (a RuntimeWarning for another value), else the
    CPUs that this process may use: its affinity, also where OpenMP binds threads, and the quotas of
    its control groups. After a fork, 1 in the child: GNU OpenMP's threads do not survive.

    >>> md.get_num_threads() >= 1
    True
    """
    return kernels.get_num_threads()


_precision = "default"


def set_precision(precision: str) -> None:
    """"default": the fastest kernels; "high": direct convolution everywhere.

    By default 3x3 convolutions of many channels go by Winograd's algorithm (Lavin & Gray 2016),
    with errors of at most 1e-5 of the largest value of a result; a value that is not finite may
    spread over its tile of 4x4 outputs. "high" costs two to three times the time on such layers;
    its sums are rounded like any other sum, and a NaN stays with the outputs that it belongs to. It
    holds for convolutions called from then on (their gradients too) in the whole process.
    ValueError for another name.

    >>> md.set_precision("high")
    >>> md.set_precision("default")
    """
    global _precision
    _precision = checks.choice(precision, "set_precision", "precision", ("default", "high"))


def get_precision() -> str:
    """The precision set by `set_precision`."""
    return _precision


def empty_cache() -> None:
    """Return the memory that is kept for the next step to the system. Arrays in use stay.

    >>> md.empty_cache()
    """
    kernels.empty_cache()


def show_versions() -> None:
    """Print what a bug report needs: versions, the CPU and memory, and what runs here and why.

    `level` is the instruction-set level of the kernels, why it is this one, and which are built
    and supported; `openmp` the file of the OpenMP runtime in use, and others in the process;
    `threads` their number and where it comes from. What would make kernels faster follows, in
    lines that begin with `faster`.

    >>> md.show_versions()  # doctest: +ELLIPSIS
    minidl    ...
    """
    from . import diagnosis

    for name, value in (machine.facts() | diagnosis.reasons()).items():
        print(f"{name:<9} {value}")
    for sentence in diagnosis.advice():
        print(f"{'faster':<9} {sentence}")


kernels.set_num_threads(default_threads())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=kernels.after_fork_in_child)
