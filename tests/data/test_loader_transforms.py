"""These tests check transforms of batches in a DataLoader: what they may take and return, and their
errors.
"""

import traceback

import numpy as np
import pytest

from minidl.data import DataLoader
from tests.support.loaders import numbered, prefetch_threads

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_transform():
    def add(images):
        assert images.dtype == np.float32 and images.flags.c_contiguous
        images += 1  # a transform may change the array
        return images

    data = numbered(5)
    ((images, _),) = DataLoader(data, 5, transform=add)
    assert np.array_equal(images.numpy(), data.images / np.float32(255) + 1)
    assert np.array_equal(data.images, numbered(5).images)


def test_transform_keeps_the_dtype():
    def compute(images):
        return ((images - np.float64(0.5)) / np.array([2.0]))[:, ::-1]

    for dtype, expected in ((np.uint8, "f4"), (np.float32, "f4"), (np.float64, "f8")):
        ((images, _),) = DataLoader(numbered(3, dtype), 3, transform=compute)
        assert images.dtype == expected and images.numpy().flags.c_contiguous


def test_transform_may_change_size():
    ((images, _),) = DataLoader(numbered(3), 3, transform=lambda images: images[:, :1, :2])
    assert images.shape == (3, 1, 2, 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_random_transform_depends_on_seed_epoch_and_batch(shuffle):
    def noise(images, rng):
        return rng.standard_normal(images.shape, np.float32)

    def epochs(seed, prefetch):
        loader = DataLoader(
            numbered(10), 4, shuffle=shuffle, transform=noise, seed=seed, prefetch=prefetch
        )
        return [images.numpy()[0, 0, 0, 0].item() for _ in range(2) for images, _ in loader]

    values = epochs(1, 0)
    assert len(set(values)) == 6
    assert values == epochs(1, 1) == epochs(1, 5)
    assert not set(values) & set(epochs(2, 2))


class Method:
    def __call__(self, images, rng):
        return images + rng.random()


def pick(images, rng=None):
    return images if rng is None else images + rng.random()


def scale(images, factor=1.0):
    return images * factor


def star(*images):
    return images[0]


@pytest.mark.parametrize(
    ("transform", "random"),
    [
        (Method(), True),
        (pick, True),
        (lambda a, b: a + b.random(), True),
        (scale, False),
        (star, False),
        (np.sqrt, False),
        (np.negative, False),
        (lambda images, *, rng=None: images if rng is None else None, False),
    ],
)
def test_who_gets_rng(transform, random):
    loader = DataLoader(numbered(2), 2, transform=transform, seed=0)
    one, two = (next(iter(loader))[0].numpy() for _ in range(2))
    assert np.array_equal(one, two) != random


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (lambda images: None, TypeError, "transform must return an array, not a NoneType"),
        (lambda images: list(images), TypeError, "not a list"),
        (lambda images: images[1:], ValueError, r"as many images as it got, 3; .*\(2, 2, 3, 1\)"),
        (lambda images: images.sum(), TypeError, "not a float32"),
        (lambda images: np.array(1.0), ValueError, r"shape \(\)"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_transforms_that_return_something_else(transform, error, message, prefetch):
    with pytest.raises(error, match=message):
        list(DataLoader(numbered(3), 3, transform=transform, prefetch=prefetch))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_error_in_a_transform(prefetch):
    def broken_transform(images):
        if images.max() > 5 / 255:
            raise LookupError("broken")
        return images

    loader = DataLoader(numbered(10), 2, transform=broken_transform, prefetch=prefetch)
    got = []
    with pytest.raises(LookupError, match="broken") as info:
        for _, labels in loader:
            got.append(labels.tolist())
    assert got == [[0, 1], [2, 3], [4, 5]]
    frames = traceback.extract_tb(info.value.__traceback__)
    assert (
        frames[-1].name == "broken_transform" and frames[-1].line == 'raise LookupError("broken")'
    )
    assert loader.state_dict()["position"] == 3
    assert prefetch_threads() == []
