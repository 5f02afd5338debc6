"""These tests check what the experiments on identities share: digits, activations, errors and their
verdicts.
"""

import numpy as np
import pytest

import minidl as md
from minidl.lab import identities
from minidl.lab.verdict import Verdict


def test_digits_are_those_of_the_seed():
    images, labels = identities.digits(20, seed=3)
    assert (images.shape, images.dtype, labels.shape) == ((20, 28, 28, 1), np.float64, (20,))
    assert np.array_equal(images, identities.digits(20, seed=3)[0])
    assert not np.array_equal(images, identities.digits(20, seed=4)[0])


def test_input_of_and_output_from_split_a_network():
    images, _ = identities.digits(20, seed=0)
    model = identities.network(0)
    x = identities.input_of(model, "norm2", images)
    assert x.shape == (20, 100)
    assert np.array_equal(
        identities.output_from(model, "norm2", md.tensor(x)).data, model(images).data
    )
    assert identities.input_of(model, "flatten", images) is images


def test_worst_is_nan_where_a_seed_is():
    assert identities.worst([{"a": 1.0}, {"a": 3.0}], "a") == 3
    assert np.isnan(identities.worst([{"a": 1.0}, {"a": np.nan}], "a"))


def test_an_error_is_relative_to_the_largest_value():
    found = identities.relative_error(np.array([1.0, 4.0]), np.array([2.0, -4.0]))
    assert found == pytest.approx(2)


def test_an_exact_figure_must_support_or_refute():
    found = [
        identities.exact_verdict(*case) for case in ((True, False), (False, True), (False, False))
    ]
    assert found == [Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE]
