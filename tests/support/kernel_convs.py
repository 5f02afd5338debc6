"""This module makes the arguments of direct convolutions, and of those that can be between two
normalizations: 1x1 and depthwise.

They are made of integers, normalization included, so that every result but a variance is exact.
Therefore a kernel and its twin are compared with ==, whatever the order of their sums.
"""

import numpy as np
from hypothesis import strategies as st

from tests.support.kernels import identical, kernels_of, values, whole

norm, _ = kernels_of("norm.")

SAME = ((1, 1), (1, 1))

# Each kind has the forward, its twin, the backward, and its twin.
native, twin = kernels_of("conv.")
KERNELS = {
    kind: tuple(
        getattr(package, f"{kind}_{name}")
        for name in ("conv", "backward")
        for package in (native, twin)
    )
    for kind in ("pointwise", "depthwise")
}


# Strategies for strides, dilations and small kernels, and for padding.
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADS = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2)


def output_sizes(h, w, kernel, stride, padding, dilation):
    """Return the height and width of a convolution's output, which are below 1 if it is empty."""
    options = zip((h, w), kernel, stride, padding, dilation, strict=True)
    return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in options)


def depthwise_cases(
    n, h, w, channels, kernel=(3, 3), stride=(1, 1), padding=SAME, dilation=(1, 1), make=whole
):
    """Return the arguments of the forward and of the backward for one geometry."""
    oh, ow = output_sizes(h, w, kernel, stride, padding, dilation)
    forward = {
        "x": make(n, h, w, channels),
        "w": make(*kernel, 1, channels, seed=1),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    return forward, {"dy": make(n, oh, ow, channels, seed=2), **forward}


def pointwise_cases(n, h, w, before, after, make=whole):
    """Return the arguments of the forward and of the backward for these numbers of channels."""
    forward = {"x": make(n, h, w, before), "w": make(1, 1, before, after, seed=1)}
    return forward, {"dy": make(n, h, w, after, seed=2), **forward}


def whole_factors(channels, seed=3):
    return whole(5, channels, seed=seed, top=2)


def whole_consumer(dy, relu=True, centre=True):
    """Return a normalization that is the consumer, where dy is the gradient of its output."""
    channels = dy.shape[-1]
    return (
        whole(*dy.shape, seed=4),
        whole_factors(channels, seed=5),
        relu,
        whole(2, channels, seed=6, top=1) if centre else None,
    )


def fused(cases, relu=True):
    """Return the cases with a normalization as the producer and one as the consumer."""
    forward, backward = cases
    before = {"factors": whole_factors(forward["x"].shape[-1]), "relu": relu}
    return (
        {**forward, **before, "stats": True},
        {**backward, **before, "consumer": whole_consumer(backward["dy"], relu)},
    )


def agree(kind, cases, factors, relu, consumer):
    """Check that kernels and twins give the same results, and the same y whether or not it is
    summed.
    """
    forward, forward_twin, backward, backward_twin = KERNELS[kind]
    before = {"factors": factors, "relu": relu}
    y = forward(**cases[0], **before)
    identical(y, forward_twin(**cases[0], **before))
    if y.size:
        identical(forward(**cases[0], **before, stats=True)[0], y)
    for got, expected in zip(
        backward(**cases[1], **before, consumer=consumer),
        backward_twin(**cases[1], **before, consumer=consumer),
        strict=True,
    ):
        identical(got, expected)


def factors_for(x, seed=0):
    """Return factors of x's own statistics, with a gamma and a beta."""
    channels = x.shape[-1]
    gamma, beta = (values(channels, dtype=x.dtype, seed=seed + k) for k in (0, 1))
    return norm.batch_norm_factors(*norm.batch_stats(x), gamma, beta, 1e-5, x.dtype)


def direct_cases(
    x_shape,
    kernel,
    outputs,
    groups=1,
    stride=(1, 1),
    padding=((0, 0), (0, 0)),
    dilation=(1, 1),
    make=whole,
    dtype=np.float32,
    bias=True,
):
    """Return the arguments of the direct convolution and of its two gradients for one geometry."""
    n, h, w, channels = x_shape
    oh, ow = output_sizes(h, w, kernel, stride, padding, dilation)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x = make(*x_shape, dtype=dtype)
    weights = make(*kernel, channels // groups, outputs, dtype=dtype, seed=1)
    dy = make(n, oh, ow, outputs, dtype=dtype, seed=2)
    b = make(outputs, dtype=dtype, seed=3) if bias else None
    return {
        "conv": {"x": x, "w": weights, "bias": b, **options},
        "conv_input_grad": {"dy": dy, "w": weights, "input_shape": x_shape, **options},
        "conv_weight_grad": {"x": x, "dy": dy, "kernel_shape": kernel, **options},
    }
