"""These tests check numbers of threads, and kernels after a fork."""

import os
from pathlib import Path

import numpy as np
import pytest

import minidl_ext
from minidl_ext.runtime import threads
from tests.support.processes import printed


@pytest.fixture
def restored():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.usefixtures("restored")
def test_thread_counts():
    for n in (1, 2, 7, 1024, np.int64(3)):
        threads.set_num_threads(n)
        assert threads.get_num_threads() == n
    for bad in (0, -1, 1025, 2**31 - 1, 2**40, 2.5, "2", None, [2]):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            threads.set_num_threads(bad)
        assert threads.get_num_threads() == 3


@pytest.mark.skipif(
    not Path("/proc/self/task").exists() or not minidl_ext.OPENMP,
    reason="Linux tells the number of threads",
)
def test_as_many_threads_as_asked_and_none_for_small_work():
    counts = printed("""
        import os
        import numpy as np
        from minidl_ext.elementwise import arithmetic as elementwise
        from minidl_ext.runtime import threads

        def started():
            return len(os.listdir("/proc/self/task"))

        x, small = np.ones(10**6, np.float32), np.ones(1000, np.float32)
        threads.set_num_threads(5)
        before = started()
        elementwise.exp(small)
        print(started() - before)
        elementwise.exp(x, threads=1)
        print(started() - before)
        elementwise.exp(x, threads=3)
        print(started() - before)
        elementwise.exp(x)
        print(started() - before)
    """)
    assert counts == ["0", "0", "2", "4"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("busy", (False, True), ids=("idle", "a thread computing"))
def test_a_forked_child_computes_and_ends(busy):
    """It uses one thread, gets the parent's results, keeps the parent's arrays, and may fork
    again.
    """
    said = printed(f"""
        import os, signal, threading, time
        import numpy as np
        import minidl
        from minidl_ext.elementwise import arithmetic as elementwise
        from minidl_ext.gemm import matmul
        from minidl_ext.runtime import threads

        minidl.set_num_threads(4)
        x = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
        expected = matmul.matmul(x, x).tobytes()
        held = elementwise.add(x, 1.0)
        kept = held.tobytes()

        def right():
            y = matmul.matmul(x, x)
            elementwise.exp(y, threads=3)
            return y.tobytes() == expected and held.tobytes() == kept

        def child(depth):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)                    # ends the child, should it hang
                good = right() and threads.get_num_threads() == 1
                os._exit(0 if good and (depth == 0 or child(depth - 1)) else 1)
            return os.waitpid(pid, 0)[1] == 0

        stop = threading.Event()
        def compute():
            while not stop.is_set():
                matmul.matmul(x, x)
        if {busy}:
            worker = threading.Thread(target=compute)
            worker.start()
        print(all([child(1) for _ in range(5)]))
        stop.set()
        print(right(), threads.get_num_threads())
    """)
    assert said == ["True", "True", "4"]
