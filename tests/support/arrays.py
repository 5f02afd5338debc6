"""This module makes arrays to compute with, and says how close a result must be."""

import numpy as np

FLOATS = (np.float32, np.float64)
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}


def uniform(*shape, dtype=np.float32, seed=0, low=-1.0, high=1.0):
    """Return a fixed random array."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def close(value, expected, tolerance=1.0):
    """Check that two arrays are equal up to rounding in the dtype of `value`, relative to the
    largest value of `right`.
    """
    expected = np.asarray(expected)
    value = np.asarray(value)
    assert value.shape == expected.shape
    if value.dtype.kind != "f":
        np.testing.assert_array_equal(value, expected)
        return
    tol = tolerance * TOLERANCE[value.dtype]
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(value, expected, rtol=tol, atol=tol * float(largest))


def within(ours, expected, tolerance, what="values"):
    """Check that two arrays have one shape, and that max|ours - expected| <= tolerance
    max|expected|.
    """
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.shape == expected.shape, what
    error = np.abs(ours.astype(np.result_type(ours, np.float64)) - expected).max(initial=0)
    bound = tolerance * np.abs(expected).max(initial=0)
    assert error <= bound, f"{what}: differ by {error:.3g}, at most {bound:.3g} is allowed"


def as_list(results):
    return list(results) if isinstance(results, tuple | list) else [results]
