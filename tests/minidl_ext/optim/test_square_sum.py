"""These tests check the sum of the squares of gradients, by which these are clipped: beside the
twin and extended precision, on any number of threads, and with bad lists.
"""

import numpy as np
import pytest

from minidl.kernels.reference.optim import updates as twin
from minidl_ext.optim import updates as native
from tests.support.kernels import FLOATS, SIZES, THREADS, misaligned, swapped, values

# Pieces have 16384 values. The group has parameters of every size, and one shape without axes.
SHAPES = ((), (1,), (3,), (16, 17), (0, 4), (3, 3, 1, 32), (16_384,), (16_385,), (200, 251))


def exact_squares(arrays):
    return sum(float(np.square(a.astype(np.longdouble)).sum()) for a in arrays)


@FLOATS
@pytest.mark.parametrize("size", SIZES)
def test_square_sum(size, dtype):
    array = values(size, dtype=dtype)
    array.flags.writeable = False
    got = native.square_sum([array])
    assert type(got) is type(twin.square_sum([array])) is float
    np.testing.assert_allclose(got, exact_squares([array]), rtol=1e-14)
    np.testing.assert_allclose(twin.square_sum([array]), got, rtol=1e-13)


@FLOATS
def test_square_sum_of_many_arrays_on_any_threads(dtype):
    arrays = [values(*shape, dtype=dtype) for shape in SHAPES]
    results = {native.square_sum(arrays, threads=threads) for threads in THREADS}
    assert len(results) == 1
    np.testing.assert_allclose(results.pop(), exact_squares(arrays), rtol=1e-14)


def test_square_sum_does_not_overflow_in_float32():
    assert native.square_sum([np.full(3, 1e30, np.float32)]) == pytest.approx(3e60, rel=1e-6)
    assert native.square_sum([np.full(9, 1e-30, np.float32)]) == pytest.approx(9e-60, rel=1e-6)


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("at", (0, 8, 16_386))
def test_square_sum_of_bad_values(bad, at):
    array = values(16_387)
    array[at] = bad
    np.testing.assert_equal(native.square_sum([array]), abs(bad))


def test_square_sum_of_nothing():
    assert native.square_sum([]) == twin.square_sum([]) == 0
    assert native.square_sum([np.zeros((3, 0), np.float32)]) == 0


@pytest.mark.parametrize(
    "bad",
    (
        values(6)[::2],
        values(4).astype(np.float16),
        np.arange(3),
        [1.0, 2.0],
        None,
        3.0,
        misaligned(values(4)),
        swapped(values(4)),
        values(4, dtype=np.float64),
    ),
)
def test_square_sum_of_bad_arrays(bad):
    with pytest.raises((TypeError, ValueError), match=r"square_sum: .*grads"):
        native.square_sum([values(3), bad])


@pytest.mark.parametrize("grads", ({"a": 0}, {0: values(3)}, values(3), "ab", None, 3))
def test_square_sum_of_no_list(grads):
    with pytest.raises(TypeError, match="square_sum: grads must be a list of arrays"):
        native.square_sum(grads)
