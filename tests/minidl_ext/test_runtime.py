"""What the kernels share besides the pool: `empty`, thread counts, life after a fork."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import minidl_ext
from minidl_ext import elementwise, runtime

# ----------------------------------------------------------------------------------- empty

@pytest.mark.parametrize("dtype", (
    np.float32, np.float64, np.int8, np.int64, np.bool_, np.complex64, np.float16, object, "S5",
    ">f4", "M8[s]", "f4,i8",
))
def test_empty_of_any_dtype(dtype):
    for shape in ((), 0, 5, (3, 0, 2), (70, 80), (2, 3, 4, 5, 6, 7)):
        a = runtime.empty(shape, dtype)
        b = np.empty(shape, dtype)
        assert (a.shape, a.dtype, a.flags.c_contiguous) == (b.shape, b.dtype, True)
        assert a.flags.writeable
        a[...] = np.zeros((), dtype)


@pytest.mark.parametrize("shape", (1024, (64, 64, 3), 12_345, 10**6, (7, 1009)))
def test_large_arrays_are_aligned(shape):
    kept = [runtime.empty(shape, dtype) for dtype in (np.float32, np.float64) for _ in range(9)]
    kept += [elementwise.exp(kept[0]), elementwise.exp(kept[-1])]
    assert {a.ctypes.data % 64 for a in kept} == {0}


@pytest.mark.parametrize("shape", (-1, (3, -2), (-1, 0), (2**32, 2**32), (2**61 + 1024, 8), 2**64,
                                   "ab", None, 2.5, (2.5, 3), (None,), (2,) * 65, (3, "4")))
def test_bad_shapes(shape):
    with pytest.raises((TypeError, ValueError, MemoryError)):
        runtime.empty(shape)


def test_a_shape_may_hold_numpy_integers():
    assert runtime.empty(np.int64(3000)).shape == (3000,)
    assert runtime.empty([np.int64(30), np.uint8(50)]).shape == (30, 50)


# --------------------------------------------------------------------------------- threads

@pytest.fixture
def threads():
    before = runtime.get_num_threads()
    yield
    runtime.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_thread_counts():
    for n in (1, 2, 7, 1024, np.int64(3)):
        runtime.set_num_threads(n)
        assert runtime.get_num_threads() == n
    for bad in (0, -1, 1025, 2**31 - 1, 2**40, 2.5, "2", None, [2]):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            runtime.set_num_threads(bad)
        assert runtime.get_num_threads() == 3


def python(code):
    """Run code in a process of its own, with a time limit; what it printed."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], cwd=root,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not Path("/proc/self/task").exists() or not minidl_ext.OPENMP,
                    reason="Linux tells the number of threads")
def test_as_many_threads_as_asked_and_none_for_small_work():
    counts = python("""
        import os
        import numpy as np
        from minidl_ext import elementwise, runtime

        def started():
            return len(os.listdir("/proc/self/task"))

        x, small = np.ones(10**6, np.float32), np.ones(1000, np.float32)
        runtime.set_num_threads(5)
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
    """It uses one thread, gets the parent's results, keeps the parent's arrays, and may fork."""
    said = python(f"""
        import os, signal, threading, time
        import numpy as np
        import minidl
        from minidl_ext import elementwise, matmul, runtime

        minidl.set_num_threads(4)
        x = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
        want = matmul.matmul(x, x).tobytes()
        held = elementwise.add(x, 1.0)
        kept = held.tobytes()

        def right():
            y = matmul.matmul(x, x)
            elementwise.exp(y, threads=3)
            return y.tobytes() == want and held.tobytes() == kept

        def child(depth):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)                    # ends the child, should it hang
                good = right() and runtime.get_num_threads() == 1
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
        print(right(), runtime.get_num_threads())
    """)
    assert said == ["True", "True", "4"]
