"""Settings of the process: threads, memory kept for reuse, and what is installed."""

from __future__ import annotations

import os

from . import checks, cpus, kernels, machine
from .cpus import MAX_THREADS, default_threads


def set_num_threads(n: int) -> None:
    """Use up to `n` threads (1 to 1024) in kernels, however many CPUs there are.

    Fewer threads run where other processes use the CPUs, because threads that wait for a thread
    without a CPU are slower than a single thread. Results do not depend on the number. TypeError
    unless n is an integer, ValueError unless it is in the range.

    >>> before = md.get_num_threads()
    >>> md.set_num_threads(2)
    >>> md.get_num_threads()
    2
    >>> md.set_num_threads(before)
    """
    kernels.set_num_threads(checks.integer(n, "set_num_threads", "n", 1, MAX_THREADS))
    cpus.threads_were_set = True


def get_num_threads() -> int:
    """The number of threads that kernels use at most.

    Until `set_num_threads` is called, it is `OMP_NUM_THREADS` if that is 1 to 1024 (another value
    gets a RuntimeWarning), else the number of CPUs that this process may use: its affinity, also
    where OpenMP binds threads, limited by the quotas of its control groups. In a forked child it is
    1, because GNU OpenMP's threads do not survive a fork.

    >>> md.get_num_threads() >= 1
    True
    """
    return kernels.get_num_threads()


_precision = "default"


def set_precision(precision: str) -> None:
    """Choose the fastest kernels ("default") or direct convolution everywhere ("high").

    By default Winograd's algorithm (Lavin & Gray 2016) computes 3x3 convolutions of many channels,
    with errors of at most 1e-5 of the largest value of a result; a value that is not finite may
    spread over its tile of 4x4 outputs. "high" takes two to three times as long on such layers; its
    sums are rounded like any other sum, and a NaN reaches only the outputs whose windows hold it.
    The choice holds for all convolutions that are called afterwards in this process, and for their
    gradients. ValueError for another name.

    >>> md.set_precision("high")
    >>> md.set_precision("default")
    """
    global _precision
    _precision = checks.choice(precision, "set_precision", "precision", ("default", "high"))


def get_precision() -> str:
    """The precision set by `set_precision`."""
    return _precision


def empty_cache() -> None:
    """Return to the system the memory that is kept for the next step. Arrays in use stay.

    >>> md.empty_cache()
    """
    kernels.empty_cache()


def show_versions() -> None:
    """Print what a bug report needs: versions, the CPU and memory, and what runs here and why.

    `level` is the instruction-set level of the kernels, why it is used, and which levels are built
    and supported; `openmp` is the file of the OpenMP runtime in use, with any others in the
    process; `threads` is the number of threads and where it comes from. Lines that begin with
    `faster` say what would make kernels faster.

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
