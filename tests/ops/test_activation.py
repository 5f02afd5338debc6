"""These tests check activations with options: values, special values, bad options. Those without
options are in test_math.
"""

import math

import numpy as np
import pytest

import minidl as md
from tests.support.cases import case, checks_of, errors_of
from tests.support.curves import ACTIVATIONS
from tests.support.marks import both_backends, both_floats
from tests.support.reference import activation

# The options of each; others have none. Sigmoid and tanh are in test_math.
OPTIONS = {
    "leaky_relu": ({}, {"slope": 0.2}, {"slope": -1.5}, {"slope": 0}),
    "elu": ({}, {"alpha": 0.3}, {"alpha": 2}),
    "softplus": ({}, {"beta": 3}, {"beta": 0.5, "threshold": 1.0}),
    "gelu": ({}, {"approximate": "tanh"}),
}
FUNCTIONS = [
    (name, getattr(md, name), getattr(activation, name), OPTIONS.get(name, ({},)))
    for name in ACTIVATIONS
    if name not in ("sigmoid", "tanh")
]

test_values, test_gradients, test_threads = checks_of(
    [
        case(
            f"{name} {options} {shape} {between}",
            ours,
            reference,
            shape,
            between=between,
            large=[(3, 20_011)] if shape == (3, 4) else None,
            **options,
        )
        for name, ours, reference, choices in FUNCTIONS
        for options in choices
        for shape, between in (
            ((3, 4), (-2, 2)),
            ((), (0.5, 1)),
            ((0, 3), (-1, 1)),
            ((2, 3, 5), (-9, 9)),
        )
    ]
)

test_errors = errors_of(
    [
        (
            lambda: md.gelu(md.ones(3), approximate="erf"),
            ValueError,
            "gelu",
            "approximate",
            "'erf'",
        ),
        (lambda: md.softplus(md.ones(3), beta=0), ValueError, "softplus", "beta", "0"),
        (lambda: md.softplus(md.ones(3), beta=float("nan")), ValueError, "softplus", "beta", "nan"),
        (lambda: md.leaky_relu(md.ones(3), slope="a"), TypeError, "leaky_relu", "slope", "'a'"),
        (lambda: md.elu(md.ones(3), alpha=None), TypeError, "elu", "alpha", "None"),
        *((lambda f=f: f([1, 2]), TypeError, name, "int64", "astype") for name, f, *_ in FUNCTIONS),
        (lambda: md.gelu(None), TypeError, "gelu", "NoneType"),
    ]
)

# Values and gradients at -inf, -1e4, 1e4 and inf. So far from 0 most activations are ReLU.
AS_RELU = [0, 0, 1e4, np.inf], [0, 0, 1, 1]
OTHER_ENDS = {
    "leaky_relu": ([-np.inf, -100, 1e4, np.inf], [0.01, 0.01, 1, 1]),
    "elu": ([-1, -1, 1e4, np.inf], [0, 0, 1, 1]),
}
FAR = [(name, function, *OTHER_ENDS.get(name, AS_RELU)) for name, function, *_ in FUNCTIONS]
FAR += [("gelu tanh", lambda x: md.gelu(x, "tanh"), *AS_RELU)]


@pytest.mark.parametrize(
    "function, values, slopes", [line[1:] for line in FAR], ids=[line[0] for line in FAR]
)
@both_floats
@both_backends
def test_far_from_zero(function, values, slopes, dtype, backend):
    x = md.tensor(np.array([-np.inf, -1e4, 1e4, np.inf], dtype), requires_grad=True)
    with md.use_backend(backend), np.errstate(all="ignore"):
        y = function(x)
        g = md.grad(y, x, np.ones(4, dtype))
    np.testing.assert_allclose(y.data, np.array(values, dtype), rtol=1e-6)
    np.testing.assert_allclose(g, np.array(slopes, dtype), atol=1e-30)


@pytest.mark.parametrize("function", [line[1] for line in FAR], ids=[line[0] for line in FAR])
@both_floats
@both_backends
def test_nan_stays(function, dtype, backend):
    x = np.array([1, np.nan, -1], dtype)
    with md.use_backend(backend):
        y = function(x).data
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


def test_small_values_keep_their_digits():
    x = np.float32([-1e-6, -1e-20, 1e-20, 1e-6])
    np.testing.assert_allclose(md.elu(x).data, np.expm1(x.astype(np.float64)), rtol=1e-6)
    np.testing.assert_allclose(
        md.softplus(np.float32([-30, -60])).data, np.exp([-30.0, -60]), rtol=1e-5
    )
    np.testing.assert_allclose(
        md.gelu(np.float32([-6, -8])).data,
        [-6 * math.erfc(6 / 2**0.5) / 2, -8 * math.erfc(8 / 2**0.5) / 2],
        rtol=1e-5,
    )
