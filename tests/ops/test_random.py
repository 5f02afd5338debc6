"""These tests check dropout."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.threads import threads

test_errors = errors_of(
    [
        *(
            (lambda p=p: md.dropout(md.zeros(3), p), ValueError, "dropout: p must be", repr(p))
            for p in (-0.1, 1.5, float("nan"))
        ),
        *(
            (
                lambda p=p: md.dropout(md.zeros(3), p),
                TypeError,
                "dropout: p must be a number",
                repr(p),
            )
            for p in ("half", True, None)
        ),
        (lambda: md.dropout(md.tensor([1, 2])), TypeError, "dropout: x must be float32", "int64"),
        (lambda: md.dropout("text"), TypeError, "dropout: x must be a tensor", "str"),
    ]
)


def dropped(x, p=0.5, seed=0):
    md.manual_seed(seed)
    return md.dropout(x, p)


@both_backends
@both_floats
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_values_are_dropped_or_scaled(p, dtype, backend):
    x = md.tensor(uniform(50, 40, 3, dtype=dtype, low=1, high=2))
    with md.use_backend(backend):
        y = dropped(x, p)
    assert y.dtype == dtype
    kept = y.data != 0
    np.testing.assert_allclose(y.data[kept], x.data[kept] / (1 - p), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - p, abs=0.03)  # 6000 values, with a fixed mask
    for axis in ((0, 1), (0, 2), (1, 2)):  # there is no pattern along an axis
        assert kept.mean(axis=axis) == pytest.approx(1 - p, abs=0.25)


@both_backends
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (3, 4), (2, 3, 4, 5)])
def test_gradients(shape, backend):
    """The mask of the backward is that of the forward."""
    x = md.tensor(uniform(*shape, dtype=np.float64, low=1, high=2), requires_grad=True)
    with md.use_backend(backend):
        assert md.gradcheck(dropped, [x])
        y = dropped(x, 0.4)
        y.sum().backward()
    np.testing.assert_allclose(x.grad, y.data / x.data)


def test_a_second_backward_has_the_same_mask():
    x = md.tensor(np.ones(100, np.float32), requires_grad=True)
    y = dropped(x)
    y.sum().backward(retain_graph=True)
    first = x.grad
    md.dropout(x).sum()  # draws other numbers
    x.grad = None
    y.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, first)


def test_without_training_it_is_the_tensor_itself():
    x = md.tensor(uniform(3))
    assert md.dropout(x, 0.5, training=False) is x
    assert md.dropout(x, 0) is x
    assert x.dropout(0.0) is x


@both_backends
def test_everything_dropped(backend):
    x = md.tensor(uniform(5), requires_grad=True)
    with md.use_backend(backend):
        y = dropped(x, 1.0)
        y.sum().backward()
    assert not y.data.any()
    assert not x.grad.any()


def test_masks_are_a_function_of_the_seed():
    x = md.ones(1000)
    np.testing.assert_array_equal(dropped(x).data, dropped(x).data)
    assert (dropped(x).data != dropped(x, seed=1).data).any()
    md.manual_seed(0)
    assert (md.dropout(x).data != md.dropout(x).data).any()


def test_a_value_depends_on_its_place_alone():
    """It depends neither on the size of the array, nor on its shape, nor on its dtype."""
    long = dropped(md.ones(1000)).data
    np.testing.assert_array_equal(long[:10], dropped(md.ones(10)).data)
    np.testing.assert_array_equal(long[:12].reshape(3, 4), dropped(md.ones(3, 4)).data)
    np.testing.assert_array_equal(long, dropped(md.ones(1000, dtype=np.float64)).data)


@both_floats
def test_the_same_bits_on_any_threads_and_backend(dtype):
    results = []
    for n in (1, 2, 3):
        with threads(n):
            results.append(dropped(md.tensor(uniform(101, 1009, dtype=dtype)), 0.3).data)
    with md.use_backend("numpy"):
        results.append(dropped(md.tensor(uniform(101, 1009, dtype=dtype)), 0.3).data)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_nothing_is_drawn_for_what_is_not_dropped():
    md.manual_seed(3)
    expected = md.rand(4).data
    md.manual_seed(3)
    md.dropout(md.ones(5), 0.5, training=False)
    md.dropout(md.ones(5), 0.0)
    np.testing.assert_array_equal(md.rand(4).data, expected)
