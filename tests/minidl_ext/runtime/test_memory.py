"""These tests check `empty`, which makes the arrays of kernels."""

import numpy as np
import pytest

from minidl_ext.elementwise import arithmetic as elementwise
from minidl_ext.runtime import memory as runtime


@pytest.mark.parametrize(
    "dtype",
    (
        np.float32,
        np.float64,
        np.int8,
        np.int64,
        np.bool_,
        np.complex64,
        np.float16,
        object,
        "S5",
        ">f4",
        "M8[s]",
        "f4,i8",
    ),
)
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


@pytest.mark.parametrize(
    "shape",
    (
        -1,
        (3, -2),
        (-1, 0),
        (2**32, 2**32),
        (2**61 + 1024, 8),
        2**64,
        "ab",
        None,
        2.5,
        (2.5, 3),
        (None,),
        (2,) * 65,
        (3, "4"),
    ),
)
def test_bad_shapes(shape):
    with pytest.raises((TypeError, ValueError, MemoryError)):
        runtime.empty(shape)


def test_a_shape_may_hold_numpy_integers():
    assert runtime.empty(np.int64(3000)).shape == (3000,)
    assert runtime.empty([np.int64(30), np.uint8(50)]).shape == (30, 50)
