"""The pipelines of augmentation that are measured, as minidl runs them. PyTorch's side is in
`torch_augment.py`.

A pipeline converts uint8 images (N, H, W, C) to float32 ones, and draws for each image separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import minidl as md
from minidl import data, models, optim
from minidl.data import transforms as T

from .training_file import BATCH, BATCHES, LEARNING_RATE, MOMENTUM

Run = Callable[[], Any]
SMALL, LARGE = (BATCH, 32, 32, 3), (32, 256, 256, 3)
# The mean and the deviation of CIFAR-10's channels.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
RECIPE = "crop, flip, normalize, cutout"

# Each name has the shape of the images, and the transforms. `torch_augment.PIPELINES` has the same
# names.
PIPELINES: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "crop": (SMALL, lambda: [T.RandomCrop(32, padding=4)]),
    "flip": (SMALL, lambda: [T.RandomFlip()]),
    "cutout": (SMALL, lambda: [T.Cutout(8)]),
    RECIPE: (
        SMALL,
        lambda: [T.RandomCrop(32, padding=4), T.RandomFlip(), T.Normalize(MEAN, STD), T.Cutout(8)],
    ),
    "rotation": (SMALL, lambda: [T.RandomRotation(15)]),
    "colour jitter": (SMALL, lambda: [T.ColorJitter(0.2, 0.2, 0.2, 0.05)]),
    "resized crop 256 to 224": (LARGE, lambda: [T.RandomResizedCrop(224), T.RandomFlip()]),
}


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def augment(name: str) -> Run:
    """Return a function that sends a batch through a pipeline on one thread, as a loader's thread
    does.
    """
    shape, make = PIPELINES[name]
    images, transform, rng = pictures(shape), T.Compose(*make()), np.random.default_rng(0)
    return lambda: transform(images, rng)


def loader(prefetch: int) -> data.DataLoader:
    """Return a loader of images of CIFAR-10's shape, with crop, flip and cutout."""
    images = pictures((BATCHES * BATCH, *SMALL[1:]))
    labels = np.random.default_rng(1).integers(0, 10, len(images))
    return data.DataLoader(
        data.ArrayDataset(images, labels),
        BATCH,
        shuffle=True,
        seed=0,
        transform=T.Compose(*PIPELINES[RECIPE][1]()),
        prefetch=prefetch,
    )


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def loader_batch() -> Run:
    """Return a function that makes one batch of the loader when it is called: the work of the
    loader's thread for one step.
    """
    batches = endless(loader(prefetch=0))
    return lambda: next(batches)


def loader_step(source: str) -> Run:
    """Return a train step of ResNet-20 and its batches. With "loader" a loader's thread makes the
    batches beside the step; with "ready" they were made before.
    """
    made = loader(prefetch=2)
    batches = endless(made if source == "loader" else list(made))
    net = models.ResNet20()
    optimizer = optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def run() -> float:
        images, labels = next(batches)
        loss = md.cross_entropy(net(images), labels)
        net.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run
