"""These tests check what the 1x1 and the depthwise convolution between two normalizations both
promise.

They read exactly the values that batch_norm_apply gives, and mask as batch_norm_backward does.
Their statistics keep their digits, bad values stay where they belong, and the number of threads
does not matter.
"""

import functools

import numpy as np
import pytest

from tests.support.kernel_convs import (
    KERNELS,
    depthwise_cases,
    factors_for,
    fused,
    native,
    pointwise_cases,
    whole_factors,
)
from tests.support.kernels import (
    KINDS,
    LAYOUTS,
    RANKS,
    corners,
    exact_stats,
    identical,
    kernels_of,
    line,
    refuses,
    same_bits,
    spoil,
    values,
    whole,
)

norm, _ = kernels_of("norm.")

every_kind = pytest.mark.parametrize("kind", KERNELS)


def small(kind, make=whole):
    return (
        pointwise_cases(3, 5, 6, 32, 48, make)
        if kind == "pointwise"
        else depthwise_cases(3, 5, 6, 32, make=make)
    )


def agree(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        identical(ours, theirs)


# ----------------------------------------------- the values that are read, and their masks


def unit_weights(kind, channels):
    """Return weights that leave an image as it is."""
    if kind == "pointwise":
        return np.eye(channels, dtype=np.float32)[None, None]
    return np.ones((1, 1, 1, channels), np.float32)


def near_the_kink(*shape, seed=0):
    """Return images, and factors that put half of their values barely above zero."""
    x = (values(*shape, dtype=np.float64, seed=seed) * 1e-6 + 3).astype(np.float32)
    factors = norm.batch_norm_factors(*exact_stats(x), None, None, 1e-5, np.float32)
    return x, factors


@every_kind
@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize(
    "make",
    (near_the_kink, lambda *shape: (values(*shape), factors_for(values(*shape)))),
    ids=("near the kink", "anywhere"),
)
def test_what_is_read_is_what_batch_norm_apply_gives(make, relu, kind):
    x, factors = make(7, 13, 11, 144)
    got = KERNELS[kind][0](x, unit_weights(kind, 144), factors=factors, relu=relu)
    expected = norm.batch_norm_apply(x, factors, relu=relu)
    identical(got, expected)
    assert 0.2 < (expected > 0).mean() < 0.8


@every_kind
def test_masks_are_those_of_batch_norm_backward(kind):
    """dy has whole numbers, so that sums are exact, and one element more or less in the mask would
    show.
    """
    x, factors = near_the_kink(7, 13, 11, 144)
    y, consumer_factors = near_the_kink(7, 13, 11, 144, seed=1)
    dy, centre = whole(*x.shape), whole(2, 144)
    backward, unit = KERNELS[kind][2], unit_weights(kind, 144)
    dx, _, sums = backward(dy, x, unit, factors=factors, relu=True)
    identical(dx, dy)
    masked = np.where(norm.batch_norm_apply(x, factors, relu=True) > 0, dy, np.float32(0))
    identical(sums[0], masked.sum(axis=(0, 1, 2), dtype=np.float64))
    for with_centre in (None, centre):
        dx, *_ = backward(
            dy,
            x,
            unit,
            factors=factors,
            relu=True,
            consumer=(y, consumer_factors, True, with_centre),
        )
        identical(dx, norm.batch_norm_input_grad(dy, y, consumer_factors, True, centre=with_centre))


# ----------------------------------------------------------------------------- statistics

STATS = (
    line(n=2, h=4, w=5, channels=16),
    line(n=150, h=6, w=7, channels=144),
    line(n=9, h=30, w=31, channels=48),
    line(n=1100, h=3, w=3, channels=16),
)


def stats_case(kind, n, h, w, channels, ratio, scale):
    """Return arguments for outputs of this size with mean / std = ratio."""
    x = values(n, h, w, channels)
    if kind == "depthwise":
        return {
            "x": (x + ratio).astype(np.float32),
            "w": np.full((1, 1, 1, channels), scale, np.float32),
        }
    x[..., 0] = 1
    weights = values(1, 1, channels, channels) / np.float32(np.sqrt(channels))
    weights[0, 0, 0] = ratio
    return {"x": x, "w": weights * np.float32(scale)}


@every_kind
@pytest.mark.parametrize("scale", (1, 1e20, 1e-20))
@pytest.mark.parametrize("ratio", (0, 1e4))
@pytest.mark.parametrize("shape", STATS, ids=lambda s: "x".join(str(v) for v in s.values()))
def test_statistics_keep_their_digits(shape, ratio, scale, kind):
    y, mean, var = KERNELS[kind][0](
        **stats_case(kind, **shape, ratio=ratio, scale=scale), stats=True
    )
    exact_mean, exact_var = exact_stats(y)
    assert mean.dtype == var.dtype == np.float64
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-7, atol=1e-6 * np.sqrt(exact_var.max()))
    np.testing.assert_allclose(var, exact_var, rtol=1e-4 if ratio else 1e-5)


