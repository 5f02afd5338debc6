"""These tests check the pool of buffers: who owns memory, what is kept, and many threads at once.

The rule is that memory goes back to the pool when the last thing that can reach it is gone, and not
before. Each test of the rule refers to an array in some way, drops the array itself, and then takes
many arrays of the same size from the pool.
"""

import ctypes
import gc
import threading
import weakref
from itertools import pairwise

import numpy as np
import pytest

import minidl_ext
from minidl_ext.elementwise import arithmetic as elementwise
from minidl_ext.gemm import matmul
from minidl_ext.reduce import reduce
from minidl_ext.runtime import memory as runtime
from tests.support.kernels import values

COUNT = 5000  # float32 values: 20 kB, which come from the pool


@pytest.fixture(autouse=True)
def fresh_pool():
    runtime.empty_cache()
    yield
    runtime.empty_cache()


def address(a):
    return a.__array_interface__["data"][0]


def patterned():
    a = runtime.empty(COUNT)
    a[:] = np.arange(COUNT)
    return a


def churn():
    """Take, fill and drop arrays of the pattern's size, and return the addresses that they had."""
    taken = [runtime.empty(COUNT) for _ in range(20)]
    for a in taken:
        a.fill(-1)
    taken += [elementwise.add(taken[0], 1.0) for _ in range(20)]
    return {address(a) for a in taken}


# ---------------------------------------------------------------------------------- reuse


