"""This module has the checks for all kernels: the same bits on any number of threads, `out`,
refused arrays.

A kernel is tested through its keyword arguments. `case` is a dict of them, so that a helper can
replace any of them by a bad one, or make `out` overlap it in memory.
"""

import importlib
import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from minidl.kernels import FAMILIES
from tests.support.arrays import within

THREADS = (1, 2, 3, 4, 7)
FLOATS = pytest.mark.parametrize("dtype", (np.float32, np.float64), ids=("f32", "f64"))
# These sizes are close to vectors of 4, 8 and 16 values, and to the pieces that threads take.
SIZES = (0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 65, 1000, 16383, 16384, 16385, 50_001)

# For batch norm, whose blocks are 32 KB or 16 rows, in at most 64 chunks.
NORM_SHAPES = (
    (1, 1),
    (2, 1),
    (3, 5),
    (16, 3),
    (17, 16),
    (100, 33),
    (8193, 1),
    (33_000, 3),
    (4, 5, 6, 7),
    (5, 10_000),
    (40, 9000),
    (600_001, 1),
    (128, 14, 14, 32),
    (9000, 70),
)

many = settings(
    derandomize=True,
    max_examples=int(os.environ.get("MINIDL_TEST_EXAMPLES", 150)),  # fewer on an emulated CPU
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def kernels_of(prefix):
    """Return all native kernels of the families whose names begin with `prefix`, and all of their
    twins.
    """
    return [
        SimpleNamespace(
            **{
                name: getattr(importlib.import_module(f"{package}.{family}"), name)
                for family, names in FAMILIES.items()
                if family.startswith(prefix)
                for name in names
            }
        )
        for package in ("minidl_ext", "minidl.kernels.reference")
    ]


def values(*shape, dtype=np.float32, seed=0):
    """Return normal random numbers."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def whole(*shape, dtype=np.float32, seed=0, top=4):
    """Return small integers, whose products and sums are exact, so that results can be compared
    with ==.
    """
    return np.random.default_rng((seed, *shape)).integers(-top, top + 1, shape).astype(dtype)


def line(**options):
    """Return a line of a table."""
    return options


def exact_stats(x):
    """Return the mean and the biased variance of each channel, in extended precision."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.longdouble)
    mean = rows.mean(axis=0)
    return mean.astype(np.float64), ((rows - mean) ** 2).mean(axis=0).astype(np.float64)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def close(got, expected, tol):
    """Check that an array is finite, has the same shape, and max|got - want| <= tol max|want|."""
    assert np.isfinite(got).all()
    within(got, expected, tol)


def identical(got, expected):
    """Check that a result is a contiguous NumPy array with the expected values (NaN too), dtype and
    shape.
    """
    assert isinstance(got, np.ndarray)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)


def bits(result):
    """Return the bytes of an array, of a tuple of arrays (which may have None), or of a list."""
    if isinstance(result, (tuple, list)):
        return tuple(None if part is None else part.tobytes() for part in result)
    return result.tobytes()


def same_bits(kernel, case):
    """Check that the result has the same bits for every number of threads."""
    first = bits(kernel(**case, threads=1))
    for threads in THREADS[1:]:
        assert bits(kernel(**case, threads=threads)) == first, f"{threads} threads"


def spoil(case, argument, nan, inf):
    """Return the case with one NaN and one +Inf at these places of an argument."""
    array = case[argument].copy()
    array[nan], array[inf] = np.nan, np.inf
    return {**case, argument: array}


def corners(array):
    """Return pairs of places for `spoil`: the first and the last one, and the last one and one near
    the first.
    """
    first, last = (0,) * array.ndim, tuple(size - 1 for size in array.shape)
    return (first, last), (last, (*first[:-1], 1))


def reached(twin, case, argument, test):
    """Return which results read a value of an argument that passes the test. All other values
    become 0, and the results that are not 0 have read it.
    """
    ones = {
        name: np.ones_like(value) for name, value in case.items() if isinstance(value, np.ndarray)
    }
    ones[argument] = test(case[argument]).astype(ones[argument].dtype)
    return twin(**{**case, **ones}) > 0


def bad_values_are_local(kernel, twin, case, argument):
    """Check that a result is NaN where it reads the NaN, and infinite where it reads the infinity
    only.
    """
    got = kernel(**case)
    nan = reached(twin, case, argument, np.isnan)
    inf = reached(twin, case, argument, np.isinf)
    assert nan.any() and inf.any() and not (nan | inf).all()
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(np.isinf(got), inf & ~nan)


