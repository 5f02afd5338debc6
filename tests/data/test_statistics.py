"""These tests compare means and deviations with those that NumPy computes in double."""

import numpy as np
import pytest

from minidl.data import MNIST, ArrayDataset, Subset, mean_std, statistics


def bytes_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("most", [1, 200, 32 << 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(50, 5, 4, 3), (1, 2, 2, 1), (33, 7)])
def test_any_data_set(monkeypatch, most, dtype, shape):
    monkeypatch.setattr(statistics, "MOST_BYTES", most)
    images = bytes_of(*shape).astype(dtype)
    scaled = images.astype(np.float64) / (255 if dtype == np.uint8 else 1)
    axes = tuple(range(len(shape) - 1))
    labels = np.arange(len(images))
    twice = ArrayDataset(np.concatenate([images * 0, images]))
    for data in (
        ArrayDataset(images, labels),
        images,
        list(images),
        list(zip(images, labels, strict=True)),
        [{"label": 1, "image": image} for image in images],
        Subset(twice, len(images) + labels),
    ):
        mean, std = mean_std(data)
        assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == shape[-1:]
        np.testing.assert_allclose(mean, scaled.mean(axis=axes), rtol=1e-12)
        np.testing.assert_allclose(std, scaled.std(axis=axes), rtol=1e-12, atol=1e-14)


def test_far_from_zero():
    images = 1e6 + np.random.default_rng(0).standard_normal((500, 3, 3, 2))
    _, std = mean_std(images)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)), rtol=1e-9)


def test_equal_pixels_deviate_by_nothing():
    mean, std = mean_std(np.full((400, 3, 3, 2), 77, np.uint8))
    np.testing.assert_allclose(mean, 77 / 255, rtol=1e-15)
    assert (std < 1e-15).all()


def test_mnist():
    mean, std = mean_std(MNIST())
    assert abs(mean[0] - 0.1307) < 5e-5 and abs(std[0] - 0.3081) < 5e-5


@pytest.mark.parametrize(
    "data, error, message",
    [
        (ArrayDataset(np.zeros((0, 2, 2, 3))), ValueError, "has no images"),
        (np.zeros((2, 0, 2, 3)), ValueError, "have no pixels"),
        (np.zeros((2, 2, 2, 0)), ValueError, "have no pixels"),
        (np.zeros(3), ValueError, "last axis of channels"),
        (3, TypeError, "mean_std: dataset must have"),
        ((np.zeros(3), np.zeros(3)), TypeError, "mean_std: dataset"),
    ],
)
def test_what_has_none(data, error, message):
    with pytest.raises(error, match=message):
        mean_std(data)
