"""These tests check that functions which saturate keep their digits: values and gradients have a
small relative error from 1e-8 to 1e4 on both sides of 0, also where 1 - p would be 0 in floating
point.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minidl as md
from tests.support.marks import both_backends, both_floats

LONG = np.longdouble
CUBIC, ROOT = LONG("0.044715"), LONG(math.sqrt(8 / math.pi))


def s(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def cdf(x):
    return np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(float).tolist()], LONG)


def density(x):
    return np.exp(-x * x / 2) / LONG(math.sqrt(2 * math.pi))


def twice_u(x):
    return ROOT * (x + CUBIC * x**3)


def steep(x):
    """Return x times the slope of `twice_u`."""
    return x * ROOT * (1 + 3 * CUBIC * x * x)


def rows(x):
    """Return logits (x, 0) of two classes."""
    return md.stack([x, x * 0], axis=-1)


def bce(target):
    return lambda x: md.binary_cross_entropy_with_logits(
        x, np.full(x.shape, target, x.dtype), reduction="none"
    )


def entropy(label, **options):
    return lambda x: md.cross_entropy(rows(x), np.full(x.shape, label), reduction="none", **options)


def soft(x):
    return md.cross_entropy(
        rows(x), np.tile(np.array([1, 0], x.dtype), (x.size, 1)), reduction="none"
    )


@dataclass
class Line:
    name: str
    ours: Callable[..., Any]
    value: Callable[..., Any]
    slope: Callable[..., Any]
    parts: Callable[..., Any] | None = None  # the sizes of the terms, if the slope is a sum
    # The factor by which rounding an exponent counts.
    stiffness: Callable[..., Any] = lambda x: 0 * x


LINES = [
    Line("sigmoid", md.sigmoid, s, lambda x: s(x) * s(-x)),
    Line("tanh", md.tanh, np.tanh, lambda x: 4 * s(2 * x) * s(-2 * x)),
    Line("softplus", lambda x: md.softplus(x, threshold=np.inf), softplus, s),
    Line(
        "elu",
        md.elu,
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.exp(np.minimum(x, 0)),
    ),
    Line(
        "silu",
        md.silu,
        lambda x: x * s(x),
        lambda x: s(x) * (1 + x * s(-x)),
        lambda x: s(x) * (1 + np.abs(x) * s(-x)),
    ),
    Line(
        "gelu",
        md.gelu,
        lambda x: x * cdf(x),
        lambda x: cdf(x) + x * density(x),
        lambda x: cdf(x) + np.abs(x) * density(x),
        lambda x: np.minimum(x * x, 1500),
    ),
    Line(
        "gelu, tanh",
        lambda x: md.gelu(x, "tanh"),
        lambda x: x * s(twice_u(x)),
        lambda x: s(twice_u(x)) * (1 + steep(x) * s(-twice_u(x))),
        lambda x: s(twice_u(x)) * (1 + np.abs(steep(x)) * s(-twice_u(x))),
        lambda x: np.minimum(4 * np.abs(twice_u(x)), 3000),
    ),
    Line("bce of 1", bce(1), lambda x: softplus(-x), lambda x: -s(-x)),
    Line("bce of 0", bce(0), softplus, s),
    Line("cross_entropy of x", entropy(0), lambda x: softplus(-x), lambda x: -s(-x)),
    Line("cross_entropy of the other", entropy(1), softplus, s),
    Line(
        "cross_entropy, weighted",
        entropy(0, weight=[0.5, 3]),
        lambda x: softplus(-x) / 2,
        lambda x: -s(-x) / 2,
    ),
    Line("cross_entropy of a distribution", soft, lambda x: softplus(-x), lambda x: -s(-x)),
    Line(
        "nll_loss of log_softmax",
        lambda x: md.nll_loss(md.log_softmax(rows(x)), np.zeros(x.shape, int), reduction="none"),
        lambda x: softplus(-x),
        lambda x: -s(-x),
    ),
    Line(
        "log_softmax",
        lambda x: md.log_softmax(rows(x))[:, 0],
        lambda x: -softplus(-x),
        lambda x: s(-x),
    ),
    Line("softmax", lambda x: md.softmax(rows(x))[:, 0], s, lambda x: s(x) * s(-x)),
    Line("logsumexp", lambda x: md.logsumexp(rows(x), axis=1), softplus, s),
]


def near(got, exact, scale, stiffness, dtype):
    """Check that the difference is a few rounding errors, or a few of the smallest normal numbers,
    below which numbers have few digits.
    """
    info = np.finfo(dtype)
    room = 16 * float(info.eps) * (1 + stiffness) * scale + 1e-4 * LONG(info.tiny)
    off = np.abs(got - exact) > room
    assert not off.any(), f"at {off.nonzero()[0]}: {got[off]}, right {exact[off]}"


@both_backends
@both_floats
@pytest.mark.parametrize("line", LINES, ids=[line.name for line in LINES])
def test_values_and_slopes(line, dtype, backend):
    size = np.logspace(-8, 4, 500)
    x = np.concatenate([-size[::-1], [0], size]).astype(dtype)
    with md.use_backend(backend), np.errstate(all="ignore"):
        tensor = md.Tensor(x, requires_grad=True)
        y = line.ours(tensor)
        dx = md.grad(y.sum(), tensor)
        wide = x.astype(LONG)
        value, slope, stiffness = line.value(wide), line.slope(wide), line.stiffness(wide)
        parts = np.abs(slope) if line.parts is None else line.parts(wide)
    near(y.data, value, np.abs(value), stiffness, dtype)
    near(dx, slope, parts, stiffness, dtype)


@pytest.mark.parametrize("target, factor", ((1, 3.0), (0, 3.0), (0.25, 0.5)))
def test_binary_losses_with_weights(target, factor):
    x = np.concatenate([-np.logspace(-3, 2, 40), np.logspace(-3, 2, 40)]).astype(np.float32)
    t = md.Tensor(np.full(80, target, np.float32), requires_grad=True)
    p = md.Tensor(np.float32([factor]), requires_grad=True)
    logits = md.Tensor(x, requires_grad=True)
    y = md.binary_cross_entropy_with_logits(
        logits, t, weight=np.float32(2), pos_weight=p, reduction="none"
    )
    dx, dt, dp = md.grad(y.sum(), [logits, t, p])
    wide = x.astype(LONG)
    yes, no = softplus(-wide), softplus(wide)
    np.testing.assert_allclose(
        y.data, 2 * (factor * target * yes + (1 - target) * no), rtol=1e-6, atol=1e-43
    )
    terms = 2 * np.array([(1 - target) * s(wide), -factor * target * s(-wide)])
    np.testing.assert_array_less(np.abs(dx - terms.sum(0)), 1e-6 * np.abs(terms).sum(0) + 1e-43)
    np.testing.assert_array_less(
        np.abs(dt - 2 * (factor * yes - no)), 2e-6 * (factor * yes + no) + 1e-43
    )
    np.testing.assert_allclose(dp, [2 * (target * yes).sum()], rtol=1e-6)
