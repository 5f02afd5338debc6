"""These tests check that whatever can become an array (tensors of other libraries, tables,
pictures) is accepted as one.
"""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.errors import refuses


class Table:
    """Resembles a DataFrame: it can become an array, and has no dtype of its own."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)

    def __len__(self):
        return len(self.array)


class Picture:
    """Resembles a picture of Pillow."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.kept = array


class Wanting:
    """Resembles a PyTorch tensor that requires a gradient."""

    requires_grad = True

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


X, LABELS, WEIGHT = uniform(4, 3), np.array([0, 2, 1, 1]), uniform(3, low=0.1)
USES = {
    "tensor": (md.tensor, X),
    "Tensor": (md.Tensor, X),
    "relu": (md.relu, X),
    "an operand": (lambda x: md.ones(3) * x, X),
    "an operand on the left": (lambda x: x - md.ones(3), X),
    "compared": (lambda x: md.ones(3) < x, X),
    "equal": (lambda x: md.ones(3) == x, X),
    "where": (lambda m: md.where(m, 1.0, 0.0), X > 0),
    "mask": (lambda m: md.tensor(X)[m], X > 0),
    "index": (lambda i: md.tensor(X)[i], LABELS),
    "labels": (lambda y: md.cross_entropy(X, y), LABELS),
    "labels of nll": (lambda y: md.nll_loss(X, y), LABELS),
    "labels of accuracy": (lambda y: md.accuracy(X, y), LABELS),
    "class weights": (lambda w: md.cross_entropy(X, LABELS, weight=w), WEIGHT),
    "distribution": (lambda p: md.cross_entropy(X, p), np.abs(X)),
    "targets": (lambda y: md.mse_loss(X, y), X + 1),
    "ids": (lambda i: md.embedding(i, X), LABELS),
    "one_hot": (lambda i: md.one_hot(i, 3), LABELS),
    "concatenated": (lambda x: md.concatenate([md.tensor(X), x]), X),
    "a layer": (lambda x: DENSE(x), X),
    "predict": (lambda x: DENSE.predict(x), X),
    "batch_norm": (lambda x: md.batch_norm(x, None, None, training=True), X),
    "mask of batch_norm": (
        lambda m: md.batch_norm(X, None, None, training=True, mask=m),
        X[:, 0] < 2,
    ),
    "data set": (lambda x: data.ArrayDataset(x, LABELS)[1][0], X),
    "labels of a data set": (lambda y: data.ArrayDataset(X, y)[1][1], LABELS),
    "Parameter": (lambda x: nn.Parameter(x), X),
    "bounds": (lambda x: md.clip(md.tensor(X), x), X - 0.1),
}
DENSE = nn.Dense(3, 2)


@pytest.mark.parametrize("wrap", [Table, Picture])
@pytest.mark.parametrize("use, array", USES.values(), ids=USES)
def test_arrays_of_others(use, array, wrap):
    expected, got = use(array), use(wrap(array))
    if isinstance(expected, md.Tensor):
        assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


def test_they_keep_their_dtype():
    for dtype in (np.float64, np.float32, np.uint8):
        assert md.tensor(Table(np.ones(2, dtype))).dtype == dtype
        assert md.tensor([Table(np.ones(2, dtype))]).dtype == dtype


def test_data_and_grad_may_be_assigned():
    t = md.tensor([1.0, 2.0])
    t.data = Table(np.float32([3, 4]))
    t.grad = Table(np.float32([5, 6]))
    assert (t.data.tolist(), t.grad.tolist()) == ([3, 4], [5, 6])


test_errors = errors_of(
    [
        (lambda: md.relu(Wanting()), TypeError, "relu: x", "Wanting", "detach() it first"),
        (lambda: md.tensor(Wanting()), TypeError, "Wanting", "detach() it first"),
        (lambda: md.ones(2) + Wanting(), TypeError, "add", "detach() it first"),
        (lambda: md.cross_entropy(X, Wanting()), TypeError, "labels", "detach() it first"),
        (lambda: md.relu(Table(np.array(["a"]))), TypeError, "relu: x must be numbers", "<U1"),
        (lambda: md.relu({}), TypeError, "relu: x must be a tensor or an array, got dict"),
    ]
)

# ------------------------------------------------------------- float64 beside float32


LEAF = md.tensor(X, requires_grad=True)


@pytest.mark.parametrize(
    "x, words",
    [
        (md.tensor(X) * np.ones(3), ["x float64, weight float32", "NumPy's arrays"]),
        (X.astype(np.float64), ["x float64, weight float32", "NumPy's arrays"]),
        (LEAF * np.ones(3), ["x is float64 since Multiply", "float32 one"]),
        (md.tanh(md.exp(LEAF + np.ones(3)) * 2), ["x is float64 since Add"]),
        (md.relu(LEAF.astype(np.float64)), ["x is float64 since astype has made it so"]),
    ],
)
def test_the_origin_of_float64_is_named(x, words):
    with refuses(TypeError, "mixed dtypes", *words):
        DENSE(x)
    if x.ndim == 2:
        with refuses(TypeError, "RNN", *words[1:] if len(words) > 1 else [words[0][2:]]):
            nn.RNN(3, 4)(x.reshape(1, 4, 3))
