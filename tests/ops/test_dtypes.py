"""These tests check the dtypes of elementwise operations: NumPy's promotion, weak Python numbers,
arrays on either side.
"""

import operator

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.marks import both_backends

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
RELATIONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]
BY_NAME = {"ids": lambda f: getattr(f, "__name__", str(f))}


def array(dtype, seed=0):
    """Return (2, 3) integers from 1 to 3, or for bool some of both values."""
    values = np.random.default_rng(seed).integers(1, 4, (2, 3))
    return values != 2 if dtype == np.bool_ else values.astype(dtype)


def numpys(f, a, b):
    """Return NumPy's result, or the type of its error."""
    if f is operator.pow:
        f = np.power  # only `**` of bools and the number 2 would give another dtype
    try:
        with np.errstate(all="ignore"):
            return f(a, b)
    except (TypeError, OverflowError) as error:
        return type(error)


def same(f, a, b, expected):
    """Check that f(a, b) is a tensor with NumPy's values and dtype, or fails as NumPy does."""
    if isinstance(expected, type):
        with pytest.raises(expected):
            f(a, b)
        return
    with np.errstate(all="ignore"):
        result = f(a, b)
    assert isinstance(result, md.Tensor)
    assert result.dtype == expected.dtype, (a, b)
    np.testing.assert_allclose(result.data, expected, rtol=1e-6)


@both_backends
@pytest.mark.parametrize("f", ARITHMETIC + RELATIONS, **BY_NAME)
def test_tensors_promote_as_arrays_do(f, backend):
    with md.use_backend(backend):
        for one in DTYPES:
            for other in DTYPES:
                a, b = array(one), array(other, seed=1)
                same(f, md.tensor(a), md.tensor(b), numpys(f, a, b))
                same(f, md.tensor(a), md.tensor(b[0]), numpys(f, a, b[0]))


@both_backends
@pytest.mark.parametrize("f", ARITHMETIC + RELATIONS, **BY_NAME)
def test_arrays_are_operands_on_either_side(f, backend):
    with md.use_backend(backend):
        for one in DTYPES:
            for other in (np.float32, np.float64, np.int64):
                a, b = array(one), array(other, seed=1)
                same(f, a, md.tensor(b), numpys(f, a, b))
                same(f, md.tensor(a), b, numpys(f, a, b))
                same(f, b[:1], md.tensor(a), numpys(f, b[:1], a))


NUMBERS = [
    2,
    1.5,
    True,
    np.float64(1.5),
    np.float32(1.5),
    np.int64(2),
    np.bool_(True),
    np.array(1.5),
    np.array(2),
    np.float16(1.5),
    np.longdouble(1.5),
]


@both_backends
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_numbers_never_change_a_float_dtype(number, dtype, backend):
    x = array(dtype)
    with md.use_backend(backend):
        for f in ARITHMETIC:
            right, left = f(md.tensor(x), number), f(number, md.tensor(x))
            assert right.dtype == left.dtype == dtype
            np.testing.assert_allclose(right.data, f(x, float(number)), rtol=1e-6)
            np.testing.assert_allclose(left.data, f(float(number), x), rtol=1e-6)


@pytest.mark.parametrize("f", [*ARITHMETIC, *RELATIONS], **BY_NAME)
def test_numbers_and_other_dtypes_as_in_numpy(f):
    for dtype in (np.int64, np.int32, np.uint8, np.bool_):
        x = array(dtype)
        for number in (2, 1.5, True, 300):
            same(f, md.tensor(x), number, numpys(f, x, number))
            same(f, number, md.tensor(x), numpys(f, number, x))
            scalar = np.asarray(number)  # a NumPy scalar has a dtype
            same(f, md.tensor(x), scalar, numpys(f, x, scalar))


@pytest.mark.parametrize("f", RELATIONS, **BY_NAME)
def test_comparisons(f):
    a = md.tensor([[1.0, 2.0, np.nan]], requires_grad=True)
    b = md.tensor([[1.0], [np.nan], [3.0]])
    result = f(a, b)
    assert result.dtype == bool
    assert not result.requires_grad
    np.testing.assert_array_equal(result.data, f(a.data, b.data))
    np.testing.assert_array_equal(f(a, 1.5).data, f(a.data, 1.5))
    np.testing.assert_array_equal(f(1.5, a).data, f(1.5, a.data))


@both_backends
def test_gradients_come_in_the_dtype_of_their_tensor(backend):
    a = md.tensor(uniform(2, 3), requires_grad=True)
    b = md.tensor(uniform(2, 3, dtype=np.float64, low=1, high=2), requires_grad=True)
    with md.use_backend(backend):
        for f in (
            md.add,
            md.subtract,
            md.multiply,
            md.divide,
            md.maximum,
            md.minimum,
            lambda a, b: md.power(md.abs(a), b),
            lambda a, b: md.where(a > b, a, b),
            lambda a, b: md.concatenate([a, b]),
            lambda a, b: md.stack([b, a]),
        ):
            y = f(a, b)
            assert y.dtype == np.float64
            da, db = md.grad(y.sum(), [a, b])
            assert (da.dtype, db.dtype) == (np.float32, np.float64)


def test_an_array_operand_gets_no_gradient_but_gives_one():
    array = uniform(2, 3)
    x = md.tensor(uniform(2, 3, seed=1), requires_grad=True)
    (array * x + x / array).sum().backward()
    np.testing.assert_allclose(x.grad, array + 1 / array, rtol=1e-6)


@pytest.mark.parametrize("f", [md.sum, md.exp, lambda x: md.add(x, 1.0), lambda x: md.ones(2) * x])
def test_a_list_of_tensors_that_require_a_gradient_is_refused(f):
    w = md.tensor(2.0, requires_grad=True)
    for given in ([w, 1.0], (w, w), ((1.0,), [w])):
        with pytest.raises(TypeError, match=r"gradient, which would be lost; .* md\.stack"):
            f(given)
    plain = np.asarray(f([w.detach(), md.tensor(2.0)]))
    with md.no_grad():
        np.testing.assert_array_equal(f([w, w]), plain)


@pytest.mark.parametrize("f", [md.sum, lambda x: md.ones(2) * x])
def test_lists_without_end_are_refused(f):
    """They are not searched for tensors before they are known to be no arrays."""
    itself, deep = [], [1.0]
    itself.append(itself)
    for _ in range(2000):
        deep = [deep]
    for given in (itself, deep):
        with pytest.raises(
            TypeError, match="must be a tensor or an array, got a list that is none"
        ):
            f(given)


def test_in_place_operators_make_new_tensors():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = x
    y += 1
    y *= 2
    assert y is not x
    assert x.data.tolist() == [1, 2]
    assert y.data.tolist() == [4, 6]
    array = np.ones(2, np.float32)
    with pytest.raises(TypeError):  # it cannot become a tensor in place
        array += x
    assert array.tolist() == [1, 1]


def test_lists_of_numbers_are_weak_beside_a_float_tensor():
    x = md.tensor(np.array([1.0, 2.0]))
    few = [0.1, 0.2]
    for y in (x + few, few + x, md.add(few, x)):
        np.testing.assert_array_equal(y.data, x.data + np.array(few))
    assert (x.astype(np.float32) * few).dtype == np.float32
    assert md.mse_loss(x, [0.1, 0.2], "sum").item() == ((x.data - [0.1, 0.2]) ** 2).sum()
