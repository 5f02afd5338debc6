"""What the experiments on identities share: digits, activations, a composed normalization."""

import numpy as np
import pytest

import minidl as md
from minidl.lab import identities


def test_digits_are_those_of_the_seed():
    images, labels = identities.digits(20, seed=3)
    assert (images.shape, images.dtype, labels.shape) == ((20, 28, 28, 1), np.float64, (20,))
    assert np.array_equal(images, identities.digits(20, seed=3)[0])
    assert not np.array_equal(images, identities.digits(20, seed=4)[0])


def test_into_and_beyond_are_the_two_parts_of_a_network():
    images, _ = identities.digits(20, seed=0)
    model = identities.network(0)
    x = identities.into(model, "norm2", images)
    assert x.shape == (20, 100)
    assert np.array_equal(identities.beyond(model, "norm2", md.tensor(x)).data, model(images).data)
    assert identities.into(model, "flatten", images) is images


def test_composed_is_batch_norm_where_it_divides_by_the_root():
    x = np.random.default_rng(0).normal(5, 2, (30, 4))
    layer = identities.Composed(4, lambda var: (var + identities.EPS).sqrt()).astype(np.float64)
    assert identities.distance(layer(md.tensor(x)).data, identities.normalized(x)) < 1e-13


def test_worst_is_nan_where_a_seed_is():
    assert identities.worst([{"a": 1.0}, {"a": 3.0}], "a") == 3
    assert np.isnan(identities.worst([{"a": 1.0}, {"a": np.nan}], "a"))


def test_distance_is_relative_to_the_largest_value():
    assert identities.distance(np.array([1.0, 4.0]), np.array([2.0, -4.0])) == pytest.approx(2)
