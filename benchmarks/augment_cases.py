"""What is measured of augmentation, and how minidl does it; PyTorch's side is `torch_augment.py`.

A pipeline goes from uint8 images (N, H, W, C) to float32 ones, and draws for each image by itself.
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
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's
RECIPE = "crop, flip, normalize, cutout"

# name: the shape of the images, and the transforms. `torch_augment.PIPELINES` has the same names.
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
    """A batch through a pipeline, on one thread, as the thread of a loader makes it."""
    shape, make = PIPELINES[name]
    images, transform, rng = pictures(shape), T.Compose(*make()), np.random.default_rng(0)
    return lambda: transform(images, rng)


def loader(prefetch: int) -> data.DataLoader:
    """Batches of CIFAR-10's shape with crop, flip and cutout."""
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
    """A batch of the loader, made when it is asked for: what its thread works for a step."""
    batches = endless(loader(prefetch=0))
    return lambda: next(batches)


def loader_step(source: str) -> Run:
    """A train step of ResNet-20, and the batch for it: from the "loader", whose thread works beside
    the step, or "ready" ones that it has made before."""
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
