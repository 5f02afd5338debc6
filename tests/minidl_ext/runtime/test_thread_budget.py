"""These tests check the number of threads that kernels run on, which falls where other processes
use the CPUs.

Each program runs in a process of its own and repeats its work until it sees what it waits for, or
fails after a long time. No test asserts how long anything takes.
"""

import textwrap
from pathlib import Path

import pytest

import minidl_ext
from minidl_ext.runtime import affinity
from tests.support.processes import printed

pytestmark = pytest.mark.skipif(
    not minidl_ext.OPENMP or not Path("/proc/self/schedstat").exists(),
    reason="needs OpenMP, and Linux's count of the time that threads wait for a CPU",
)

BEGIN = """
    import os, sys, threading, time
    import numpy as np
    from minidl_ext.elementwise import arithmetic as elementwise
    from minidl_ext.runtime import threads

    x = np.linspace(-1, 1, 200_000, dtype=np.float32)
    y = np.empty_like(x)
    gnu = any("libgomp" in line for line in open("/proc/self/maps"))  # LLVM's OpenMP keeps threads

    def until(done, seconds=60):
        '''Compute until done() says so; whether it did.'''
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            elementwise.exp(x, out=y)
        return done()

    def others():
        return len(os.listdir("/proc/self/task")) - 1

    threads.set_num_threads(2)
"""
ONE_CPU = "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"


def run(code, one_cpu=False, **environment):
    """Run code after BEGIN in a process of its own, on one CPU if `one_cpu` is set, and return the
    words that it printed.
    """
    program = textwrap.dedent(BEGIN) + ONE_CPU * one_cpu + textwrap.dedent(code)
    return printed(program, OPENBLAS_NUM_THREADS="1", **environment)


@pytest.mark.parametrize("waiting", ("as set by minidl", "active", "passive"))
def test_two_threads_that_share_a_cpu_become_one(waiting):
    """They compete with each other. The superfluous thread ends and does not spin on."""
    environment = {} if waiting.startswith("as") else {"OMP_WAIT_POLICY": waiting}
    said = run(
        """
        elementwise.exp(x, out=y)
        expected = y.copy()
        print(others() == 1, until(lambda: threads.thread_count() == 1))
        elementwise.exp(x, out=y)
        ended = others() == 0 or threads.thread_count() == 2
        print(ended or not gnu, np.array_equal(y, expected))
        print(threads.get_num_threads())
    """,
        one_cpu=True,
        **environment,
    )
    assert said == ["True", "True", "True", "True", "2"]


@pytest.mark.skipif(len(affinity.cpus() or ()) < 2, reason="needs two CPUs")
def test_busy_processes_take_cpus_and_give_them_back():
    """There are as many of them as CPUs. When they have ended, all threads come back and stay."""
    said = run("""
        import subprocess
        cpus = len(os.sched_getaffinity(0))
        threads.set_num_threads(cpus)
        work = "import time; end = time.time() + 200\\nwhile time.time() < end: pass"
        busy = [subprocess.Popen([sys.executable, "-c", work]) for _ in range(cpus)]
        print(until(lambda: threads.thread_count() < cpus))
        for process in busy:
            process.kill()
            process.wait()
        print(until(lambda: threads.thread_count() == cpus))
    """)
    assert said == ["True", "True"]


def test_all_threads_are_tried_again_and_again():
    said = run(
        """
        sizes = []
        def seen():
            sizes.append(threads.thread_count())
            return sum(a < b for a, b in zip(sizes, sizes[1:])) >= 3
        print(until(seen))
    """,
        one_cpu=True,
    )
    assert said == ["True"]


def test_an_explicit_number_of_threads_is_exact():
    said = run(
        """
        until(lambda: threads.thread_count() == 1)
        elementwise.exp(x, threads=3, out=y)
        print(others())
    """,
        one_cpu=True,
    )
    assert said == ["2"]


def test_each_thread_that_calls_kernels_has_its_own_worker_threads():
    """They leave behind neither threads nor open files."""
    said = run("""
        def kept():
            return len(os.listdir("/proc/self/fd")), others() if gnu else 0
        until(lambda: True)
        before = kept()
        sizes = []
        def work():
            out = np.empty_like(x)
            for _ in range(50):
                elementwise.exp(x, out=out)
            sizes.append(threads.thread_count())
        workers = [threading.Thread(target=work) for _ in range(40)]
        [t.start() for t in workers]
        [t.join() for t in workers]
        end = time.monotonic() + 30
        while kept() != before and time.monotonic() < end:
            time.sleep(0.05)
        print(kept() == before, set(sizes) <= {1, 2}, len(sizes))
    """)
    assert said == ["True", "True", "40"]


def test_threads_that_another_library_ends_are_started_again():
    """omp_pause_resource_all ends the threads, as any other user of the runtime may do."""
    said = run("""
        import ctypes
        until(lambda: True)
        gomp = [line.split()[-1] for line in open("/proc/self/maps") if "gomp" in line]
        if gomp:
            pause = ctypes.CDLL(gomp[0]).omp_pause_resource_all
            for _ in range(3):
                pause(1)
                print(others())
                start = time.monotonic()
                until(lambda: time.monotonic() > start + 0.1)
                print(threads.thread_count() in (1, 2))
        else:
            print(*["0", "True"] * 3)
    """)
    assert said == ["0", "True"] * 3
