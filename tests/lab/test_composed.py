"""These tests check the composed batch normalization: it has the values and gradients of
nn.BatchNorm, and its statistics can be constants.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab.composed import Composed


def example(shape=(8, 5, 3)):
    rng = np.random.default_rng(0)
    return rng.normal(2, 3, shape), rng.standard_normal(shape)


def both(layer, x, dy):
    x = md.tensor(x, dtype=np.float64, requires_grad=True)
    y = layer.astype(np.float64)(x)
    return y.numpy(), md.grad((y * dy).sum(), [x])[0]


@pytest.mark.parametrize("affine", [True, False])
def test_is_a_batch_norm(affine):
    x, dy = example()
    for one, other in zip(
        both(Composed(3, affine=affine), x, dy),
        both(nn.BatchNorm(3, affine=affine), x, dy),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_groups_are_batches_of_their_own():
    x, dy = example()
    for one, other in zip(
        both(Composed(3, group=4), x, dy), both(nn.BatchNorm(3, ghost_batch=4), x, dy), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_a_part_of_a_group_is_refused():
    x, _ = example()
    with pytest.raises(ValueError, match="multiple of 3 examples, got 8"):
        Composed(3, group=3)(md.tensor(x))


def test_a_batch_of_one_value_is_beta():
    layer = Composed(3, group=1)
    layer.beta.data = np.float32([1, 2, 3])
    y = layer(md.tensor(np.float32([[5, 6, 7], [8, 9, 10]])))
    np.testing.assert_array_equal(y.numpy(), [[1, 2, 3], [1, 2, 3]])


def test_constant_statistics_have_no_gradient():
    x, dy = example()
    flat, rows = x.reshape(-1, 3), dy.reshape(-1, 3)
    std = np.sqrt(flat.var(axis=0) + 1e-5)
    y, dx = both(Composed(3, stopped=("mean", "std")), x, dy)
    np.testing.assert_allclose(dx, dy / std)
    np.testing.assert_allclose(
        both(Composed(3, stopped=("std",)), x, dy)[1].reshape(-1, 3),
        (rows - rows.mean(axis=0)) / std,
    )
    z = (flat - flat.mean(axis=0)) / std
    np.testing.assert_allclose(
        both(Composed(3, stopped=("mean",)), x, dy)[1].reshape(-1, 3),
        (rows - z * (rows * z).mean(axis=0)) / std,
    )
    np.testing.assert_allclose(y.reshape(-1, 3), z)


def test_divides_by_the_given_divisor():
    x, _ = example((50, 3))
    y = Composed(3, divisor=lambda var: var)(md.tensor(x)).numpy()
    np.testing.assert_allclose(y.var(axis=0), 1 / x.var(axis=0))


def test_state_is_that_of_a_batch_norm():
    assert set(Composed(3).state_dict()) == {"gamma", "beta"} < set(nn.BatchNorm(3).state_dict())
