"""These tests check dropout: it has the twin's bits and the rate asked for, and another key gives
another pattern.
"""

import numpy as np
import pytest

from minidl.kernels.reference.elementwise import random as twin
from minidl_ext.elementwise import random as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    SIZES,
    checks_out,
    identical,
    refuses,
    same_bits,
    values,
)


@FLOATS
@pytest.mark.parametrize("p", (0, 0.1, 0.5, 0.9, 1 - 2**-20, 1))
@pytest.mark.parametrize("key", (0, 1, 2**63, 2**64 - 1))
def test_it_is_the_twin_bit_for_bit(p, key, dtype):
    for size in SIZES:
        x = values(size, dtype=dtype)
        identical(native.dropout(x, p, key), twin.dropout(x, p, key))
    x = values(3, 4, 5, dtype=dtype)
    identical(native.dropout(x, p, key), twin.dropout(x, p, key))


@pytest.mark.parametrize("p", (0.01, 0.25, 0.5, 0.99))
def test_the_rate(p):
    n = 1_000_000
    for key in (3, 4, 12345678901234567):
        y = native.dropout(np.ones(n, np.float32), p, key)
        kept = y != 0
        deviation = (p * (1 - p) / n) ** 0.5
        assert abs(kept.mean() - (1 - p)) < 5 * deviation
        np.testing.assert_array_equal(y[kept], np.float32(1 / (1 - p)))
        both = (kept[1:] & kept[:-1]).mean()  # neighbours are independent
        assert abs(both - (1 - p) ** 2) < 10 * deviation


def test_nothing_and_everything():
    x = values(1000)
    identical(native.dropout(x, 0, 9), x)
    identical(native.dropout(x, 1, 9), np.zeros_like(x))


def test_keys_give_independent_patterns():
    x = np.ones(200_000, np.float32)
    patterns = [native.dropout(x, 0.5, key) != 0 for key in (0, 1, 2, 2**32, 2**63)]
    for i, a in enumerate(patterns):
        for b in patterns[:i]:
            assert abs((a == b).mean() - 0.5) < 0.01


def test_the_pattern_depends_on_place_and_key_alone():
    x, dy = values(5000), values(5000, seed=1)
    kept = native.dropout(x, 0.3, 7) != 0
    np.testing.assert_array_equal(native.dropout(dy, 0.3, 7) != 0, kept)
    np.testing.assert_array_equal(native.dropout(x[:100].copy(), 0.3, 7) != 0, kept[:100])
    np.testing.assert_array_equal(native.dropout(x.astype(np.float64), 0.3, 7) != 0, kept)


@FLOATS
def test_bad_values_are_kept_or_dropped_like_others(dtype):
    x = np.full(1000, np.nan, dtype)
    kept = native.dropout(np.ones(1000, dtype), 0.5, 3) != 0
    np.testing.assert_array_equal(np.isnan(native.dropout(x, 0.5, 3)), kept)


@FLOATS
def test_any_number_of_threads_gives_the_same_bits(dtype):
    same_bits(native.dropout, {"x": values(7, 10_007, dtype=dtype), "p": 0.4, "key": 11})


def test_out_is_filled_and_bad_arrays_are_refused():
    case = {"x": values(5, 7), "p": 0.5, "key": 3}
    checks_out(native.dropout, case, in_place=("x",))
    refuses(native.dropout, case, "x", LAYOUTS | KINDS)


@pytest.mark.parametrize("p", (-0.1, 1.1, np.nan, np.inf, -np.inf))
def test_bad_rates(p):
    with pytest.raises(ValueError, match=r"dropout: p must be in \[0, 1\]"):
        native.dropout(values(4), p, 0)


@pytest.mark.parametrize(("name", "bad"), (("p", "half"), ("p", None), ("key", 0.5), ("key", None)))
def test_bad_types(name, bad):
    with pytest.raises(TypeError):
        native.dropout(**{"x": values(4), "p": 0.5, "key": 0, name: bad})
