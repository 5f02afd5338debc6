"""The cells of recurrent layers: the formulas, gradients by central differences, errors."""

import numpy as np
import pytest

import minidl as md
from minidl.ops.recurrent import gru_cell, lstm_cell
from tests.harness import case, checks_of, errors_of, uniform


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, hidden, c, squash=True):
    i, f, g, o = np.split(x + hidden, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * (np.tanh(c) if squash else 1), c


def gru(x, hidden, bias, h):
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, axis=1), np.split(hidden, 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * (hn + (0 if bias is None else bias)))
    return n + z * (h - n)


SHAPES = ((3, 2), (1, 1), (0, 2), (4, 17))      # (N, H)

test_values, test_gradients, test_threads = checks_of([
    *(case(f"lstm_cell {n} {h} {squash}", lstm_cell, lstm, (n, 4 * h), (n, 4 * h), (n, h),
           squash=squash) for n, h in SHAPES for squash in (True, False)),
    *(case(f"gru_cell {n} {h} {biased}", gru_cell, gru, (n, 3 * h), (n, 3 * h),
           (h,) if biased else None, (n, h)) for n, h in SHAPES for biased in (True, False)),
    case("large lstm_cell", lstm_cell, lstm, (3, 8), (3, 8), (3, 2),
         large=[(301, 400), (301, 400), (301, 100)]),
    case("large gru_cell", gru_cell, gru, (3, 6), (3, 6), (2,), (3, 2),
         large=[(301, 300), (301, 300), (100,), (301, 100)]),
])

X = md.ones((2, 12))
test_errors = errors_of([
    (lambda: lstm_cell(X, X, md.ones((2, 4))), ValueError, "lstm_cell", "x", "(2, 16)", "(2, 12)"),
    (lambda: lstm_cell(X, md.ones((3, 12)), md.ones((2, 3))), ValueError, "hidden", "(3, 12)"),
    (lambda: lstm_cell(X, X, md.ones((2, 3), np.float64)), TypeError, "float64", "float32"),
    (lambda: gru_cell(X, X, md.ones(3), md.ones((2, 4))), ValueError, "gru_cell", "bias", "(4,)"),
    (lambda: gru_cell(X, X, None, md.ones((2, 3))), ValueError, "gru_cell", "x", "(2, 9)"),
])


@pytest.mark.parametrize("wanted", ("x", "hidden", "c", "bias", "h"))
def test_one_gradient_alone(wanted):
    """The same whether the other inputs want theirs or not."""
    arrays = {"x": uniform(3, 12), "hidden": uniform(3, 12, seed=1), "c": uniform(3, 3, seed=2)}
    f = lambda **t: lstm_cell(**t)[0] * 2 + lstm_cell(**t)[1]       # noqa: E731
    if wanted in ("bias", "h"):
        arrays = {"x": uniform(3, 9), "hidden": uniform(3, 9, seed=1), "bias": uniform(3, seed=2),
                  "h": uniform(3, 3, seed=3)}
        f = gru_cell
    together = {name: md.tensor(a, requires_grad=True) for name, a in arrays.items()}
    alone = {name: md.tensor(a, requires_grad=name == wanted) for name, a in arrays.items()}
    for tensors in (together, alone):
        f(**tensors).sum().backward()
    np.testing.assert_array_equal(alone[wanted].grad, together[wanted].grad)
    assert all(t.grad is None for name, t in alone.items() if name != wanted)
