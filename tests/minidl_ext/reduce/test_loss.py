"""These tests check softmax and cross-entropy: beside float64 and the twin, with huge logits, and
with every option.
"""

import re

import numpy as np
import pytest

from minidl.kernels.reference.reduce import loss as twin
from minidl_ext.reduce import loss as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    RANKS,
    checks_out,
    eps,
    identical,
    refuses,
    same_bits,
    values,
)

ROWS = ("softmax", "log_softmax")
BACKWARD = ("softmax_backward", "log_softmax_backward")
SHAPES = (
    (1, 1),
    (3, 1),
    (2, 2),
    (5, 10),
    (7, 16),
    (7, 17),
    (100, 65),
    (3, 1000),
    (1, 70_001),
    (6000, 10),
    (0, 5),
    (4, 0),
    (0, 0),
)
OPTIONS = pytest.mark.parametrize(
    "options",
    (
        {},
        {"smoothing": 0.1},
        {"weight": True},
        {"weight": True, "smoothing": 0.3},
        {"smoothing": 1.0},
        {"ignore": True},
        {"ignore": True, "weight": True, "smoothing": 0.1},
    ),
    ids=str,
)


def row_case(name, shape, dtype):
    if name in ROWS:
        return {"x": 4 * values(*shape, dtype=dtype)}
    y = getattr(twin, name.removesuffix("_backward"))(values(*shape, dtype=dtype))
    return {"dy": values(*shape, dtype=dtype, seed=1), "y": y}


def loss_case(shape, dtype=np.float32, weight=False, smoothing=0.0, ignore=False):
    labels = np.random.default_rng(shape).integers(0, shape[1], shape[0])
    if ignore:
        labels[::3] = -100
    w = None
    if weight:
        w = np.abs(values(shape[1], dtype=dtype)) + dtype(0.5)
        w[0] = 0
    return {
        "logits": 4 * values(*shape, dtype=dtype),
        "labels": labels,
        "weight": w,
        "smoothing": smoothing,
    }


def backward_case(case):
    probabilities = twin.softmax(case["logits"])
    dlosses = values(len(probabilities), dtype=probabilities.dtype, seed=5)
    return {
        "dlosses": dlosses,
        "probabilities": probabilities,
        **{key: case[key] for key in ("labels", "weight", "smoothing")},
    }


def wide(case):
    """Return the same arguments with the floats in extended precision."""
    return {
        key: value.astype(np.longdouble)
        if getattr(value, "dtype", None) in (np.float32, np.float64)
        else value
        for key, value in case.items()
    }


# ------------------------------------------------------------------------------------- rows


@FLOATS
@pytest.mark.parametrize("name", ROWS + BACKWARD)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows(name, shape, dtype):
    case = (
        row_case(name, shape, dtype)
        if np.prod(shape)
        else dict.fromkeys(("x",) if name in ROWS else ("dy", "y"), np.ones(shape, dtype))
    )
    got = getattr(native, name)(**case)
    assert got.dtype == dtype
    assert got.shape == shape
    if got.size:
        expected = getattr(twin, name)(**wide(case))
        size = np.abs(case.get("dy", expected)).max(axis=1, keepdims=True)
        scale = size * (shape[1] ** 0.5 if name in BACKWARD else 1)
        # The relative error of exp(x - max) is the absolute error of x - max, which is up to 40
        # here.
        assert (np.abs(got - expected) <= 60 * eps(dtype) * scale).all()


@FLOATS
@pytest.mark.parametrize("scale", (1e4, 1e30))
def test_huge_logits_are_finite(scale, dtype):
    x = np.arange(-5, 6, dtype=dtype)[None] * dtype(scale)
    expected = np.zeros_like(x)
    expected[0, -1] = 1
    identical(native.softmax(x), expected)
    identical(native.log_softmax(x), x - x.max())
    for label in (10, 0):
        loss, probabilities = native.cross_entropy(x, np.array([label]))
        identical(loss, x[0, -1:] - x[0, label])
        identical(probabilities, expected)
    smooth, _ = native.cross_entropy(x, np.array([10]), smoothing=0.1)
    exact = 0.1 / 11 * np.arange(11.0).sum() * float(dtype(scale))
    np.testing.assert_allclose(smooth, exact, rtol=1e-6)
    dlogits = native.cross_entropy_backward(np.ones(1, dtype), expected, np.array([0]))
    identical(dlogits, expected - np.eye(1, 11, dtype=dtype))


