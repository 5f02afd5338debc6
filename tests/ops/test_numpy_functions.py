"""These tests call NumPy's functions and operators with tensors among their arguments."""

import operator

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.errors import refuses

A, B = uniform(3, 4, low=0.5, high=2), uniform(3, 4, low=0.5, high=2, seed=1)

# minidl computes these calls, and the results are tensors with a graph.
OURS = {
    "add": lambda a, b: np.add(a, b),
    "subtract": lambda a, b: np.subtract(a, b),
    "multiply": lambda a, b: np.multiply(a, b),
    "divide": lambda a, b: np.divide(a, b),
    "remainder": lambda a, b: np.remainder(a, b),
    "power": lambda a, b: np.power(a, b),
    "maximum": lambda a, b: np.maximum(a, b),
    "minimum": lambda a, b: np.minimum(a, b),
    "negative": lambda a, b: np.negative(a),
    "absolute": lambda a, b: np.absolute(a),
    "exp": lambda a, b: np.exp(a),
    "log": lambda a, b: np.log(a),
    "sqrt": lambda a, b: np.sqrt(a),
    "tanh": lambda a, b: np.tanh(a),
    "sin": lambda a, b: np.sin(a),
    "cos": lambda a, b: np.cos(a),
    "sort": lambda a, b: np.sort(a, axis=0),
    "cumsum": lambda a, b: np.cumsum(a),
    "cumsum axis": lambda a, b: np.cumsum(a, axis=1),
    "square": lambda a, b: np.square(a),
    "matmul": lambda a, b: np.matmul(a, b.T),
    "sum": lambda a, b: np.sum(a),
    "sum axis": lambda a, b: np.sum(a, 0),
    "mean": lambda a, b: np.mean(a, axis=1, keepdims=True),
    "max": lambda a, b: np.max(a, -1),
    "amin": lambda a, b: np.amin(a),
    "var": lambda a, b: np.var(a, ddof=1),
    "std": lambda a, b: np.std(a, 1),
    "clip": lambda a, b: np.clip(a, 0.7, 1.5),
    "clip by name": lambda a, b: np.clip(a, a_min=0.7, a_max=None),
    "where": lambda a, b: np.where(A > 1, a, b),
    "reshape": lambda a, b: np.reshape(a, (4, 3)),
    "ravel": lambda a, b: np.ravel(a),
    "transpose": lambda a, b: np.transpose(a, (1, 0)),
    "expand_dims": lambda a, b: np.expand_dims(a, 1),
    "squeeze": lambda a, b: np.squeeze(a[:1]),
    "broadcast_to": lambda a, b: np.broadcast_to(a, (2, 3, 4)),
    "flip": lambda a, b: np.flip(a, 0),
    "pad": lambda a, b: np.pad(a, 1, constant_values=3),
    "stack": lambda a, b: np.stack([a, b], 1),
    "concatenate": lambda a, b: np.concatenate([a, b], axis=1),
    "concatenate with an array": lambda a, b: np.concatenate([a, np.ones((1, 4), a.dtype)]),
    "split": lambda a, b: np.split(a, 2, axis=1)[1],
    "einsum": lambda a, b: np.einsum("ij,ij->j", a, b),
    "array + tensor": lambda a, b: B + a,
    "array @ tensor": lambda a, b: B @ a.T,
    "scalar * tensor": lambda a, b: np.float32(2) * a,
}
CONSTANT = {
    "argmax": lambda a: np.argmax(a, axis=1),
    "argmin": lambda a: np.argmin(a),
    "any": lambda a: np.any(a > 1, axis=0),
    "all": lambda a: np.all(a > 0),
    "equal": lambda a: a == A,
    "less": lambda a: np.less(a, 1),
    "isfinite": np.isfinite,
    "floor_divide": lambda a: np.floor_divide(a, 0.3),
    "zeros_like": np.zeros_like,
    "ones_like": lambda a: np.ones_like(a, dtype=np.int64),
    "full_like": lambda a: np.full_like(a, 7),
    "shape": np.shape,
    "ndim": np.ndim,
    "size": np.size,
    "allclose": lambda a: np.allclose(a, A),
    "array_equal": lambda a: np.array_equal(a, A),
    "isclose": lambda a: np.isclose(a, 1.0),
    "nonzero of where": lambda a: np.where(a > 1)[0],
    "argsort": lambda a: np.argsort(a, 0),
    "and": lambda a: (A > 1) & (a < 2),
    "invert": lambda a: np.invert(a > 1),
}
# minidl does not have these functions, so NumPy computes them from the values.
VALUES = {
    "tan": np.tan,
    "median": np.median,
    "unique": np.unique,
    "norm": np.linalg.norm,
    "mean in float64": lambda a: np.mean(a, dtype=np.float64),
    "vstack": lambda a: np.vstack([a]),
    "max with a start": lambda a: np.max(a, initial=5),
    "reduce": np.add.reduce,
    "outer": lambda a: np.multiply.outer(a, a),
    "out": lambda a: np.add(a, 1, out=A.copy()),
    "in place": lambda a: operator.iadd(A.copy(), a),
}


