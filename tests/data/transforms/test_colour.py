"""These tests compare normalization and colour transforms with plain formulas."""

import colorsys

import numpy as np
import pytest

from minidl.data import transforms as T
from tests.support.transforms import applied, draws_of, images_of

IMAGES = images_of(20, 5, 6, 3)


@pytest.mark.parametrize(
    "mean, std",
    [
        (0.5, 0.25),
        ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        (np.float64([0, 1, 2]), 2),
        ([0.3], np.array(0.5)),
        (0, 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize(mean, std, dtype):
    images = IMAGES.astype(dtype)
    found, _ = applied(T.Normalize(mean, std), images)
    assert found.dtype == dtype
    expected = (images.astype(np.float64) - np.asarray(mean)) / np.asarray(std)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((0.5, 0), ValueError, "Normalize: std must be positive"),
        ((0.5, [1, -1]), ValueError, "Normalize: std must be positive"),
        ((float("nan"), 1), ValueError, "Normalize: mean must be a finite number"),
        (([[1]], 1), ValueError, "Normalize: mean"),
        (("a", 1), ValueError, "Normalize: mean"),
        ((0.5,), TypeError, "takes mean, std"),
    ],
)
def test_what_does_not_normalize(arguments, error, message):
    with pytest.raises(error, match=message):
        T.Normalize(*arguments)


def test_another_number_of_channels():
    with pytest.raises(ValueError, match="Normalize: mean has 2 channels, images have 3"):
        T.Normalize([1, 2], 1)(IMAGES)


def grey(image):
    return image @ [0.299, 0.587, 0.114]


def expected_of(image, u, brightness=0, contrast=0, saturation=0, hue=0):
    """Return one image, transformed step by step."""
    image = image.astype(np.float64)
    factors = [
        max(0, 1 - x) + v * (1 + x - max(0, 1 - x))
        for x, v in zip((brightness, contrast, saturation), u, strict=False)
    ]
    image = np.clip(image * factors[0], 0, 1)
    image = np.clip(grey(image).mean() + (image - grey(image).mean()) * factors[1], 0, 1)
    image = np.clip(grey(image)[..., None] + (image - grey(image)[..., None]) * factors[2], 0, 1)
    turned = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[place])
        turned[place] = colorsys.hsv_to_rgb((h + (2 * u[3] - 1) * hue) % 1, s, v)
    return turned


@pytest.mark.parametrize(
    "options",
    [
        {"brightness": 0.4},
        {"contrast": 0.8},
        {"saturation": 1.7},
        {"hue": 0.5},
        {"hue": 0.1},
        {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1},
        {},
    ],
)
def test_color_jitter(options):
    found, _ = applied(T.ColorJitter(**options), IMAGES)
    u = draws_of(20).uniform(4)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    for i in range(20):
        np.testing.assert_allclose(found[i], expected_of(IMAGES[i], u[i], **options), atol=1e-5)


def test_grey_pixels_have_no_hue():
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4, 1)
    found, _ = applied(T.ColorJitter(saturation=0.9, hue=0.5), np.repeat(image, 3, axis=3))
    np.testing.assert_allclose(found, np.repeat(image, 3, axis=3), atol=1e-6)
    found, _ = applied(T.ColorJitter(saturation=0.9, hue=0.5), image)
    assert np.array_equal(found, image)


def test_one_channel():
    image = images_of(4, 3, 3, 1)
    found, _ = applied(T.ColorJitter(contrast=0.5), image)
    factors = 0.5 + draws_of(4).uniform(4)[:, 1]
    for i in range(4):
        mean = image[i].mean()
        np.testing.assert_allclose(
            found[i], np.clip(mean + (image[i] - mean) * factors[i], 0, 1), atol=1e-6
        )


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"brightness": -1}, ValueError, "ColorJitter: brightness"),
        ({"hue": 0.6}, ValueError, "hue"),
        ({"contrast": "a"}, TypeError, "contrast"),
        ({"gamma": 1}, TypeError, "it takes brightness"),
    ],
)
def test_jitters_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        T.ColorJitter(**options)
    with pytest.raises(ValueError, match="images must have 1 or 3 channels, got 2"):
        T.ColorJitter(0.1)(IMAGES[..., :2])
