"""These tests check layer_norm, rms_norm, group_norm, instance_norm, filter_response_norm and tlu:
the formulas, gradients, and what they refuse.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.norm import (
    filter_response_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"layer_norm {shapes} {options}", md.layer_norm, layer_norm, *shapes, **options)
            for shapes in (
                [(3, 5), (5,), (5,)],
                [(3, 5), None, None],
                [(2, 3, 4), (4,), None],
                [(6,), None, (6,)],
                [(0, 4), (4,), (4,)],
                [(2, 2, 2, 3), (3,), (3,)],
            )
            for options in ({}, {"eps": 0.1})
        ),
        *(
            case(f"rms_norm {shapes} {options}", md.rms_norm, rms_norm, *shapes, **options)
            for shapes in ([(3, 5), (5,)], [(3, 5), None], [(2, 3, 4), (4,)], [(0, 4), (4,)])
            for options in ({}, {"eps": 0.1})
        ),
        *(
            case(f"layer_norm {shapes} over {axis}", md.layer_norm, layer_norm, *shapes, axis=axis)
            for shapes, axis in (
                ([(5, 3, 4), (3, 4), (3, 4)], (-2, -1)),
                ([(5, 3, 4), (3, 4), None], (2, 1)),
                ([(5, 3, 4), None, (3, 4)], (1, 2)),
                ([(2, 3, 4), (2, 3, 4), (2, 3, 4)], None),
                ([(5, 4), (4,), None], (-1,)),
                ([(5, 4), (4,), None], 1),
                ([(0, 3, 4), (3, 4), (3, 4)], (-2, -1)),
            )
        ),
        *(
            case(
                f"rms_norm {gamma} {beta} over {axis}",
                lambda x, g, b, axis=axis: md.rms_norm(x, g, 1e-5, b, axis),
                lambda x, g, b, axis=axis: rms_norm(x, g, 1e-5, b, axis),
                (5, 3, 4),
                gamma,
                beta,
            )
            for gamma, beta, axis in (
                ((4,), (4,), -1),
                (None, (4,), -1),
                ((3, 4), None, (-2, -1)),
                ((3, 4), (3, 4), (1, 2)),
                ((5, 3, 4), None, (0, 1, 2)),
            )
        ),
        *(
            case(
                f"group_norm {shape} {groups} {affine}",
                md.group_norm,
                group_norm,
                shape,
                groups,
                *([(shape[-1],)] * 2 if affine else [None, None]),
            )
            for shape, groups in (
                ((2, 3, 4, 6), 3),
                ((2, 3, 4, 6), 1),
                ((2, 3, 4, 6), 6),
                ((3, 8), 2),
                ((2, 5, 4), 2),
                ((0, 3, 4), 2),
            )
            for affine in (True, False)
        ),
        *(
            case(
                f"instance_norm {shape} {affine}",
                md.instance_norm,
                instance_norm,
                shape,
                *([(shape[-1],)] * 2 if affine else [None, None]),
            )
            for shape in ((2, 3, 4, 5), (3, 7, 2))
            for affine in (True, False)
        ),
        *(
            case(
                f"filter_response_norm {shape} {affine} {options}",
                md.filter_response_norm,
                filter_response_norm,
                shape,
                *([(shape[-1],)] * 2 if affine else [None, None]),
                **options,
            )
            for shape in ((2, 3, 4, 5), (3, 7, 2), (2, 2, 3, 2, 3), (0, 3, 4))
            for affine in (True, False)
            for options in ({}, {"eps": 0.1})
        ),
        *(
            case(
                f"filter_response_norm, eps learned, {shapes}",
                md.filter_response_norm,
                filter_response_norm,
                *shapes,
                np.float64([0.5, -0.25, 2, 1]),
            )
            for shapes in (
                [(2, 3, 5, 4), (4,), (4,)],
                [(3, 1, 4), (4,), None],
                [(2, 2, 4), None, (4,)],
            )
        ),
        *(
            case(f"tlu {shape}", md.tlu, np.maximum, shape, shape[-1:])
            for shape in ((5, 3), (2, 3, 4, 5), (6,), (0, 4))
        ),
        case("large tlu", md.tlu, np.maximum, (4, 3), (3,), large=[(9, 15, 14, 32), (32,)]),
        case(
            "large layer_norm",
            md.layer_norm,
            layer_norm,
            (3, 5),
            (5,),
            (5,),
            large=[(701, 130), (130,), (130,)],
        ),
        case("large rms_norm", md.rms_norm, rms_norm, (3, 5), (5,), large=[(701, 130), (130,)]),
        case(
            "large group_norm",
            lambda x, g, b: md.group_norm(x, 2, g, b),
            lambda x, g, b: group_norm(x, 2, g, b),
            (2, 3, 4),
            (4,),
            (4,),
            large=[(9, 15, 14, 32), (32,), (32,)],
        ),
        case(
            "large instance_norm",
            md.instance_norm,
            instance_norm,
            (2, 3, 4),
            (4,),
            (4,),
            large=[(9, 15, 14, 32), (32,), (32,)],
        ),
        case(
            "large filter_response_norm",
            md.filter_response_norm,
            filter_response_norm,
            (2, 3, 4),
            (4,),
            (4,),
            large=[(9, 15, 14, 32), (32,), (32,)],
        ),
    ]
)

X = md.ones((2, 3, 4))
CALLS = [
    ("layer_norm", lambda x, g=None, b=None, **o: md.layer_norm(x, g, b, **o)),
    ("group_norm", lambda x, g=None, b=None, **o: md.group_norm(x, 2, g, b, **o)),
    ("instance_norm", lambda x, g=None, b=None, **o: md.instance_norm(x, g, b, **o)),
    ("filter_response_norm", lambda x, g=None, b=None, **o: md.filter_response_norm(x, g, b, **o)),
]

test_errors = errors_of(
    [
        *(
            (lambda f=f: f(X, md.ones(3)), ValueError, name, "gamma", "(4,)", "(3,)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(X, None, md.ones((1, 4))), ValueError, name, "beta", "(4,)", "(1, 4)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(X, np.ones(4)), TypeError, name, "float32", "float64")
            for name, f in CALLS
        ),
        *((lambda f=f: f(X, eps=-1), ValueError, name, "eps", "-1") for name, f in CALLS),
        *((lambda f=f: f(X, eps="a"), TypeError, name, "eps", "'a'") for name, f in CALLS),
        *((lambda f=f: f(np.ones((2, 3, 4), int)), TypeError, name, "int64") for name, f in CALLS),
        *((lambda f=f: f(md.ones((2, 3, 0))), ValueError, name, "(2, 3, 0)") for name, f in CALLS),
        (lambda: md.layer_norm(md.tensor(1.0), None, None), ValueError, "layer_norm", "()"),
        (
            lambda: md.layer_norm(X, md.ones(4), None, axis=(-2, -1)),
            ValueError,
            "layer_norm",
            "gamma",
            "(3, 4)",
            "got (4,)",
        ),
        *(
            (
                lambda axis=axis: md.layer_norm(X, None, None, axis=axis),
                ValueError,
                "layer_norm",
                "axis must be the last axis",
                repr(axis),
            )
            for axis in (0, (0, 2), (0, 1), ())
        ),
        (lambda: md.layer_norm(X, None, None, axis=3), ValueError, "layer_norm", "axis", "got 3"),
        (
            lambda: md.layer_norm(X, None, None, axis=(1, 1)),
            ValueError,
            "layer_norm",
            "different axes",
        ),
        (lambda: md.layer_norm(X, None, None, axis="a"), TypeError, "layer_norm", "axis", "'a'"),
        (lambda: md.layer_norm(X, None, None, axis=md.ones(2)), TypeError, "layer_norm", "axis"),
        (
            lambda: md.layer_norm(md.ones((2, 0, 4)), None, None, axis=(-2, -1)),
            ValueError,
            "layer_norm",
            "(2, 0, 4)",
        ),
        (lambda: md.rms_norm(X, md.ones(3)), ValueError, "rms_norm", "gamma", "(4,)"),
        (lambda: md.rms_norm(X, None, 1e-5, np.ones(4)), TypeError, "rms_norm", "beta float64"),
        (lambda: md.rms_norm(X, None, eps=-1), ValueError, "rms_norm", "eps"),
        (lambda: md.group_norm(md.ones(4), 2, None, None), ValueError, "group_norm", "(4,)"),
        (
            lambda: md.group_norm(X, 3, None, None),
            ValueError,
            "group_norm",
            "4 channels",
            "3 groups",
        ),
        (lambda: md.group_norm(X, 0, None, None), ValueError, "group_norm", "groups", "0"),
        (lambda: md.group_norm(X, 1.5, None, None), TypeError, "group_norm", "groups", "1.5"),
        (
            lambda: md.instance_norm(md.ones((2, 4)), None, None),
            ValueError,
            "instance_norm",
            "(2, 4)",
        ),
        (
            lambda: md.instance_norm(md.ones((2, 1, 4)), None, None),
            ValueError,
            "instance_norm",
            "one value",
        ),
        (
            lambda: md.filter_response_norm(md.ones((2, 4)), None, None),
            ValueError,
            "filter_response_norm",
            "3 axes",
            "(2, 4)",
        ),
        (
            lambda: md.filter_response_norm(X, None, None, md.ones(3)),
            ValueError,
            "filter_response_norm",
            "eps",
            "(4,)",
            "(3,)",
        ),
        (
            lambda: md.filter_response_norm(X, None, None, md.ones(4).astype(np.float64)),
            TypeError,
            "filter_response_norm",
            "eps float64",
        ),
        (
            lambda: md.filter_response_norm(X, None, None, md.arange(4)),
            TypeError,
            "filter_response_norm",
            "eps",
            "int64",
        ),
        (
            lambda: md.filter_response_norm(X, None, None, np.ones(4)),
            TypeError,
            "filter_response_norm",
            "eps",
            "array(",
        ),
        (lambda: md.tlu(X, md.ones(3)), ValueError, "tlu", "tau", "(3,)", "(2, 3, 4)"),
        (lambda: md.tlu(md.tensor(1.0), md.ones(())), ValueError, "tlu", "tau", "()"),
        (lambda: md.tlu(X, 0.5), ValueError, "tlu", "tau", "(C,)", "()"),
        (lambda: md.tlu(X, np.zeros(4)), TypeError, "tlu", "x float32", "tau float64"),
        (lambda: md.tlu(np.ones((2, 4), int), md.ones(4)), TypeError, "tlu", "x", "int64"),
    ]
)


@both_backends
@both_floats
def test_an_eps_that_is_learned_is_the_same_formula(backend, dtype):
    """The result is that for a number, whatever the sign of eps."""
    x, dy = uniform(3, 4, 5, 6, dtype=dtype), uniform(3, 4, 5, 6, dtype=dtype, seed=1)
    affine = [uniform(6, dtype=dtype, seed=k) for k in (2, 3)]
    results = []
    with md.use_backend(backend):
        for eps in (0.05, md.full(6, 0.05, dtype), md.full(6, -0.05, dtype)):
            inputs = [md.tensor(a, requires_grad=True) for a in (x, *affine)]
            y = md.filter_response_norm(*inputs, eps)
            assert y.dtype == dtype
            results.append([y.data, *md.grad(y, inputs, dy)])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            close(got, expected, 2)


def test_the_gradient_of_eps_has_its_sign():
    x = md.tensor(uniform(3, 5, 4, dtype=np.float64))
    eps = md.tensor(np.float64([0.1, -0.1, 0.3, -0.3]), requires_grad=True)
    md.abs(md.filter_response_norm(x, None, None, eps)).sum().backward()
    # A larger |eps| makes y smaller.
    np.testing.assert_array_equal(np.sign(eps.grad), [-1, 1, -1, 1])


@both_backends
def test_a_tie_is_the_threshold_s(backend):
    x, tau = md.zeros((3, 2)), md.tensor(np.float32([0, -1]), requires_grad=True)
    x.requires_grad = True
    with md.use_backend(backend):
        md.tlu(x, tau).sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 1]] * 3)
    np.testing.assert_array_equal(tau.grad, [3, 0])


def test_filter_responses_keep_to_their_image_and_channel():
    x = uniform(4, 5, 5, 6)
    clean = md.filter_response_norm(x, None, None).data
    np.testing.assert_array_equal(md.filter_response_norm(x[1:2], None, None).data, clean[1:2])
    x[2, 3, 1, 4] = np.nan
    hit = np.zeros(x.shape, bool)
    hit[2, ..., 4] = True
    y = md.filter_response_norm(x, None, None).data
    np.testing.assert_array_equal(np.isnan(y), hit)
    np.testing.assert_array_equal(y[~hit], clean[~hit])


CENTRED = [row for row in CALLS if row[0] != "filter_response_norm"]


@pytest.mark.parametrize("f", [f for _, f in CENTRED], ids=[name for name, _ in CENTRED])
def test_large_means_cost_no_digits(f):
    x = np.random.default_rng(0).standard_normal((4, 50, 16)) + 1e4
    x = x.astype(np.float32)
    exact = f(x.astype(np.float64)).data
    assert np.abs(f(x).data - exact).max() < 2e-6 * np.abs(exact).max()