def same(got, expected):
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-5)
    assert np.asarray(got).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("call", OURS.values(), ids=OURS)
def test_what_minidl_has_keeps_the_graph(call):
    a, b = (md.tensor(x, requires_grad=True) for x in (A, B))
    got = call(a, b)
    assert isinstance(got, md.Tensor)
    assert got.requires_grad
    same(got.data, call(A, B))
    got.sum().backward()
    assert a.grad.shape == A.shape


@pytest.mark.parametrize("call", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_results_without_a_gradient(call, requires_grad):
    same(call(md.tensor(A, requires_grad=requires_grad)), call(A))


@pytest.mark.parametrize("call", VALUES.values(), ids=VALUES)
def test_other_functions_are_numpys(call):
    got = call(md.tensor(A))
    assert not isinstance(got, md.Tensor)
    same(got, call(A))


@pytest.mark.parametrize("call", VALUES.values(), ids=VALUES)
def test_a_gradient_is_not_lost_silently(call):
    x = md.tensor(A, requires_grad=True)
    with refuses(TypeError, "lose the gradient", "x.data"):
        call(x)
    with md.no_grad():
        same(call(x), call(A))


def test_what_to_write_instead_is_said():
    x = md.tensor(A, requires_grad=True)
    with refuses(TypeError, "np.vstack", "or write md.concatenate"):
        np.vstack([x, x])
    with refuses(TypeError, "np.log1p", "or write md.log(1 + x)"):
        np.log1p(x)
    with refuses(TypeError, "np.linalg.norm", "or write md.sqrt((x * x).sum())"):
        np.linalg.norm(x)


def test_a_tensor_is_not_written_to():
    with refuses(TypeError, "np.add: out is a tensor", ".data"):
        np.add(A, A, out=md.tensor(A))
    x = md.tensor(A)
    for call, name in (
        (lambda: np.add.at(x, 0, 1), "np.add.at: the first argument"),
        (lambda: np.copyto(x, A), "np.copyto: dst"),
        (lambda: np.put(x, [0], 9), "np.put: a"),
        (lambda: np.putmask(x, A > 0, 9), "np.putmask: a"),
        (lambda: np.place(x, A > 0, [9]), "np.place: arr"),
        (lambda: np.fill_diagonal(x, 9), "np.fill_diagonal: a"),
    ):
        with refuses(TypeError, name, "is a tensor, which is not written to", ".data"):
            call()
    np.testing.assert_array_equal(x.data, A)
    target = A.copy()
    np.copyto(target, x * 2)
    np.testing.assert_array_equal(target, A * 2)


def test_shapes_do_not_compute_a_pending_result():
    y = md.batch_norm(md.tensor(A) * 1, None, None, training=True)
    assert np.shape(y) == (3, 4)
    assert (np.ndim(y), np.size(y)) == (2, 12)
    assert y._lazy is not None


def test_numpys_own_checks_take_tensors():
    np.testing.assert_allclose(md.tensor(A), A)
    np.testing.assert_array_equal(md.tensor(A, requires_grad=True), md.tensor(A))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(md.tensor(A), A + 1)


@pytest.mark.parametrize(
    "tensor, scalar",
    [
        (np.uint8([200]), np.int64(100)),
        (np.int32([1]), np.int64(2**40)),
        (np.int8([5]), np.uint8(7)),
        (np.array([True]), np.int16(3)),
        (np.uint8([3]), np.float32(0.5)),
        (np.int64([3]), np.True_),
        (np.uint8([200]), np.array(100)),
        (np.uint8([3]), 4),
        (np.int32([3]), 0.5),
    ],
)
@pytest.mark.parametrize("f", [operator.add, operator.mul, operator.sub, operator.gt, operator.mod])
def test_integers_promote_as_numpys(f, tensor, scalar):
    if tensor.dtype == bool and f is operator.sub and scalar is np.True_:
        pytest.skip("NumPy has none")
    for ours, expected in (
        (f(md.tensor(tensor), scalar), f(tensor, scalar)),
        (f(scalar, md.tensor(tensor)), f(scalar, tensor)),
    ):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected)


def test_scalars_are_weak_beside_floats():
    for scalar in (np.float64(0.1), np.int64(3), np.array(0.1), 3, 0.1, True):
        assert (md.tensor([1.0]) * scalar).dtype == np.float32
        assert (scalar * md.tensor([1.0])).dtype == np.float32
