"""These tests check that `prefetched` yields in order, runs a given number of items ahead, passes
errors on, and leaves no thread behind.
"""

import gc
import os
import subprocess
import sys
import threading
import time
import traceback

import pytest

from minidl.data.prefetch import prefetched, prepared
from tests.support.loaders import prefetch_threads

pytestmark = pytest.mark.usefixtures("no_thread_left")


def wait_until(condition):
    """Wait until a condition holds, since a thread runs when it will. Fail if it never holds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@pytest.mark.parametrize("ahead", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_all_in_order(count, ahead):
    assert list(prefetched(lambda x: x * x, range(count), ahead)) == [x * x for x in range(count)]


def test_none_and_false_are_items():
    assert list(prefetched(lambda x: x, [None, 0, ()], 2)) == [None, 0, ()]


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
def test_it_runs_ahead_by_the_given_number_and_no_further(ahead):
    made = []
    results = prefetched(made.append, range(20), ahead)
    assert made == [] and prefetch_threads() == []
    for taken in range(1, 11):
        next(results)
        wait_until(lambda taken=taken: len(made) == taken + ahead)
    time.sleep(0.05)
    assert made == list(range(10 + ahead))
    results.close()


def test_runs_in_a_thread_or_not():
    names = {
        ahead: list(prefetched(lambda _: threading.current_thread(), [1], ahead))
        for ahead in (0, 1)
    }
    assert names[0] == [threading.current_thread()]
    assert names[1][0].name == "minidl prefetch"


class Odd(Exception):
    pass


def refuse_three(x):
    if x == 3:
        raise Odd("three")
    return x


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_error_comes_in_its_place_with_its_traceback(ahead):
    results = prefetched(refuse_three, range(9), ahead)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Odd, match="three") as info:
        next(results)
    names = [frame.name for frame in traceback.extract_tb(info.value.__traceback__)]
    assert names[-1] == "refuse_three"
    assert names[0] == "test_error_comes_in_its_place_with_its_traceback"
    assert prefetch_threads() == []
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_any_error(error):
    def make(x):
        raise error

    with pytest.raises(error):
        list(prefetched(make, [1], 1))


def test_left_by_break():
    for x in prefetched(lambda x: x, range(100), 3):
        if x == 5:
            break
    assert prefetch_threads() == []


def test_left_by_exception():
    def loop():
        for _ in prefetched(lambda x: x, range(100), 3):
            raise Odd

    with pytest.raises(Odd):
        loop()
    assert prefetch_threads() == []


def test_closed_and_deleted():
    results = prefetched(lambda x: x, range(100), 3)
    next(results)
    assert len(prefetch_threads()) == 1
    results.close()
    assert prefetch_threads() == []
    results = prefetched(lambda x: x, range(100), 3)
    next(results)
    del results
    assert prefetch_threads() == []


def test_leaving_makes_no_further_items():
    """Leaving the loop waits for the item in the making, but not for those that were requested in
    advance.
    """
    made, go = [], threading.Event()

    def make(x):
        made.append(x)
        if x == 1:
            go.wait(30)

    results = prefetched(make, range(100), 50)
    next(results)
    wait_until(lambda: made == [0, 1])
    threading.Timer(0.1, go.set).start()
    results.close()
    assert made == [0, 1]


def test_collected_with_a_cycle():
    cycle = {}
    cycle["self"], cycle["results"] = cycle, prefetched(lambda x: x, range(100), 3)
    next(cycle["results"])
    assert len(prefetch_threads()) == 1
    del cycle
    gc.collect()
    assert prefetch_threads() == []


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_collected_in_its_own_thread():
    """The garbage collector may run in the thread, which must not wait for itself."""
    go, done = threading.Event(), threading.Event()

    def make(x):
        if x == 1:
            go.wait(30)
            gc.collect()
            done.set()

    gc.collect()
    gc.disable()
    try:
        cycle = {}
        cycle["self"], cycle["results"] = cycle, prefetched(make, range(100), 3)
        next(cycle["results"])
        del cycle
        go.set()
        assert done.wait(30)
    finally:
        gc.enable()
    wait_until(lambda: prefetch_threads() == [])


def test_two_at_once():
    both = zip(prefetched(str, range(50), 2), prefetched(str, range(50), 3), strict=True)
    assert list(both) == [(str(x), str(x)) for x in range(50)]


@pytest.mark.parametrize("make", ["lambda x: x", "lambda x: x and time.sleep(600)"])
def test_interpreter_ends_with_a_generator_alive(make):
    code = (
        "import time; from minidl.data.prefetch import prefetched, prepared\n"
        f"results = prefetched({make}, range(100), 2)\n"
        "next(results); print('end')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "end\n", "")


def test_a_small_work_is_done_by_the_caller():
    made = []
    for _ in prepared(lambda _: made.append(threading.current_thread()), range(20), 2):
        time.sleep(0.01)
    assert set(made) == {threading.current_thread()}


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_large_work_is_done_by_a_thread_after_two(ahead):
    def make(x):
        time.sleep(0.002)
        return x, threading.current_thread().name

    results = list(prepared(make, range(20), ahead))
    assert [x for x, _ in results] == list(range(20))
    names = [name for _, name in results]
    assert "minidl prefetch" not in names[:2]
    assert set(names[2:]) == {"minidl prefetch"}


def test_a_large_work_without_a_thread():
    assert list(prepared(lambda x: time.sleep(0.001) or x, range(5), 0)) == list(range(5))
    assert prefetch_threads() == []


def test_leaving_ends_the_thread():
    for x in prepared(lambda x: time.sleep(0.001) or x, range(100), 3):
        if x == 10:
            assert len(prefetch_threads()) == 1
            break
    gc.collect()
    assert prefetch_threads() == []
