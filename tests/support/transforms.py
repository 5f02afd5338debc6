"""This module has images for transforms, and the tests that all transforms must pass."""

import numpy as np

from minidl.data import ArrayDataset, DataLoader
from minidl.data.draws import Draws


def images_of(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def draws_of(count, seed=0, epoch=0, classes=None):
    return Draws(seed, epoch, np.arange(count), lambda: np.random.default_rng(seed), classes)


def applied(transform, images, labels=None, **options):
    """Return what a transform makes of copies."""
    labels = None if labels is None else labels.copy()
    return transform.apply_batch(images.copy(), labels, draws_of(len(images), **options))


def epoch_of(transform, images, batch_size, skip=0, epoch=0, shuffle=True, prefetch=0):
    """Return what a loader yields in an epoch, by item, from batch `skip` on."""
    count = len(images)
    places = np.arange(count)
    data = ArrayDataset(images, places, places, classes=[str(i) for i in places])
    loader = DataLoader(
        data, batch_size, shuffle=shuffle, transform=transform, seed=5, prefetch=prefetch
    )
    loader.load_state_dict({"seed": 5, "epoch": epoch, "position": skip})
    return {
        int(item): (image, label)
        for batch, labels, items in loader
        for image, label, item in zip(batch.numpy(), labels, items, strict=True)
    }
