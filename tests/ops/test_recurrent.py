"""These tests check the cells of recurrent layers, and whole sequences of them: formulas,
gradients, errors.
"""

import numpy as np
import pytest

import minidl as md
from minidl.ops.recurrent import gru_cell, lstm_cell
from minidl.ops.sequence import sequence
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.reference.activation import sigmoid


def lstm(x, hidden, c, squash=True):
    i, f, g, o = np.split(x + hidden, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * (np.tanh(c) if squash else 1), c


def gru(x, hidden, bias, h):
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, axis=1), np.split(hidden, 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * (hn + (0 if bias is None else bias)))
    return n + z * (h - n)


def ours(x, weight, bias, *state, cell, reverse=False):
    y, last = sequence(cell, x, weight, bias, state, reverse)
    return (y, *last)


def by_steps(x, weight, bias, *state, cell, reverse=False):
    """Compute the same, one step after another."""
    ys = np.zeros((*x.shape[:2], weight.shape[0]))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        q = state[0] @ weight
        if cell == "lstm":
            state = lstm(x[t], q, state[1])
        elif cell == "gru":
            state = (gru(x[t], q, bias, state[0]),)
        else:
            state = (np.tanh(x[t] + q) if cell == "tanh" else np.maximum(x[t] + q, 0),)
        ys[t] = state[0]
    return (ys, *state)


def inputs(cell, t, n, h, biased=True):
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    return (
        (t, n, gates * h),
        (h, gates * h),
        (h,) if cell == "gru" and biased else None,
        *[(n, h)] * (2 if cell == "lstm" else 1),
    )


SHAPES = ((3, 2), (1, 1), (0, 2), (4, 17))  # (N, H)

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"lstm_cell {n} {h} {squash}",
                lstm_cell,
                lstm,
                (n, 4 * h),
                (n, 4 * h),
                (n, h),
                squash=squash,
            )
            for n, h in SHAPES
            for squash in (True, False)
        ),
        *(
            case(
                f"gru_cell {n} {h} {biased}",
                gru_cell,
                gru,
                (n, 3 * h),
                (n, 3 * h),
                (h,) if biased else None,
                (n, h),
            )
            for n, h in SHAPES
            for biased in (True, False)
        ),
        *(
            case(
                f"{cell} {shape} {reverse}",
                ours,
                by_steps,
                *inputs(cell, *shape),
                cell=cell,
                reverse=reverse,
            )
            for cell in ("tanh", "relu", "lstm", "gru")
            for shape in ((4, 3, 2), (1, 2, 3), (3, 0, 2), (2, 5, 17))
            for reverse in (False, True)
        ),
        case("gru without bias", ours, by_steps, *inputs("gru", 4, 3, 2, False), cell="gru"),
        *(
            case(
                f"large {cell}",
                ours,
                by_steps,
                *inputs(cell, 2, 2, 2),
                cell=cell,
                large=inputs(cell, 3, 301, 64),
            )
            for cell in ("tanh", "relu", "lstm", "gru")
        ),
        case(
            "large lstm_cell",
            lstm_cell,
            lstm,
            (3, 8),
            (3, 8),
            (3, 2),
            large=[(301, 400), (301, 400), (301, 100)],
        ),
        case(
            "large gru_cell",
            gru_cell,
            gru,
            (3, 6),
            (3, 6),
            (2,),
            (3, 2),
            large=[(301, 300), (301, 300), (100,), (301, 100)],
        ),
    ]
)

X = md.ones((2, 12))
test_errors = errors_of(
    [
        (
            lambda: lstm_cell(X, X, md.ones((2, 4))),
            ValueError,
            "lstm_cell",
            "x",
            "(2, 16)",
            "(2, 12)",
        ),
        (lambda: lstm_cell(X, md.ones((3, 12)), md.ones((2, 3))), ValueError, "hidden", "(3, 12)"),
        (lambda: lstm_cell(X, X, md.ones((2, 3), np.float64)), TypeError, "float64", "float32"),
        (
            lambda: gru_cell(X, X, md.ones(3), md.ones((2, 4))),
            ValueError,
            "gru_cell",
            "bias",
            "(4,)",
        ),
        (lambda: gru_cell(X, X, None, md.ones((2, 3))), ValueError, "gru_cell", "x", "(2, 9)"),
    ]
)


@pytest.mark.parametrize("wanted", ("x", "hidden", "c", "bias", "h"))
def test_one_gradient_alone(wanted):
    """It is the same whether the other inputs need theirs or not."""
    arrays = {"x": uniform(3, 12), "hidden": uniform(3, 12, seed=1), "c": uniform(3, 3, seed=2)}
    f = lambda **t: lstm_cell(**t)[0] * 2 + lstm_cell(**t)[1]  # noqa: E731
    if wanted in ("bias", "h"):
        arrays = {
            "x": uniform(3, 9),
            "hidden": uniform(3, 9, seed=1),
            "bias": uniform(3, seed=2),
            "h": uniform(3, 3, seed=3),
        }
        f = gru_cell
    together = {name: md.tensor(a, requires_grad=True) for name, a in arrays.items()}
    alone = {name: md.tensor(a, requires_grad=name == wanted) for name, a in arrays.items()}
    for tensors in (together, alone):
        f(**tensors).sum().backward()
    np.testing.assert_array_equal(alone[wanted].grad, together[wanted].grad)
    assert all(t.grad is None for name, t in alone.items() if name != wanted)


@pytest.mark.parametrize("cell", ("tanh", "relu", "lstm", "gru"))
@pytest.mark.parametrize("wanted", range(5))
def test_one_gradient_of_a_sequence_alone(cell, wanted):
    """It is computed twice, with the graph retained, since a backward must leave nothing behind."""
    shapes = inputs(cell, 4, 3, 2)
    if wanted >= len(shapes) or shapes[wanted] is None:
        return
    arrays = [None if shape is None else uniform(*shape, seed=k) for k, shape in enumerate(shapes)]
    grads = []
    for alone in (False, True):
        tensors = [
            None if a is None else md.tensor(a, requires_grad=not alone or k == wanted)
            for k, a in enumerate(arrays)
        ]
        total = sum((r * uniform(*r.shape, seed=9)).sum() for r in ours(*tensors, cell=cell))
        total.backward(retain_graph=True)
        grads.append(tensors[wanted].grad.copy())
        total.backward()
        np.testing.assert_allclose(tensors[wanted].grad, 2 * grads[-1], rtol=1e-6)
    np.testing.assert_array_equal(*grads)
