"""These tests check Tensor: the array, conversions, comparisons of identity, copies, and the rules
of its attributes.
"""

import copy
import gc
import math
import operator
import pickle
import unittest.mock
import weakref

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.errors import refuses

# ----------------------------------------------------------------------------- the array


def test_a_tensor_wraps_an_array():
    array = uniform(2, 3)
    t = md.Tensor(array)
    assert t.data is array
    assert t.numpy() is array
    assert np.asarray(t) is array
    assert (t.shape, t.ndim, t.size, t.dtype) == ((2, 3), 2, 6, np.float32)
    assert (t.requires_grad, t.grad) == (False, None)
    assert md.Tensor(t).data is array
    assert md.Tensor(array, requires_grad=True).requires_grad
    assert md.Tensor([1, 2]).dtype == np.int64
    assert md.Tensor(np.float64(2)).shape == ()


def test_conversion_to_numpy():
    t = md.tensor([1.5, 2.5])
    assert np.array(t).tolist() == [1.5, 2.5]
    assert not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert np.array(t, dtype=int).tolist() == [1, 2]
    assert np.stack([t, t]).shape == (2, 2)


def test_data_may_be_assigned():
    t = md.tensor([1.0, 2.0], requires_grad=True)
    new = np.array([3, 4], np.float32)
    t.data = new
    new[0] = 5
    assert t.data.tolist() == [5, 4]
    t.data = md.tensor([6.0, 7.0])
    assert t.data.tolist() == [6, 7]
    t.data = np.array([[1, 2], [3, 4]], np.float32)[:, 0]
    assert t.data.flags.c_contiguous
    assert t.requires_grad
    t.data *= 2
    assert t.data.tolist() == [2, 6]
    (t * t).sum().backward()
    assert t.grad.tolist() == [4, 12]


@pytest.mark.parametrize("value", [np.float32(3), np.array(3, np.float32), md.tensor(3.0)])
def test_data_of_a_scalar_may_be_assigned(value):
    t = md.tensor(1.0)
    t.data = value
    assert t.shape == t.data.shape == ()
    assert t.item() == 3


def test_data_inside_a_graph_may_be_assigned():
    """What was computed before keeps its values, and what is computed after sees the new ones."""
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = y * y
    y.data = np.array([10, 10], np.float32)
    assert z.data.tolist() == [4, 16]
    assert (y + 0).data.tolist() == [10, 10]
    z.sum().backward()
    assert x.grad.tolist() == [8, 16]


T = md.tensor([[1.0, 2.0]])
G = md.tensor([1.0], requires_grad=True)


def setting(name, value, make=lambda: md.tensor([[1.0, 2.0]])):
    return lambda: setattr(make(), name, value)


test_errors = errors_of(
    [
        (
            setting("data", np.zeros(2, np.float32)),
            ValueError,
            "data: the tensor is float32 (1, 2)",
            "float32 (2,)",
        ),
        (setting("data", np.zeros((1, 2))), ValueError, "data: the tensor is", "float64 (1, 2)"),
        (setting("data", [[1, 2]]), ValueError, "data:", "int64 (1, 2)"),
        (
            setting("grad", np.zeros(2, np.float32)),
            ValueError,
            "grad: the tensor is float32 (1, 2)",
            "float32 (2,)",
        ),
        (setting("grad", np.zeros((1, 2))), ValueError, "grad:", "float64 (1, 2)"),
        (
            setting("requires_grad", True, lambda: md.tensor([1])),
            TypeError,
            "requires_grad: only float32 and float64",
            "int64",
        ),
        (
            setting("requires_grad", True, lambda: md.tensor(np.ones(1, np.float16))),
            TypeError,
            "requires_grad: only float32 and float64",
            "float16",
        ),
        (
            setting("requires_grad", False, lambda: G * 2),
            RuntimeError,
            "requires_grad: only a leaf's",
            "detach()",
        ),
        (lambda: md.tensor([1, 2], requires_grad=True), TypeError, "requires_grad", "int64"),
        (lambda: T.item(), ValueError, "item: needs a tensor with one element", "(1, 2)"),
        (lambda: float(T), ValueError, "item: needs a tensor with one element", "(1, 2)"),
        (lambda: bool(T), ValueError, "shape (1, 2) is ambiguous", "one element"),
        (lambda: bool(md.zeros(0)), ValueError, "shape (0,) is ambiguous"),
        (lambda: len(md.tensor(1.0)), TypeError, "len() of a 0-d tensor"),
        (lambda: iter(md.tensor(1.0)), TypeError, "iteration over a 0-d tensor"),
        (
            lambda: operator.index(T),
            TypeError,
            "only a tensor with one element is an index",
            "(1, 2)",
        ),
        (lambda: operator.index(md.tensor(1.0)), TypeError, "float"),
        (lambda: [10, 20][md.tensor(True)], TypeError, "a bool tensor is no index"),
        (lambda: f"{T:.2f}", TypeError, "format: '.2f' needs a tensor with one element", "(1, 2)"),
        (lambda: round(T, 2), ValueError, "one element", "(1, 2)"),
        (lambda: T < None, TypeError, "less", "NoneType"),
        (lambda: T + "a", TypeError, "add", "str"),
        (lambda: T == 1j, TypeError, "equal: complex"),
        (lambda: T.nonsense, AttributeError, "'Tensor' object has no attribute 'nonsense'"),
        (lambda: T.tensor, AttributeError, "'Tensor' object has no attribute 'tensor'"),
        (setting("nonsense", 1), AttributeError, "nonsense"),
        (lambda: md.Tensor("text"), TypeError, "Tensor: needs numbers"),
        (lambda: md.Tensor(np.array([object()])), TypeError, "Tensor: needs numbers", "object"),
        (lambda: md.Tensor(np.ones(1, complex)), TypeError, "Tensor: needs numbers", "complex128"),
        (lambda: md.tensor([1.0]).retain_grad(), RuntimeError, "retain_grad: the tensor does not"),
        (lambda: copy.deepcopy(G * 2), TypeError, "inside a graph", "detach()"),
        (lambda: pickle.dumps(G * 2), TypeError, "inside a graph", "detach()"),
    ]
)

