"""Which kernels run here, on how many threads, why, and what would make them faster.

`md.show_versions` and `minidl info` print it. `machine.facts` lists what the machine has; this
module says what follows from that.
"""

from __future__ import annotations

from . import cpus, kernels
from .cpus import available_cpus, threads_from_environment


def reasons() -> dict[str, str]:
    """What runs and why, by "level" and the names "openmp" and "threads" of `machine.facts`."""
    return {"level": level(), "openmp": openmp(), "threads": thread_count()}


def level() -> str:
    """The instruction-set level in use, and why it is this one."""
    built, runs = ", ".join(kernels.built), ", ".join(kernels.supported)
    why = (
        f"MINIDL_ISA={kernels.asked_isa} asks for it"
        if kernels.asked_isa
        else "the best that is built and that this CPU runs"
    )
    debug = ", a debug build" if kernels.debug else ""
    return f"{kernels.isa}, {why} (built: {built}{debug}; this CPU runs: {runs})"


def openmp() -> str:
    """The file of the OpenMP runtime that the kernels use, and others in this process."""
    if not kernels.openmp:
        return "no: kernels run on one thread"
    own = kernels.library_at(kernels.openmp_address())
    others = sorted(kernels.openmp_libraries() - {own})
    return (own or "yes") + (f" (also loaded: {', '.join(others)})" if others else "")


def thread_count() -> str:
    """The number of threads, and where it comes from."""
    n = kernels.get_num_threads()
    if kernels.forked():
        return "1, since this process is a forked child, where OpenMP's threads are gone"
    if cpus.threads_were_set:
        return f"{n}, as set_num_threads was told"
    if n == threads_from_environment():
        return f"{n}, as OMP_NUM_THREADS says"
    return f"{n}, one for each CPU that this process may use"


def advice() -> list[str]:
    """Sentences that say what would make kernels faster here; empty if nothing known would."""
    found = [*_of_the_build(), *_of_the_threads()]
    if kernels.backend() != "native":
        found.append('the NumPy twins run: leave use_backend("numpy")')
    return found


def _of_the_build() -> list[str]:
    found = []
    best = kernels.supported[-1]
    if best not in kernels.built:
        found.append(
            f"this CPU runs {best}, which is not built: build it in the project's folder "
            f"with MINIDL_BUILD_ISA=native, or install a wheel of `make wheel`"
        )
    elif kernels.isa != best:
        found.append(f"this CPU runs {best}, which is built: unset MINIDL_ISA")
    if kernels.debug:
        found.append("this is a debug build, which checks every index: build without MINIDL_DEBUG")
    return found


def _of_the_threads() -> list[str]:
    if not kernels.openmp:
        return [
            "the kernels were built without OpenMP: build them with GCC, or with Clang and libomp"
        ]
    n, available, found = kernels.get_num_threads(), available_cpus(), []
    if kernels.forked():
        return ["in a child that was started anew (spawn, forkserver) kernels use all threads"]
    if n < available:
        remedy = (
            "raise or unset OMP_NUM_THREADS"
            if n == threads_from_environment() and not cpus.threads_were_set
            else "raise set_num_threads"
        )
        found.append(f"kernels use {n} of the {available} CPUs that this process may use: {remedy}")
    if n > available:
        found.append(f"{n} threads share {available} CPUs: set_num_threads({available})")
    running = kernels.thread_count()
    if running < min(n, available):
        found.append(f"other processes use the CPUs: kernels run on {running} of {n} threads now")
    return found
