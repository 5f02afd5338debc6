"""These tests check pictures as data URIs."""

import base64
import io

import numpy as np
import pytest

from minidl.train.report.pictures import MOST_SIDE, as_bytes, data_uri, overlay

image = pytest.importorskip("PIL.Image")


def decoded(uri):
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(image.open(io.BytesIO(base64.b64decode(text))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_as_they_are(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, channels), np.uint8)
    np.testing.assert_array_equal(decoded(data_uri(pixels)).reshape(pixels.shape), pixels)


def test_large_pictures_are_scaled():
    assert decoded(data_uri(np.zeros((300, 100, 3), np.uint8))).shape == (MOST_SIDE, 24, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 5, 10], [0, 128, 255]),
        ([0.2, 0.2, 0.2], [51, 51, 51]),
        ([float("nan"), 0, 1], [0, 0, 255]),
    ],
)
def test_floats(values, expected):
    np.testing.assert_array_equal(
        as_bytes(np.array(values, np.float32).reshape(1, 3, 1)).ravel(), expected
    )


def test_an_overlay_is_red_where_the_map_is_large():
    heat = np.zeros((4, 4))
    heat[0, 3] = 2.0
    pixels = decoded(overlay(np.full((16, 16, 1), 120, np.uint8), heat)).astype(int)
    assert pixels.shape == (64, 64, 3)
    red = pixels[..., 0] - pixels[..., 2]
    assert red[4, 60] > 100 and red[60, 4] == 0
    plain = decoded(overlay(np.full((16, 16, 1), 120, np.uint8), np.zeros((4, 4)))).astype(int)
    assert not (plain[..., 0] - plain[..., 2]).any()
