"""These tests check 1x1 convolution between two normalizations: it is exact on whole numbers, with
bands and chunks or without.

What it has in common with depthwise convolution is in test_between_norms.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels.reference.conv import pointwise as twin
from minidl_ext.conv import pointwise as native
from tests.support.kernel_convs import (
    agree,
    factors_for,
    pointwise_cases,
    whole_consumer,
    whole_factors,
)
from tests.support.kernels import close, many, refuses, values

blocks = st.integers(1, 17).map(lambda n: 16 * n)


@many
@given(
    n=st.integers(0, 3),
    h=st.integers(1, 12),
    w=st.integers(1, 20),
    before=blocks,
    after=blocks,
    norm=st.booleans(),
    relu=st.booleans(),
    consumer=st.booleans(),
    consumer_relu=st.booleans(),
    centre=st.booleans(),
)
def test_any_shape_gives_the_results_of_the_twin(
    n, h, w, before, after, norm, relu, consumer, consumer_relu, centre
):
    cases = pointwise_cases(n, h, w, before, after)
    agree(
        "pointwise",
        cases,
        whole_factors(before) if norm else None,
        relu,
        whole_consumer(cases[1]["dy"], consumer_relu, centre) if consumer else None,
    )


@pytest.mark.parametrize(
    ("shape", "before", "after"),
    (
        ((1, 71, 99), 272, 16),  # there are more bands than chunks, and the last ones are not full
        ((1, 77, 91), 48, 256),
        ((9, 97, 113), 16, 16),
        ((3, 1, 1), 512, 1024),  # bands of few pixels, and one of fewer pixels than a band has
        ((1, 1, 25), 1024, 64),
    ),
)
def test_bands_and_chunks(shape, before, after):
    cases = pointwise_cases(*shape, before, after)
    agree("pointwise", cases, whole_factors(before), True, whole_consumer(cases[1]["dy"]))


def test_rounding_errors():
    forward, backward = pointwise_cases(8, 20, 20, 64, 96, make=values)
    options = {
        "factors": factors_for(forward["x"]),
        "consumer": (
            values(*backward["dy"].shape, seed=4),
            factors_for(backward["dy"]),
            False,
            values(2, 96),
        ),
    }

    def wide(value):
        if isinstance(value, tuple):
            return tuple(wide(part) for part in value)
        return value.astype(np.float64) if isinstance(value, np.ndarray) else value

    def exact(kernel, **case):
        return kernel(**{name: wide(value) for name, value in case.items()})

    close(
        native.pointwise_conv(**forward, factors=options["factors"]),
        exact(twin.pointwise_conv, **forward, factors=options["factors"]),
        2e-6,
    )
    for got, expected in zip(
        native.pointwise_backward(**backward, **options),
        exact(twin.pointwise_backward, **backward, **options),
        strict=True,
    ):
        close(got, expected, 5e-6)


@pytest.mark.parametrize("kernel", (native.pointwise_conv, native.pointwise_backward))
def test_weights_that_do_not_fit(kernel):
    forward, backward = pointwise_cases(2, 3, 4, 32, 16)
    case = backward if "backward" in kernel.__name__ else forward
    refuses(
        kernel,
        case,
        "w",
        {
            "other channels": lambda w: np.concatenate([w, w], axis=2),
            "a window": lambda w: np.concatenate([w, w]),
            "a wide window": lambda w: np.concatenate([w, w], axis=1),
            "half a block in": lambda w: np.ascontiguousarray(w[:, :, :8]),
            "half a block out": lambda w: np.ascontiguousarray(w[..., :8]),
        },
    )