def worst(got, exact):
    return np.abs(got / exact - 1).max()


@every_kind
def test_statistics_of_large_images_are_as_good_as_batch_stats(kind):
    """Both sum blocks of rows in float32, and add these sums in double."""
    x = values(2, 362, 362, 16) + np.float32(100)
    y, *got = KERNELS[kind][0](x, unit_weights(kind, 16), stats=True)
    identical(y, x)
    for ours, others, exact in zip(got, norm.batch_stats(x), exact_stats(x), strict=True):
        assert worst(ours, exact) < 4 * max(worst(others, exact), 1e-8)


@every_kind
def test_sums_over_large_images_are_as_good_as_batch_norm_sums(kind):
    x, dy = values(2, 362, 362, 16), np.abs(values(2, 362, 362, 16, seed=1))
    factors = np.float32([[0], [1], [0], [1], [0]]) * np.ones((5, 16), np.float32)
    dx, _, sums = KERNELS[kind][2](dy, x, unit_weights(kind, 16), factors=factors)
    identical(dx, dy)
    exact = dy.sum(axis=(0, 1, 2), dtype=np.float64)
    others = norm.batch_norm_sums(dy, x, factors)[0]
    assert worst(sums[0], exact) < 4 * max(worst(others[0], exact), 1e-8)


@every_kind
def test_statistics_of_one_image_and_of_constant_channels(kind):
    y, mean, var = KERNELS[kind][0](
        np.ones((1, 1, 1, 32), np.float32), unit_weights(kind, 32), stats=True
    )
    agree((y, mean, var), (np.ones((1, 1, 1, 32), np.float32), np.ones(32), np.zeros(32)))
    x = np.full((40, 9, 9, 32), 0.1, np.float32)
    _, mean, var = KERNELS[kind][0](x, unit_weights(kind, 32), stats=True)
    np.testing.assert_allclose(mean, np.float64(np.float32(0.1)), rtol=1e-15)
    identical(var, np.zeros(32))


# ------------------------------------------------------------------------------ bad values


def steps(x, w, factors, relu, dy=None, consumer=None, stats=False, **geometry):
    """Return the result of one kernel, computed by a separate kernel for each step: forward, or
    backward if there is a dy.

    The twins are not used, since they multiply the zeros of a padding by weights.
    """
    run = (
        {
            name: functools.partial(getattr(native, f"depthwise_{name}"), **geometry)
            for name in ("conv", "input_grad", "weight_grad")
        }
        if geometry
        else {
            name.removeprefix("conv_"): getattr(native, name)
            for name in ("conv", "conv_input_grad", "conv_weight_grad")
        }
    )
    read = norm.batch_norm_apply(x, factors, relu=relu)
    if dy is None:
        y = run["conv"](read, w)
        return (y, *norm.batch_stats(y))
    y, consumer_factors, consumer_relu, centre = consumer
    g = norm.batch_norm_input_grad(dy, y, consumer_factors, consumer_relu, centre=centre)
    dx = run["input_grad"](g, w, x.shape)
    return (
        dx,
        run["weight_grad"](read, g, w.shape[:2]),
        norm.batch_norm_sums(dx, x, factors, relu)[0],
    )


@every_kind
@pytest.mark.parametrize("argument", ("x", "w", "dy"))
@pytest.mark.parametrize("relu", (False, True))
def test_bad_values_stay_where_they_belong(relu, argument, kind):
    forward, backward = fused(small(kind), relu)
    for places in corners(backward[argument]):
        if argument != "dy":
            case = spoil(forward, argument, *places)
            got, expected = KERNELS[kind][0](**case), steps(**case)
            identical(got[0], expected[0])
            for ours, theirs in zip(got[1:], expected[1:], strict=True):
                np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
            assert 0 < np.isfinite(expected[0]).mean() < 1
        case = spoil(backward, argument, *places)
        expected = steps(**case)
        agree(KERNELS[kind][2](**case), expected)
        assert relu or any(not np.isfinite(result).all() for result in expected)
        assert any(np.isfinite(result).any() for result in expected)