def strided(a):
    """Return the same values, not contiguous."""
    room = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
    room[..., : 2 * a.shape[-1] : 2] = a
    return room[..., : 2 * a.shape[-1] : 2]


def misaligned(a):
    """Return the same values, at an address that is off by one byte."""
    room = np.zeros(a.nbytes + a.itemsize, np.uint8)
    moved = room[1 : 1 + a.nbytes].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def swapped(a):
    """Return the same values in the other byte order."""
    return a.astype(a.dtype.newbyteorder())


LAYOUTS = {"strided": strided, "misaligned": misaligned, "byte-swapped": swapped}
KINDS = {
    "list": lambda a: a.tolist(),
    "memoryview": memoryview,
    "number": lambda a: 1.5,
    "float16": lambda a: a.astype(np.float16),
    "int32": lambda a: a.astype(np.int32),
    "complex": lambda a: a.astype(np.complex128),
    "object": lambda a: a.astype(object),
}
RANKS = {"axis more": lambda a: a[None], "axis less": lambda a: np.ascontiguousarray(a[0])}


def refuses(kernel, case, name, kinds, errors=(TypeError, ValueError)):
    """Check that each kind of bad array as argument `name` is an error that names kernel and
    argument.
    """
    for kind, spoil in kinds.items():
        spoiled = spoil(case[name])
        if (
            isinstance(spoiled, np.ndarray)
            and spoiled.itemsize == 1
            and kind in LAYOUTS
            and kind != "strided"
        ):
            continue  # a byte has neither alignment nor byte order
        with pytest.raises(errors) as info:
            kernel(**{**case, name: spoiled})
        message = str(info.value)
        assert kernel.__name__ in message, (kind, message)
        assert name in message, (kind, message)


class Last(np.ndarray):
    """A view that reports its values when it is freed."""

    def __del__(self):
        if hasattr(self, "told"):
            self.told.append(np.array(self))


def last_values(array, told):
    """Return a view of an array, whose values are appended to a list when nothing refers to it any
    more. A kernel must refer to what it works on, whatever happens to its caller's list.
    """
    view = array.view(Last)
    view.told = told
    return view


def checks_out(kernel, case, in_place=()):
    """Check that `out=` is filled and returned. What does not fit, or overlaps an input, must be
    refused.

    `in_place` names the arguments that may be passed as `out` if shapes and dtypes agree.
    """
    expected = kernel(**case)
    out = np.full_like(expected, 7)
    assert kernel(**case, out=out) is out
    identical(out, expected)

    locked = np.zeros_like(expected)
    locked.flags.writeable = False
    other = np.float64 if expected.dtype == np.float32 else np.float32
    bad = {
        "shape": np.zeros((*expected.shape[:-1], expected.shape[-1] + 1), expected.dtype),
        "size, transposed": np.zeros((*expected.shape[::-1], 1), expected.dtype),
        "dtype": np.zeros(expected.shape, other),
        "read-only": locked,
        "list": expected.tolist(),
        **{kind: spoil(expected) for kind, spoil in LAYOUTS.items()},
    }
    for kind, array in bad.items():
        with pytest.raises((TypeError, ValueError)) as info:
            kernel(**case, out=array)
        assert kernel.__name__ in str(info.value), kind
        assert "out" in str(info.value), kind

    for name, array in case.items():
        if isinstance(array, np.ndarray):
            _checks_overlap(kernel, case, name, array, expected, name in in_place)


def _checks_overlap(kernel, case, name, array, expected, in_place):
    step = max(array.itemsize, expected.itemsize)
    # out starts one element after the input, or at its last byte.
    last = (array.nbytes - 1) // step * step
    for offset in {step, last} - {0}:
        room = np.zeros(offset + array.nbytes + expected.nbytes, np.uint8)
        moved = room[: array.nbytes].view(array.dtype).reshape(array.shape)
        moved[...] = array
        out = room[offset : offset + expected.nbytes].view(expected.dtype).reshape(expected.shape)
        with pytest.raises(ValueError, match="overlap") as info:
            kernel(**{**case, name: moved}, out=out)
        assert f"{kernel.__name__}: out overlaps {name} in memory" == str(info.value)
        np.testing.assert_array_equal(moved, array)  # nothing was written
    if array.shape == expected.shape and array.dtype == expected.dtype:
        copy = array.copy()
        if in_place:
            assert kernel(**{**case, name: copy}, out=copy) is copy
            identical(copy, expected)
        else:
            with pytest.raises(ValueError, match="overlap"):
                kernel(**{**case, name: copy}, out=copy)