# ------------------------------------------------------------------------ Python's protocols


def test_numbers():
    assert md.tensor(2.5).item() == 2.5
    assert isinstance(md.tensor([[2.5]]).item(), float)
    assert isinstance(md.tensor(2).item(), int)
    assert md.tensor([True]).item() is True
    assert float(md.tensor([2.5])) == 2.5
    assert int(md.tensor(2.9)) == 2
    assert bool(md.tensor([0.0])) is False
    assert bool(md.tensor(-1)) is True
    assert [10, 20, 30][md.tensor(1)] == 20
    assert list(range(md.tensor([3]))) == [0, 1, 2]
    assert complex(md.tensor(2.5)) == 2.5
    x = md.tensor(-2.9)
    assert (math.trunc(x), math.floor(x), math.ceil(x)) == (-2, -3, -2)


def test_format_and_round():
    loss = md.tensor(1.23456, requires_grad=True)
    assert (f"{loss:.3f}", f"{md.tensor([1500.0]):.2e}") == ("1.235", "1.50e+03")
    assert (f"{md.tensor(7):03d}", f"{md.tensor([1.0, 2.0])}") == ("007", "tensor([1., 2.])")
    assert (round(md.tensor(1.25), 1), round(md.tensor(2.6))) == (1.2, 3)
    assert isinstance(round(md.tensor(2.6)), int)


def test_none_and_strings_equal_no_tensor():
    t = md.tensor([1.0, 2.0])
    for other in (None, "a", {}, {1.0}, object(), int):
        assert (t == other) is False
        assert (other == t) is False
        assert (t != other) is True
        assert other not in t
    assert [t, None, None].count(None) == 2
    assert (t == unittest.mock.ANY) is True
    for other in (1, [1.0, 3.0], np.array([1.0, 3.0]), md.tensor([1.0, 3.0]), np.float64(1)):
        np.testing.assert_array_equal(t == other, t.data == np.asarray(other))
        np.testing.assert_array_equal(t != other, t.data != np.asarray(other))


def test_contains():
    t = md.tensor([[1.0, 2.0], [3.0, np.nan]])
    assert 2 in t
    assert np.float64(3) in t
    assert [1.0, 2.0] in t  # any element counts, as in NumPy
    assert 4 not in t
    assert np.nan not in t


def test_length_and_iteration():
    t = md.tensor(uniform(3, 2), requires_grad=True)
    assert len(t) == 3
    rows = list(t)
    assert [r.shape for r in rows] == [(2,)] * 3
    np.testing.assert_array_equal(np.stack([r.data for r in rows]), t.data)
    (rows[0] * 2 + rows[2]).sum().backward()
    assert t.grad.tolist() == [[2, 2], [0, 0], [1, 1]]
    a, _, b = t
    np.testing.assert_array_equal((a + b).data, t.data[0] + t.data[2])
    assert list(md.zeros(0, 3)) == []


def test_tensors_are_distinguished_by_identity():
    a, b = md.tensor([1.0]), md.tensor([1.0])
    assert hash(a) != hash(b)
    assert len({a, b, a}) == 2
    assert {a: 1, b: 2}[b] == 2
    assert (a == b).data.tolist() == [True]
    assert a in [b, a]


def test_weak_references():
    t = md.tensor([1.0])
    ref = weakref.ref(t)
    assert ref() is t
    del t
    gc.collect()
    assert ref() is None