@every_kind
@pytest.mark.parametrize("part", (0, 1, 3), ids=("y", "factors", "centre"))
def test_bad_values_of_a_consumer_stay_where_they_belong(part, kind):
    case = fused(small(kind))[1]
    consumer = list(case["consumer"])
    consumer[part] = consumer[part].copy()
    consumer[part].reshape(-1)[7] = np.nan  # of channel 7
    case["consumer"] = tuple(consumer)
    expected = steps(**case)
    agree(KERNELS[kind][2](**case), expected)
    assert np.isnan(expected[1][..., 7]).any()
    assert not np.isnan(np.delete(expected[1], 7, -1)).any()


# ----------------------------------------------------------- threads, no images, bad arguments


@every_kind
@pytest.mark.parametrize(
    "shape",
    (
        line(n=70, h=15, w=14, channels=48),
        line(n=5, h=21, w=19, channels=272),
        line(n=2, h=3, w=3, channels=16),
    ),
    ids=lambda s: "x".join(str(v) for v in s.values()),
)
def test_any_number_of_threads_gives_the_same_bits(shape, kind):
    cases = (
        depthwise_cases(**shape, make=values)
        if kind == "depthwise"
        else pointwise_cases(*(shape[name] for name in "nhw"), shape["channels"], 80, make=values)
    )
    for kernel, case in zip(KERNELS[kind][::2], fused(cases), strict=True):
        same_bits(kernel, case)
        same_bits(kernel, {**case, "factors": None})


@every_kind
def test_no_images(kind):
    forward, twin_forward, backward, twin_backward = KERNELS[kind]
    empty_of = {name: value[:0] for name, value in small(kind)[1].items() if name in ("x", "dy")}
    cases = [
        {**case, **{name: empty_of[name] for name in case if name in empty_of}}
        for case in small(kind)
    ]
    options = {"factors": whole_factors(32), "relu": True}
    for more in ({}, options):
        identical(forward(**cases[0], **more), twin_forward(**cases[0], **more))
        with pytest.raises(ValueError, match=f"{forward.__name__}: no values"):
            forward(**cases[0], **more, stats=True)
        dx, dw, sums = backward(**cases[1], **more)
        agree((dx, dw, sums), twin_backward(**cases[1], **more))
        assert not dw.any() and not sums.any()


FACTORS = {
    "a row less": lambda a: a[:-1].copy(),
    "wider": lambda a: np.append(a, a, 1),
    "narrower": lambda a: a[:, :16].copy(),
    "float64": lambda a: a.astype(np.float64),
}
IMAGES = {"float64": lambda a: a.astype(np.float64), "uneven": lambda a: a[..., 1:].copy()}
OTHERS = {
    "narrower": lambda a: a[..., :-16].copy(),
    "an image less": lambda a: a[1:].copy(),
    "a row less": lambda a: a[:, 1:].copy(),
    "a column less": lambda a: a[:, :, 1:].copy(),
}
ANY = LAYOUTS | KINDS | RANKS


@every_kind
def test_bad_arrays_are_refused(kind):
    for kernel, case in zip(KERNELS[kind][::2], fused(small(kind)), strict=True):
        refuses(kernel, case, "factors", ANY | FACTORS)
        refuses(kernel, case, "x", ANY | IMAGES)
        refuses(kernel, case, "w", ANY | {"float64": IMAGES["float64"]})
        if "dy" in case:
            for consumer in (case["consumer"], None):
                refuses(kernel, {**case, "consumer": consumer}, "dy", ANY | IMAGES | OTHERS)
        with pytest.raises(ValueError, match=f"{kernel.__name__}: .*channels|{kernel.__name__}: w"):
            kernel(**{**case, "x": case["x"][..., :-16].copy()})


@every_kind
def test_bad_arrays_of_a_consumer_are_refused(kind):
    kernel, case = KERNELS[kind][2], small(kind)[1]
    consumer, factors, relu, centre = fused(small(kind))[1]["consumer"]

    @functools.wraps(kernel)
    def flat(consumer, factors, centre, **options):
        return kernel(**options, consumer=(consumer, factors, relu, centre))

    flat_case = {**case, "consumer": consumer, "factors": factors, "centre": centre}
    flat(**flat_case)
    refuses(flat, flat_case, "consumer", ANY | IMAGES | OTHERS)
    refuses(flat, flat_case, "factors", ANY | FACTORS)
    refuses(flat, flat_case, "centre", ANY | {**FACTORS, "a row less": lambda a: a[:1].copy()})