def test_freed_memory_serves_the_next_array_of_its_size():
    a = runtime.empty(COUNT)
    first = address(a)
    del a
    assert address(runtime.empty(COUNT - 1)) == first  # both have the same class of sizes
    assert address(elementwise.exp(values(COUNT))) == first
    other = runtime.empty(2 * COUNT)
    assert address(other) != first
    assert address(runtime.empty((COUNT // 2,), np.float64)) == first


def test_arrays_in_use_never_share_memory():
    arrays = [runtime.empty(size) for size in range(1000, 30_000, 371) for _ in range(3)]
    spans = sorted((address(a), address(a) + a.nbytes) for a in arrays)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


HOLDERS = {
    "view": lambda a: a[:],
    "slice": lambda a: a[7:8],
    "strided slice": lambda a: a[::-2],
    "base of a slice": lambda a: a[10:][5:].base,
    "base": lambda a: a.base,
    "transpose": lambda a: a.reshape(50, 100).T,
    "bytes": lambda a: a.view(np.uint8),
    "broadcast": lambda a: np.broadcast_to(a, (3, COUNT)),
    "as_strided": lambda a: np.lib.stride_tricks.as_strided(a, (2,), (4,)),
    "memoryview": memoryview,
    "part of a memoryview": lambda a: memoryview(a)[100:200],
    "array of a memoryview": lambda a: np.asarray(memoryview(a)),
    "frombuffer": lambda a: np.frombuffer(memoryview(a).cast("B"), np.float32),
    "dlpack": np.from_dlpack,
    "ctypes": lambda a: a.ctypes,
    "flat": lambda a: a.flat,
    "nditer": lambda a: np.nditer(a),
    "closure": lambda a: lambda: a,
    "generator": lambda a: (x for x in a),
    "containers": lambda a: {"deep": [{"er": (a,)}]},
    "object array": lambda a: np.array([a, None], object),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_memory_that_anything_can_reach_is_not_reused(hold):
    a = patterned()
    where, watch = address(a), weakref.ref(a)
    check = np.ctypeslib.as_array((ctypes.c_float * COUNT).from_address(where))
    holder = hold(a)
    in_use, cached = runtime.pool_bytes()
    del a
    assert where not in churn()
    np.testing.assert_array_equal(check, np.arange(COUNT))  # compares the memory itself
    del holder
    gc.collect()
    assert watch() is None
    assert where in churn()  # and only then is it reused
    assert runtime.pool_bytes()[0] < in_use
    assert runtime.pool_bytes()[1] > cached


def test_memory_in_a_traceback_is_not_reused():
    def fail():
        kept = patterned()
        raise ValueError(address(kept))

    try:
        fail()
    except ValueError as raised:
        error = raised
    assert error.args[0] not in churn()
    frame = error.__traceback__.tb_next.tb_frame
    np.testing.assert_array_equal(frame.f_locals["kept"], np.arange(COUNT))
    where = error.args[0]
    del frame
    error.__traceback__ = None
    assert where in churn()


def test_memory_of_another_thread_is_not_reused():
    ready, go_on, seen = threading.Event(), threading.Event(), []

    def work():
        kept = patterned()
        seen.append(address(kept))
        ready.set()
        go_on.wait(30)
        seen.append(kept.copy())

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(30)
    assert seen[0] not in churn()
    go_on.set()
    thread.join(30)
    np.testing.assert_array_equal(seen[1], np.arange(COUNT))
    assert seen[0] in churn()


def test_memory_in_a_cycle_waits_for_the_collector():
    gc.disable()
    try:
        loop = [patterned()]
        where = address(loop[0])
        loop.append(loop)
        del loop
        assert where not in churn()
        gc.collect()
        assert where in churn()
    finally:
        gc.enable()


def test_the_workspace_of_a_kernel_is_not_its_result():
    x = values(300, 100)
    results = [matmul.matmul(x, x, transpose_b=True) for _ in range(5)]
    for _ in range(5):
        matmul.matmul(x, x, transpose_b=True)
        reduce.sum(values(1, 50_000, 1))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert len({address(result) for result in results}) == 5


# ------------------------------------------------------------------------------ accounting


def test_bytes_are_counted_and_given_back():
    in_use, cached = runtime.pool_bytes()
    assert cached == 0
    arrays = [runtime.empty(COUNT) for _ in range(3)]
    size = (runtime.pool_bytes()[0] - in_use) // 3
    assert size >= 4 * COUNT
    del arrays
    assert runtime.pool_bytes() == (in_use, 3 * size)
    kept = runtime.empty(COUNT)
    assert runtime.pool_bytes() == (in_use + size, 2 * size)
    kept[:] = 5
    runtime.empty_cache()
    assert runtime.pool_bytes() == (in_use + size, 0)
    assert (kept == 5).all()
    del kept
    assert runtime.pool_bytes() == (in_use, size)


def test_at_most_an_eighth_is_wasted():
    in_use, _ = runtime.pool_bytes()
    around_powers = [2**e + d for e in range(13, 27) for d in (-1, 0, 1)]
    for nbytes in (*range(4096, 20_000, 77), *around_powers):
        a = runtime.empty(nbytes, np.uint8)
        size = runtime.pool_bytes()[0] - in_use
        assert nbytes <= size <= nbytes * 1.125 + 1, nbytes
        del a
        runtime.empty_cache()


def test_small_arrays_are_left_to_numpy():
    before = runtime.pool_bytes()
    small = [runtime.empty(1023), runtime.empty(()), runtime.empty((0, 10**6))]
    assert runtime.pool_bytes() == before
    assert all(a.base is None for a in small)


@pytest.mark.skipif(minidl_ext.DEBUG, reason="a debug build writes to every byte it takes")
def test_what_is_kept_is_bounded():
    """The bound is a gigabyte at first, and then what a step needs that frees more. None of this
    memory is ever touched, so it costs nothing here.
    """
    bound, piece = 2**30, 200 * 2**20
    in_use, _ = runtime.pool_bytes()

    def most_kept():
        arrays, most = [runtime.empty(piece, np.uint8) for _ in range(6)], 0
        while arrays:
            arrays.pop()
            most = max(most, runtime.pool_bytes()[1])
        return most

    assert piece <= most_kept() <= bound
    assert most_kept() == most_kept() >= 6 * piece
    other = [runtime.empty(size * 2**20, np.uint8) for size in range(251, 259)]
    # Buffers of other sizes were dropped.
    assert sum(runtime.pool_bytes()) <= 2 * runtime.pool_bytes()[0]
    del other
    runtime.empty_cache()
    assert most_kept() <= bound
    runtime.empty_cache()
    too_large = runtime.empty(bound + 2**27, np.uint8)
    del too_large
    assert runtime.pool_bytes() == (in_use, 0)


def test_threads_take_and_return_at_once():
    """Eight Python threads take and return memory, with kernels that release the GIL in between."""
    before, errors = runtime.pool_bytes()[0], []

    def work(number):
        rng, kept = np.random.default_rng(number), []
        for _ in range(150):
            a = runtime.empty(int(rng.integers(1100, 9000)))
            a.fill(number)
            kept.append((a, elementwise.multiply(a, 2.0, threads=2)))
            if len(kept) > 5:
                kept.pop(int(rng.integers(5)))
            if not all((x == number).all() and (y == 2 * number).all() for x, y in kept):
                errors.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    assert runtime.pool_bytes()[0] == before