def test_repr():
    assert repr(md.tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(md.tensor(1.5)) == "tensor(1.5)"
    assert repr(md.tensor([1, 2])) == "tensor([1, 2], dtype=int64)"
    assert repr(md.tensor([1.0], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(md.tensor(np.ones(1), requires_grad=True)) == (
        "tensor([1.], dtype=float64, requires_grad=True)"
    )
    lines = repr(md.zeros(2, 2)).splitlines()
    assert lines == ["tensor([[0., 0.],", "        [0., 0.]])"]
    assert len(repr(md.zeros(1000, 1000))) < 1000


# --------------------------------------------------------------------------------- gradients


def test_requires_grad():
    t = md.tensor([1.0])
    assert not (t * 2).requires_grad
    t.requires_grad = True
    y = t * 2
    assert y.requires_grad
    y.requires_grad = True  # it does already
    assert not (t > 0).requires_grad
    assert not t.astype(np.int64).requires_grad
    assert not md.argmax(t).requires_grad
    t.requires_grad = False
    assert not (t * 2).requires_grad
    y.backward(np.ones(1))  # the graph was made before


def test_grad_may_be_cleared_and_assigned():
    t = md.tensor([1.0, 2.0], requires_grad=True)
    (t * 3).sum().backward()
    t.grad = None
    assert t.grad is None
    t.grad = np.array([1, 1], np.float32)
    (t * 3).sum().backward()
    assert t.grad.tolist() == [4, 4]
    t.grad = md.tensor([5.0, 5.0])
    assert isinstance(t.grad, np.ndarray)


def test_detach():
    t = md.tensor([1.0, 2.0], requires_grad=True)
    y = t * 2
    d = y.detach()
    assert not d.requires_grad
    assert np.shares_memory(d.data, y.data)
    (d * t).sum().backward()
    assert t.grad.tolist() == [2, 4]
    d.requires_grad = True
    (d * d).sum().backward()
    assert d.grad.tolist() == [4, 8]
    assert t.grad.tolist() == [2, 4]


# ------------------------------------------------------------------------------------ copies


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, *(lambda t, p=p: pickle.loads(pickle.dumps(t, p)) for p in range(6))],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_copies_of_leaves(duplicate, requires_grad):
    t = md.tensor(uniform(2, 3), requires_grad=requires_grad)
    other = duplicate(t)
    assert type(other) is md.Tensor
    assert other.requires_grad == requires_grad
    assert other.dtype == t.dtype
    np.testing.assert_array_equal(other.data, t.data)
    assert not np.shares_memory(other.data, t.data)
    assert other.grad is None
    if requires_grad:
        other.sum().backward()
        assert t.grad is None
        assert (other.grad == 1).all()


def test_copies_keep_what_is_shared():
    t = md.tensor([1.0])
    a, b = copy.deepcopy([t, t])
    assert a is b
    a, b = pickle.loads(pickle.dumps([t, t]))
    assert a is b


def test_copies_of_subclasses_keep_their_attributes():
    t = Named(uniform(3))
    t.name = "weight"
    for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert type(other) is Named
        assert other.name == "weight"
        np.testing.assert_array_equal(other.data, t.data)


class Named(md.Tensor):
    """A subclass with attributes of its own."""


def test_operations_on_subclasses_give_tensors():
    assert type(Named(uniform(3)) * 2) is md.Tensor


def test_deepcopy_inside_a_graph_after_detach():
    x = md.tensor([1.0], requires_grad=True)
    y = copy.deepcopy((x * 2).detach())
    assert y.data.tolist() == [2]
    with refuses(TypeError, "detach()"):
        copy.deepcopy({"y": x * 2})


def test_an_array_out_of_line_may_become_the_data():
    room = np.zeros(17, np.uint8)[1:].view(np.float32).reshape(2, 2)
    x = md.zeros(2, 2)
    x.data = room
    np.testing.assert_array_equal((x * 2 + 1).data, 1)


def test_lists_of_typed_values_keep_their_dtype():
    t = md.tensor(np.array([0.1, 0.2]))
    assert md.tensor([t, t]).dtype == np.float64
    assert md.tensor([1.0, np.float64(2)]).dtype == np.float64
    assert md.tensor([1.0, 2]).dtype == np.float32
    assert md.sum([t, t]).item() == 0.6000000000000001


def test_lists_are_assigned_as_they_are_made_tensors():
    x = md.tensor([[1.0, 2.0]], requires_grad=True)
    x.data, x.grad = [[3.0, 4.0]], [[5.0, 6.0]]
    assert x.data.dtype == x.grad.dtype == np.float32
    assert x.data.tolist() == [[3, 4]] and x.grad.tolist() == [[5, 6]]