@FLOATS
@pytest.mark.parametrize("name", ROWS)
def test_bad_values_stay_in_their_row(name, dtype):
    x = values(50, 13, dtype=dtype)
    kernel, clean = getattr(native, name), getattr(native, name)(x)
    for bad, column in ((np.nan, 0), (np.nan, 12), (np.inf, 5)):
        spoiled = x.copy()
        spoiled[20, column] = bad
        got = kernel(spoiled)
        assert np.isnan(got[20]).any()
        np.testing.assert_array_equal(np.delete(got, 20, 0), np.delete(clean, 20, 0))
        losses, _ = native.cross_entropy(spoiled, np.zeros(50, np.int64))
        assert np.flatnonzero(np.isnan(losses)).tolist() == [20]
    x[20, 3:] = -np.inf  # a masked class has probability 0
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(kernel(x), getattr(twin, name)(x), rtol=20 * eps(dtype))
    assert np.isfinite(native.cross_entropy(x, np.zeros(50, np.int64))[0]).all()
    assert native.cross_entropy(x, np.full(50, 3))[0][20] == np.inf


def test_a_class_of_weight_zero_costs_nothing_even_if_impossible():
    case = {
        "logits": np.float32([[0, -np.inf, 1]]),
        "labels": np.array([1]),
        "weight": np.float32([1, 0, 1]),
    }
    with np.errstate(invalid="ignore"):
        expected = twin.cross_entropy(**case)[0]
    identical(native.cross_entropy(**case)[0], expected)


def test_many_classes_lose_no_digits():
    x = np.zeros((2, 2_000_000), np.float32)
    np.testing.assert_allclose(native.log_softmax(x), -np.log(x.shape[1]), rtol=2e-7)
    losses, p = native.cross_entropy(x, np.array([0, 5]))
    np.testing.assert_allclose(losses, np.log(x.shape[1]), rtol=2e-7)
    np.testing.assert_allclose(p.sum(axis=1, dtype=np.float64), 1, rtol=2e-7)


# ---------------------------------------------------------------------------- cross-entropy


@FLOATS
@OPTIONS
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] * shape[1]])
def test_cross_entropy(shape, options, dtype):
    case = loss_case(shape, dtype, **options)
    losses, p = native.cross_entropy(**case)
    expected_losses, expected_p = twin.cross_entropy(**wide(case))
    assert losses.dtype == p.dtype == dtype
    assert losses.shape == shape[:1]
    # The sum over the classes is computed in double for both types.
    rtol = 30 * (eps(dtype) + eps(np.float64) * shape[1] ** 0.5)
    np.testing.assert_allclose(
        losses, expected_losses.astype(dtype), rtol=rtol, atol=10 * eps(dtype)
    )
    np.testing.assert_allclose(p, expected_p.astype(dtype), rtol=60 * eps(dtype))
    assert (losses[case["labels"] < 0] == 0).all()

    case = backward_case(case)
    got = native.cross_entropy_backward(**case)
    expected = twin.cross_entropy_backward(**wide(case))
    assert got.dtype == dtype
    scale = np.abs(case["dlosses"])[:, None] * (1 if case["weight"] is None else 5)
    assert (np.abs(got - expected) <= 10 * eps(dtype) * scale).all()
    assert (got[case["labels"] < 0] == 0).all()


