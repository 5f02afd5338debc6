"""These tests check weight_norm and weight_standardization: the formulas, gradients, and what they
refuse.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.norm import weight_norm, weight_standardization

SHAPES = [(5, 3), (7, 1), (3, 3, 2, 4), (1, 1, 6, 5), (3, 3, 1, 16)]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"weight_norm {shape}", md.weight_norm, weight_norm, shape, shape[-1:])
            for shape in SHAPES
        ),
        *(
            case(
                f"weight_standardization {shape} {options}",
                md.weight_standardization,
                weight_standardization,
                shape,
                **options,
            )
            for shape in SHAPES
            for options in ({}, {"eps": 0.1}, {"eps": 0})
        ),
        case(
            "weight_standardization of two",
            md.weight_standardization,
            weight_standardization,
            (2, 5),
            eps=0.5,
        ),
        case(
            "large weight_norm",
            md.weight_norm,
            weight_norm,
            (5, 3),
            (3,),
            large=[(3, 3, 128, 160), (160,)],
        ),
        case(
            "large weight_standardization",
            md.weight_standardization,
            weight_standardization,
            (5, 3),
            large=[(3, 3, 128, 160)],
        ),
    ]
)

V = md.ones((2, 3))

test_errors = errors_of(
    [
        (lambda: md.weight_norm(V, md.ones(2)), ValueError, "weight_norm", "gain", "(3,)", "(2,)"),
        (lambda: md.weight_norm(V, md.ones((1, 3))), ValueError, "weight_norm", "gain", "(1, 3)"),
        (lambda: md.weight_norm(md.ones(3), md.ones(3)), ValueError, "weight_norm", "v", "(3,)"),
        (
            lambda: md.weight_norm(md.ones((0, 3)), md.ones(3)),
            ValueError,
            "weight_norm",
            "v",
            "(0, 3)",
        ),
        (
            lambda: md.weight_norm(V, np.ones(3)),
            TypeError,
            "weight_norm",
            "v float32",
            "gain float64",
        ),
        (lambda: md.weight_norm(V, [1, 2, 3]), TypeError, "weight_norm", "gain", "int64"),
        (lambda: md.weight_norm(None, md.ones(3)), TypeError, "weight_norm", "v", "NoneType"),
        (
            lambda: md.weight_standardization(md.ones(3)),
            ValueError,
            "weight_standardization",
            "v",
            "(3,)",
        ),
        (
            lambda: md.weight_standardization(md.ones((2, 0))),
            ValueError,
            "weight_standardization",
            "(2, 0)",
        ),
        (
            lambda: md.weight_standardization(md.ones((1, 1, 3))),
            ValueError,
            "weight_standardization",
            "(1, 1, 3)",
            "fewer than 2",
        ),
        (
            lambda: md.weight_standardization(V, -1),
            ValueError,
            "weight_standardization",
            "eps",
            "-1",
        ),
        (lambda: md.weight_standardization(V, np.nan), ValueError, "weight_standardization", "eps"),
        (
            lambda: md.weight_standardization(V, "a"),
            TypeError,
            "weight_standardization",
            "eps",
            "'a'",
        ),
        (
            lambda: md.weight_standardization(np.ones((2, 3), int)),
            TypeError,
            "weight_standardization",
            "v",
            "int64",
        ),
    ]
)


@both_backends
@both_floats
def test_the_norms_are_the_gains(backend, dtype):
    v, gain = uniform(3, 3, 4, 8, dtype=dtype) + dtype(0.5), uniform(8, dtype=dtype, seed=1)
    with md.use_backend(backend):
        w = md.weight_norm(v, gain).data
        close(np.sqrt((w * w).sum((0, 1, 2))), np.abs(gain))
        close(md.weight_norm(4 * v, gain).data, w)


def test_the_gradient_of_v_is_at_right_angles_to_it():
    """As in the paper's section 2.1, w does not change with the length of v."""
    v = md.tensor(uniform(4, 5, 6, dtype=np.float64), requires_grad=True)
    w = md.weight_norm(v, uniform(6, dtype=np.float64, seed=1))
    w.backward(uniform(4, 5, 6, dtype=np.float64, seed=2))
    assert np.abs(v.grad).max() > 0.1
    assert np.abs((v.data * v.grad).sum((0, 1))).max() < 1e-14


def test_the_gradient_of_one_weight_per_output_is_zero():
    """In this case w = gain sign(v)."""
    v = md.tensor(uniform(1, 6, dtype=np.float64), requires_grad=True)
    gain = md.tensor(uniform(6, dtype=np.float64, seed=1), requires_grad=True)
    w = md.weight_norm(v, gain)
    close(w.data, gain.data * np.sign(v.data))
    w.sum().backward()
    assert np.abs(v.grad).max() < 1e-14
    close(gain.grad, np.sign(v.data[0]))


@both_backends
def test_weights_of_zeros_spoil_their_own_output_only(backend):
    values = uniform(4, 5)
    values[:, 2] = 0
    v = md.tensor(values, requires_grad=True)
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        w = md.weight_norm(v, md.ones(5))
        w.sum().backward()
    for result in (w.data, v.grad):
        np.testing.assert_array_equal(np.isnan(result).any(0), np.arange(5) == 2)


@both_backends
def test_equal_weights_are_standardized_to_zeros(backend):
    v = md.tensor(np.full((3, 3, 2, 4), 7, np.float32), requires_grad=True)
    with md.use_backend(backend):
        w = md.weight_standardization(v)
        w.sum().backward()
    assert not w.data.any()
    assert np.isfinite(v.grad).all()


@pytest.mark.parametrize(
    "f, mean",
    [(md.weight_standardization, 1e3), (lambda v: md.weight_norm(v, np.ones(16, v.dtype)), 1e3)],
)
def test_large_means_cost_no_digits(f, mean):
    v = (uniform(3, 3, 8, 16, dtype=np.float64) + mean).astype(np.float32)
    exact = f(v.astype(np.float64)).data
    assert np.abs(f(v).data - exact).max() < 1e-6 * np.abs(exact).max()


def test_the_result_is_an_array_at_once():
    """Kernels of convolutions read weights, and cannot read what is still to be computed."""
    v = md.tensor(uniform(1, 1, 16, 16), requires_grad=True)
    for w in (md.weight_standardization(v), md.weight_norm(v, md.ones(16))):
        assert w._lazy is None
