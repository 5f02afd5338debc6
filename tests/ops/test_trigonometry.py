"""These tests check sin and cos."""

import warnings

import numpy as np
import pytest

import minidl as md
from tests.support.cases import case, checks_of, errors_of

test_values, test_gradients, _ = checks_of(
    [
        case(f"{name} {shape} {between}", ours, reference, shape, between=between)
        for name, ours, reference in (("sin", md.sin, np.sin), ("cos", md.cos, np.cos))
        for shape in ((), (1,), (7,), (0, 3), (2, 3, 2, 5))
        for between in ((-2, 2), (-40, 40))
    ]
)

test_errors = errors_of(
    [
        (lambda: md.sin(md.arange(3)), TypeError, "sin", "int64", "astype"),
        (lambda: md.cos([True]), TypeError, "cos", "bool"),
        (lambda: md.sin("x"), TypeError, "sin", "str"),
        (lambda: md.cos(np.ones(2, complex)), TypeError, "cos", "complex"),
    ]
)


@pytest.mark.parametrize("f", [md.sin, md.cos])
def test_infinite_angles_are_nan_without_a_warning(f):
    x = md.tensor([np.inf, -np.inf, np.nan, 0.5], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = f(x)
        y.backward(np.ones(4, np.float32))
    np.testing.assert_array_equal(np.isnan(y.data), [True, True, True, False])
    np.testing.assert_array_equal(np.isnan(x.grad), [True, True, True, False])


def test_large_angles():
    """The sine of a large float32 angle, which has many turns, is that of the same number in
    float64.
    """
    x = np.float32([1e4, -3e5, 7e6])
    np.testing.assert_allclose(md.sin(x).data, np.sin(x.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(md.cos(x).data, np.cos(x.astype(np.float64)), rtol=1e-5)
