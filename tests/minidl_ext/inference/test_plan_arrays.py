"""These tests check the arrays that a call gives to a plan: which may share memory, and how long
they live.
"""

import threading

import numpy as np
import pytest

from minidl import kernels
from tests.support.errors import refuses
from tests.support.kernels import last_values, values

IMAGES = {"read": (4, 3, 2), "written": (4, 3, 2)}
COPY = {"kind": "map", "x": (1, 0, 24, 6, 2), "y": (2, 0, 24, 6, 2), **IMAGES}


@pytest.mark.parametrize("shift", (0, 1, 71))
def test_arrays_that_share_memory(shift):
    """An array that is written may not share memory with another; arrays that are only read may."""
    plan = kernels.Plan([COPY | {"r": (3, 0, 24, 6, 2)}], [24, 24, 24], 0, 2, False, 2)
    room = values(72 + 71)
    one, other = room[:72], room[shift : shift + 72]
    x, y = values(72, seed=1), np.empty(72, np.float32)
    plan.run([one, y, other], 3)
    np.testing.assert_array_equal(y, one + other)
    for arrays, words in (
        ([one, other, x], "array 1 overlaps array 0"),
        ([x, one, other], "array 2 overlaps array 1"),
    ):
        before = room.copy()
        with refuses(ValueError, f"Plan.run: {words} in memory"):
            plan.run(arrays, 3)
        np.testing.assert_array_equal(room, before)
    plan.run([room[:24], room[24:48], room[48:72]], 1)  # neighbours


def test_arrays_live_until_the_run_ends():
    """They live although another thread empties the list meanwhile. If that thread was so fast that
    the list was empty when the run began, the run is refused.
    """
    images = 40_000
    back = COPY | {"x": COPY["y"], "y": COPY["x"]}
    plan = kernels.Plan([back] * 50, [24, 24], 0, 2, False, 2)
    x, memory = np.ones(24 * images, np.float32), np.empty(24 * images, np.float32)
    for _ in range(3):
        memory[...] = 7
        told, begins = [], threading.Event()
        arrays = [last_values(memory, told), x]

        def empty(begins=begins, arrays=arrays):
            begins.wait()
            arrays.clear()

        thread = threading.Thread(target=empty)
        thread.start()
        begins.set()
        try:
            plan.run(arrays, images)
        except ValueError as error:
            assert "2 arrays are needed, got 0" in str(error)
            told.clear()
        thread.join()
        assert all((y == 1).all() for y in told)
