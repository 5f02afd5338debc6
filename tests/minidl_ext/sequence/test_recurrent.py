"""These tests check the kernels of recurrent cells: beside the twin, with extreme values, on
threads, and with bad input.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels.reference.sequence import recurrent as twin
from minidl_ext.sequence import recurrent as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    RANKS,
    close,
    eps,
    many,
    refuses,
    same_bits,
    values,
)

SHAPES = ((1, 1), (3, 5), (2, 16), (5, 17), (17, 33), (100, 100), (7, 300), (0, 5), (4, 0))


def lstm(rows, hidden, dtype, squash=True):
    return {
        "x": values(rows, 4 * hidden, dtype=dtype) * dtype(2),
        "hidden": values(rows, 4 * hidden, dtype=dtype, seed=1),
        "c": values(rows, hidden, dtype=dtype, seed=2),
        "squash": squash,
    }


def lstm_backward(rows, hidden, dtype, squash=True):
    forward = lstm(rows, hidden, dtype, squash)
    gates, c_new, _ = twin.lstm_cell(**forward)
    return {
        "dh": values(rows, hidden, dtype=dtype, seed=3),
        "dc": values(rows, hidden, dtype=dtype, seed=4),
        "gates": gates,
        "c": forward["c"],
        "c_new": c_new,
        "squash": squash,
    }


def gru(rows, hidden, dtype, biased=True):
    return {
        "x": values(rows, 3 * hidden, dtype=dtype) * dtype(2),
        "hidden": values(rows, 3 * hidden, dtype=dtype, seed=1),
        "bias": values(hidden, dtype=dtype, seed=2) if biased else None,
        "h": values(rows, hidden, dtype=dtype, seed=3),
    }


def gru_backward(rows, hidden, dtype, biased=True):
    forward = gru(rows, hidden, dtype, biased)
    return {
        "dy": values(rows, hidden, dtype=dtype, seed=4),
        "gates": twin.gru_cell(**forward)[0],
        "hidden": forward["hidden"],
        "bias": forward["bias"],
        "h": forward["h"],
    }


CASES = {
    "lstm_cell": lstm,
    "lstm_cell_backward": lstm_backward,
    "gru_cell": gru,
    "gru_cell_backward": gru_backward,
}
# An LSTM has the flag `squash`, and a GRU the flag for its bias.
each = pytest.mark.parametrize("name", CASES)
either = pytest.mark.parametrize("flag", (True, False))


def agree(name, case, dtype):
    results = getattr(native, name)(**case), getattr(twin, name)(**case)
    for got, expected in zip(*results, strict=True):
        if expected is None:
            assert got is None
            continue
        assert got.dtype == expected.dtype == dtype
        assert got.flags.c_contiguous
        close(got, expected, 32 * eps(dtype))


@each
@either
@FLOATS
@pytest.mark.parametrize(("rows", "hidden"), SHAPES)
def test_results_are_those_of_the_twin(name, flag, dtype, rows, hidden):
    agree(name, CASES[name](rows, hidden, dtype, flag), dtype)


@many
@given(
    name=st.sampled_from(sorted(CASES)),
    flag=st.booleans(),
    rows=st.integers(0, 40),
    hidden=st.integers(0, 90),
    dtype=st.sampled_from((np.float32, np.float64)),
)
def test_any_shape_gives_the_results_of_the_twin(name, flag, rows, hidden, dtype):
    agree(name, CASES[name](rows, hidden, dtype, flag), dtype)


def test_the_order_of_the_gates():
    """One gate is open and the others are shut, so that the result shows which gate it is."""
    x, hidden, c = np.full((1, 4), -50.0), np.zeros((1, 4)), np.array([[0.5]])
    for place, c_new, h in ((0, np.tanh(-50), 0), (1, 0.5, 0), (2, 0, 0), (3, 0, np.tanh(0))):
        opened = x.copy()
        opened[0, place] = 50
        _, got_c, got_h = native.lstm_cell(opened, hidden, c)
        np.testing.assert_allclose([got_c[0, 0], got_h[0, 0]], [c_new, h], atol=1e-15)
    h = np.array([[0.25]])
    for gates, y in (
        ([-50, 50, 50], 0.25),
        ([-50, -50, 0.5], np.tanh(0.5)),
        ([50, -50, 0.5], np.tanh(0.5 + 2 + 3)),
    ):
        x = np.array([gates], float)
        _, got = native.gru_cell(x, np.array([[0.0, 0, 2]]), np.array([3.0]), h)
        np.testing.assert_allclose(got, [[y]], atol=1e-15)


def test_the_gradient_of_a_bias_keeps_its_digits_over_many_rows():
    """Equal rounding errors would add up in a float32 sum."""
    rows = 200_000
    gates, h = np.full((rows, 9), 0.3, np.float32), np.zeros((rows, 3), np.float32)
    _, dhidden, dbias, _ = native.gru_cell_backward(
        np.full((rows, 3), 0.1, np.float32), gates, gates, np.zeros(3, np.float32), h
    )
    exact = dhidden[:, 6:].sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(dbias, exact, rtol=2 * eps(np.float32))


@each
@either
@FLOATS
def test_any_number_of_threads_gives_the_same_bits(name, flag, dtype):
    same_bits(getattr(native, name), CASES[name](301, 203, dtype, flag))


@FLOATS
def test_extreme_gates_do_not_overflow(dtype):
    x = np.array([[1e4, 1e4, -1e4, 1e4], [-1e4, 1e4, np.inf, -np.inf]], dtype)
    c = np.array([[3.0], [2.0]], dtype)
    with np.errstate(all="raise"):
        gates, c_new, h = native.lstm_cell(x, np.zeros_like(x), c)
    np.testing.assert_array_equal(gates, [[1, 1, -1, 1], [0, 1, 1, 0]])
    np.testing.assert_array_equal(c_new, [[2], [2]])
    np.testing.assert_allclose(h, [[np.tanh(2)], [0]], rtol=1e-6)


@each
def test_nan_stays_in_its_row_and_column(name):
    case = CASES[name](5, 40, np.float32)
    clean = getattr(native, name)(**case)
    for argument, value in case.items():
        if not isinstance(value, np.ndarray) or value.ndim != 2:
            continue
        spoiled = value.copy()
        spoiled[3, 7] = np.nan  # a value of the first gate, where there are several
        found = getattr(native, name)(**case | {argument: spoiled})
        if (name, argument) != ("gru_cell_backward", "hidden"):  # it reads the last gate
            assert any(np.isnan(a).any() for a in found)
        for a, b in zip(found, clean, strict=True):
            if a.ndim == 2:
                others = np.ones(a.shape, bool)
                others[3, 7::40] = False
                np.testing.assert_array_equal(a[others], b[others])


@each
def test_bad_arrays_are_refused(name):
    kernel, case = getattr(native, name), CASES[name](5, 7, np.float32)
    for argument, value in case.items():
        if isinstance(value, np.ndarray):
            refuses(kernel, case, argument, LAYOUTS | KINDS)
            if value.ndim == 2:
                refuses(kernel, case, argument, RANKS)
            other = {
                "double": lambda a: a.astype(np.float64),
                "wider": lambda a: np.ones((*a.shape[:-1], a.shape[-1] + 1), a.dtype),
            }
            state = "h" if "gru" in name else "c"
            if argument == state:  # the others must be multiples of its size
                for spoil in other.values():
                    with pytest.raises((TypeError, ValueError), match=rf"{name}: .* {state}"):
                        kernel(**case | {argument: spoil(value)})
            else:
                refuses(kernel, case, argument, other)
            if value.ndim == 2 and argument != state:
                refuses(
                    kernel, case, argument, {"a row more": lambda a: np.concatenate([a, a[:1]])}
                )
