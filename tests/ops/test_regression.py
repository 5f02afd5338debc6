"""These tests check mse_loss, l1_loss, huber_loss and binary_cross_entropy_with_logits."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of

REDUCTIONS = {"none": lambda v: v, "sum": np.sum, "mean": np.mean}


def mse(x, target, reduction="mean"):
    return REDUCTIONS[reduction]((x - target) ** 2)


def l1(x, target, reduction="mean"):
    return REDUCTIONS[reduction](np.abs(x - target))


def huber(x, target, reduction="mean", delta=1.0):
    d = np.abs(x - target)
    return REDUCTIONS[reduction](np.where(d <= delta, d * d / 2, delta * (d - delta / 2)))


def bce(x, target, weight=None, pos_weight=None, reduction="mean"):
    positive = 1 if pos_weight is None else pos_weight
    losses = positive * target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x)
    return REDUCTIONS[reduction](losses if weight is None else weight * losses)


def of_shares(loss):
    """Return a loss whose targets from 0 to 1 are made from numbers between -2 and 2."""
    return lambda x, target, **options: loss(x, 0.25 * target + 0.5, **options)


md_bce, np_bce = of_shares(md.binary_cross_entropy_with_logits), of_shares(bce)
LARGE = [(301, 503), (301, 503)]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"{name} {reduction} {shape} {options}",
                ours,
                reference,
                shape,
                shape,
                reduction=reduction,
                large=LARGE if shape == (3, 4) else None,
                **options,
            )
            for reduction in REDUCTIONS
            for shape in ((3, 4), (), (5,))
            for name, ours, reference, choices in (
                ("mse", md.mse_loss, mse, ({},)),
                ("l1", md.l1_loss, l1, ({},)),
                ("huber", md.huber_loss, huber, ({}, {"delta": 0.3})),
                (
                    "bce",
                    md_bce,
                    np_bce,
                    ({}, {"pos_weight": 2.5}, {"weight": 0.5, "pos_weight": 0.25}),
                ),
            )
            for options in choices
        ),
        case(
            "bce, weights that broadcast",
            md_bce,
            np_bce,
            (3, 4),
            (3, 4),
            weight=np.array([[0.5], [1.0], [2.0]]),
            pos_weight=np.array([1.0, 2.0, 0.5, 3.0]),
        ),
        case("mse of nothing", md.mse_loss, mse, (0, 4), (0, 4), reduction="sum"),
    ]
)

X = md.ones((2, 3))
test_errors = errors_of(
    [
        *(
            (lambda f=f: f(X, md.ones((3, 2))), ValueError, f.__name__, "(2, 3)", "(3, 2)")
            for f in (md.mse_loss, md.l1_loss, md.huber_loss, md.binary_cross_entropy_with_logits)
        ),
        *(
            (lambda f=f: f(X, X, reduction="avg"), ValueError, f.__name__, "reduction", "'avg'")
            for f in (md.mse_loss, md.l1_loss, md.huber_loss, md.binary_cross_entropy_with_logits)
        ),
        (lambda: md.mse_loss(np.ones((2, 3), int), X), TypeError, "mse_loss", "int64"),
        (lambda: md.mse_loss(X, md.ones(3)), ValueError, "mse_loss", "(3,)"),
        (lambda: md.huber_loss(X, X, delta=0), ValueError, "huber_loss", "delta", "0"),
        (
            lambda: md.binary_cross_entropy_with_logits(X, X, weight=md.ones(2)),
            ValueError,
            "weight",
            "(2,)",
            "(2, 3)",
        ),
        (
            lambda: md.binary_cross_entropy_with_logits(X, X, pos_weight=md.ones((4, 2, 3))),
            ValueError,
            "pos_weight",
            "(4, 2, 3)",
        ),
        *(
            (
                lambda bad=bad: md.binary_cross_entropy_with_logits(md.ones((1, 2)), [[1.0, bad]]),
                ValueError,
                "binary_cross_entropy_with_logits: target must be probabilities from 0 to 1",
                f"at (0, 1) it is {bad}",
            )
            for bad in (2.0, -0.5, np.nan, np.inf)
        ),
    ]
)


def test_targets_of_weight_0_may_be_anything_and_others_round():
    x, target = np.float32([3, -3, 0]), np.float32([1, 1 + 2**-20, 255])
    losses = md.binary_cross_entropy_with_logits(x, target, weight=[1, 1, 0], reduction="none")
    np.testing.assert_allclose(
        losses.data, [np.log1p(np.exp(-3.0)), np.log1p(np.exp(3.0)), 0], rtol=1e-5
    )


@pytest.mark.parametrize("x", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_logits_of_any_size(x):
    t = md.tensor([x, x], requires_grad=True)
    y = md.binary_cross_entropy_with_logits(t, np.float32([0, 1]), reduction="none")
    close(
        y.data,
        [max(x, 0.0) + (np.log(2) if x == 0 else 0), max(-x, 0.0) + (np.log(2) if x == 0 else 0)],
    )
    y.sum().backward()
    s = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    close(t.grad, [s, s - 1])


def test_integer_and_boolean_targets():
    x = uniform(3, 4)
    for target in (np.ones((3, 4), int), np.ones((3, 4), bool)):
        np.testing.assert_array_equal(
            md.mse_loss(x, target).data, md.mse_loss(x, np.ones_like(x)).data
        )