def test_the_gradient_of_cross_entropy_by_differences():
    case = loss_case((4, 6), np.float64, weight=True, smoothing=0.2, ignore=True)
    _, p = native.cross_entropy(**case)
    dlosses = values(4, dtype=np.float64, seed=9)
    options = {key: case[key] for key in ("labels", "weight", "smoothing")}
    got = native.cross_entropy_backward(dlosses, p, **options)
    step = 1e-6
    for at in np.ndindex(4, 6):
        sides = []
        for sign in (1, -1):
            logits = case["logits"].copy()
            logits[at] += sign * step
            sides.append(native.cross_entropy(**{**case, "logits": logits})[0] @ dlosses)
        assert abs((sides[0] - sides[1]) / (2 * step) - got[at]) < 1e-7


def test_no_rows_and_no_classes():
    for shape in ((0, 5), (0, 0), (3, 0)):
        logits, labels = np.ones(shape, np.float32), np.full(shape[0], -1)
        losses, p = native.cross_entropy(logits, labels)
        identical(losses, np.zeros(shape[0], np.float32))
        identical(p, logits)
        identical(native.cross_entropy_backward(losses, p, labels), logits)


# ---------------------------------------------------------------- threads, out, bad arguments


@FLOATS
@pytest.mark.parametrize("shape", ((5001, 10), (7, 9001)))
def test_any_number_of_threads_gives_the_same_bits(shape, dtype):
    for name in ROWS + BACKWARD:
        same_bits(getattr(native, name), row_case(name, shape, dtype))
    for options in ({}, {"weight": True, "smoothing": 0.1, "ignore": True}):
        case = loss_case(shape, dtype, **options)
        same_bits(native.cross_entropy, case)
        same_bits(native.cross_entropy_backward, backward_case(case))


@pytest.mark.parametrize("name", ROWS + BACKWARD)
def test_out_of_rows_is_filled_and_bad_arrays_are_refused(name):
    kernel, case = getattr(native, name), row_case(name, (4, 6), np.float32)
    for argument in case:
        refuses(kernel, case, argument, LAYOUTS | KINDS | RANKS)
    if name in BACKWARD:
        refuses(
            kernel,
            case,
            "y",
            {
                "float64": lambda a: a.astype(np.float64),
                "wider": lambda a: np.append(a, a[:, :1], 1),
            },
        )
    checks_out(kernel, case, in_place=tuple(case))


def test_bad_arrays_of_cross_entropy():
    wrong = {
        "float64": lambda a: a.astype(np.float64),
        "longer": lambda a: np.append(a, a[:1]),
        "axis more": lambda a: a[None],
    }
    labels = {key: value for key, value in KINDS.items() if key != "axis less"}
    labels |= {"uint8": lambda a: a.astype(np.uint8), **wrong}
    forward = loss_case((4, 6), weight=True)
    for kernel, case, logits in (
        (native.cross_entropy, forward, "logits"),
        (native.cross_entropy_backward, backward_case(forward), "probabilities"),
    ):
        refuses(kernel, case, logits, LAYOUTS | KINDS | RANKS)
        refuses(kernel, case, "labels", LAYOUTS | labels)
        refuses(kernel, case, "weight", LAYOUTS | KINDS | wrong)
        if "dlosses" in case:
            refuses(kernel, case, "dlosses", LAYOUTS | KINDS | wrong)
        for smoothing in ("a", None):
            with pytest.raises(TypeError):
                kernel(**{**case, "smoothing": smoothing})


@pytest.mark.parametrize("label", (6, 7, 2**31, 2**32, 2**63 - 1))
@pytest.mark.parametrize("position", (0, 3))
def test_labels_out_of_range(label, position):
    case = loss_case((4, 6))
    back = backward_case(case)
    case["labels"][position] = label
    for kernel, arguments in ((native.cross_entropy, case), (native.cross_entropy_backward, back)):
        message = f"{kernel.__name__}: label {label} at {position} is outside 0..5"
        with pytest.raises(ValueError, match=re.escape(message)):
            kernel(**arguments)


def test_the_most_negative_label_is_ignored():
    case = loss_case((4, 6))
    case["labels"][2] = -(2**63)
    assert native.cross_entropy(**case)[0][2] == 0
    assert not native.cross_entropy_backward(**backward_case(case))[2].any()
