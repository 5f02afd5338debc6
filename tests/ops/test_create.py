"""These tests make tensors: from values, filled, random."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.marks import both_floats

FLOAT64 = np.array([[1.5, 2.5], [3.5, 4.5]])


@pytest.mark.parametrize(
    "value, dtype",
    [
        (1.5, np.float32),
        (2, np.int64),
        (True, np.bool_),
        ([1.5, 2], np.float32),
        ([1, 2], np.int64),
        ([[1.0, 2.0], [3.0, 4.0]], np.float32),
        ((1.0, 2.0), np.float32),
        ([True, False], np.bool_),
        ([], np.float32),
        ([[], []], np.float32),
        (np.float64(1.5), np.float64),
        (np.float32(1.5), np.float32),
        (np.int32(2), np.int32),
        (FLOAT64, np.float64),
        (FLOAT64.astype(np.float32), np.float32),
        (FLOAT64.astype(np.uint8), np.uint8),
        ([np.float64(1.5), np.float64(2)], np.float64),
        ([np.float32(1.5), np.float32(2)], np.float32),
        ([FLOAT64[0], FLOAT64[1]], np.float64),
        (range(3), np.int64),
    ],
    ids=repr,
)
def test_dtype_of_values(value, dtype):
    t = md.tensor(value)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.data, np.array(value))
    assert t.shape == np.shape(value)
    assert not t.requires_grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, bool, "float64"])
def test_dtype_given(dtype):
    for value in ([1, 0, 1], [1.0, 0.0, 1.0], np.array([1, 0, 1]), md.tensor([1.0, 0.0, 1.0])):
        t = md.tensor(value, dtype=dtype)
        assert t.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(t.data, np.array([1, 0, 1], dtype))


def test_tensor_copies_its_argument():
    array = uniform(3)
    t = md.tensor(array, requires_grad=True)
    u = md.tensor(t)
    array[...] = 0
    assert t.data.all()
    t.data[...] = 1
    assert (u.data != 1).all()
    assert t.requires_grad
    assert not u.requires_grad


def test_tensor_of_tensors():
    parts = [md.tensor(1.5), md.tensor(2.5)]
    assert md.tensor(parts).data.tolist() == [1.5, 2.5]
    assert md.tensor(parts).dtype == np.float32


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(FLOAT64),
        FLOAT64[::-1, ::-1],
        FLOAT64.T,
        FLOAT64.astype(">f8"),
        np.broadcast_to(FLOAT64[0], (3, 2)),
        np.frombuffer(b"\0" + FLOAT64.tobytes(), np.float64, offset=0, count=4)[:0],
        np.ndarray((2, 2), np.float64, b"\0" + FLOAT64.tobytes(), 1),
    ],
    ids=["Fortran", "backwards", "transposed", "big-endian", "broadcast", "empty", "unaligned"],
)
def test_arrays_in_any_memory(array):
    for t in (md.tensor(array), md.Tensor(array)):
        assert t.data.flags.c_contiguous
        assert t.data.flags.aligned
        assert t.dtype.isnative
        np.testing.assert_array_equal(t.data, array)


@both_floats
def test_filled(dtype):
    for made, expected in (
        (md.zeros(2, 3, dtype=dtype), np.zeros((2, 3))),
        (md.zeros((2, 3), dtype=dtype), np.zeros((2, 3))),
        (md.zeros([2, 3], dtype=dtype), np.zeros((2, 3))),
        (md.zeros(0, 3, dtype=dtype), np.zeros((0, 3))),
        (md.zeros(np.int64(2), dtype=dtype), np.zeros(2)),
        (md.ones(4, dtype=dtype), np.ones(4)),
        (md.ones((), dtype=dtype), np.ones(())),
        (md.full((2, 2), 1.5, dtype=dtype), np.full((2, 2), 1.5)),
        (md.full(3, 2, dtype=dtype), np.full(3, 2)),
        (md.arange(5, dtype=dtype), np.arange(5)),
        (md.arange(1, 2, 0.25, dtype=dtype), np.arange(1, 2, 0.25)),
        (md.eye(3, dtype=dtype), np.eye(3)),
        (md.eye(2, 4, dtype=dtype), np.eye(2, 4)),
    ):
        assert made.dtype == dtype
        assert made.shape == expected.shape
        np.testing.assert_array_equal(made.data, expected)


def test_float32_is_the_default():
    for t in (
        md.zeros(2),
        md.ones(2),
        md.eye(2),
        md.rand(2),
        md.randn(2),
        md.full(2, 1.5),
        md.arange(3.0),
        md.arange(0, 1, 0.5),
        md.zeros(),
    ):
        assert t.dtype == np.float32


def test_other_dtypes_come_from_the_values():
    assert md.full(2, 3).dtype == np.int64
    assert md.full(2, True).dtype == bool
    assert md.full(2, np.float64(1.5)).dtype == np.float64
    assert md.arange(3).dtype == np.int64
    assert md.arange(5, 1, -2).data.tolist() == [5, 3]


@pytest.mark.parametrize(
    "x",
    [md.tensor(FLOAT64), FLOAT64, md.tensor(FLOAT64.astype(np.float32)), md.tensor(1.5)],
    ids=["tensor", "array", "float32", "scalar"],
)
def test_like(x):
    for made, value in ((md.zeros_like(x), 0), (md.ones_like(x), 1), (md.full_like(x, 2.5), 2.5)):
        assert made.shape == x.shape
        assert made.dtype == x.dtype
        assert (made.data == value).all()
    for made in (md.rand_like(x), md.randn_like(x)):
        assert made.shape == x.shape
        assert made.dtype == x.dtype
    assert md.zeros_like(x, dtype=np.int32).dtype == np.int32
    assert md.rand_like(x, dtype=np.float32).dtype == np.float32


def test_every_one_of_them_may_require_a_gradient():
    for t in (
        md.tensor([1.0], requires_grad=True),
        md.zeros(2, requires_grad=True),
        md.ones(2, requires_grad=True),
        md.full(2, 1.5, requires_grad=True),
        md.arange(3.0, requires_grad=True),
        md.eye(2, requires_grad=True),
        md.rand(2, requires_grad=True),
        md.randn(2, requires_grad=True),
        *(
            f(FLOAT64, requires_grad=True)
            for f in (md.zeros_like, md.ones_like, md.rand_like, md.randn_like)
        ),
        md.full_like(FLOAT64, 1.5, requires_grad=True),
    ):
        assert t.requires_grad
        t.sum().backward()
        assert (t.grad == 1).all()


@both_floats
def test_random_numbers(dtype):
    md.manual_seed(0)
    u, n = md.rand(100, 200, dtype=dtype).data, md.randn(100, 200, dtype=dtype).data
    assert u.dtype == n.dtype == dtype
    assert 0 <= u.min() < 0.001
    assert 0.999 < u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.01)
    assert u.var() == pytest.approx(1 / 12, abs=0.002)
    assert n.mean() == pytest.approx(0, abs=0.03)
    assert n.var() == pytest.approx(1, abs=0.03)
    for f in (md.rand, md.randn):
        assert f().shape == ()
        assert f(3).shape == (3,)
        assert f((2, 0)).shape == (2, 0)


test_errors = errors_of(
    [
        (lambda: md.tensor("text"), TypeError, "needs numbers"),
        (lambda: md.tensor([1j]), TypeError, "needs numbers", "complex128"),
        (lambda: md.tensor(None), TypeError, "tensor: needs numbers", "None, an array of object"),
        (lambda: md.tensor(10**30), TypeError, "needs numbers", "got 1000"),
        (lambda: md.arange(0, 1, 0), ValueError, "arange: step must not be 0"),
        (lambda: md.arange(0, 1, step=0.0), ValueError, "arange: step must not be 0"),
        (lambda: md.randn(2, dtype=np.int32), TypeError, "randn: dtype must be float32", "'int32'"),
        (lambda: md.tensor([1, "text"]), TypeError, "needs numbers"),
        (lambda: md.tensor(np.ones(2, np.longdouble)), TypeError, "needs numbers"),
        (lambda: md.tensor(np.array("2020-01-01", np.datetime64)), TypeError, "needs numbers"),
        (lambda: md.tensor([[1.0], [1.0, 2.0]]), ValueError, "inhomogeneous"),
        (
            lambda: md.tensor([1, 2], requires_grad=True),
            TypeError,
            "requires_grad: only float32",
            "int64",
        ),
        (lambda: md.zeros(2, dtype=bool, requires_grad=True), TypeError, "requires_grad", "bool"),
        (lambda: md.zeros(-1), ValueError, "negative"),
        (lambda: md.rand(2, dtype=np.int64), TypeError, "int64"),
    ]
)


def test_like_of_lists_is_like_a_tensor_of_them():
    for function in (md.zeros_like, md.ones_like, md.rand_like, md.randn_like):
        assert function([1.0, 2.0]).dtype == np.float32
    assert md.zeros_like([1, 2]).dtype == np.int64


def test_numpys_spellings():
    for function, value in ((md.zeros, 0), (md.ones, 1)):
        for t in (function((2, 3), np.float64), function(shape=(2, 3), dtype=np.float64)):
            assert t.dtype == np.float64
            np.testing.assert_array_equal(t.data, np.full((2, 3), value))
        with pytest.raises(TypeError, match=f"{function.__name__}: the shape is given twice"):
            function(2, shape=(2,))
    np.testing.assert_array_equal(md.full(shape=(2,), fill_value=3).data, [3, 3])
    np.testing.assert_array_equal(md.arange(start=1, stop=7, step=2).data, [1, 3, 5])
    np.testing.assert_array_equal(md.arange(1, stop=3).data, [1, 2])
    np.testing.assert_array_equal(md.eye(3, k=1).data, np.eye(3, k=1))
    np.testing.assert_array_equal(
        md.reshape(md.arange(6), shape=(2, 3)).data, np.arange(6).reshape(2, 3)
    )
