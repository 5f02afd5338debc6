"""The train steps that are compared: the networks, their first weights and their batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import minidl as md
from minidl import data, models
from minidl.data import cifar, store

from . import training_file
from .training_file import BATCH, BATCHES

# Each name has its network and its data set.
WORKLOADS = {
    "mlp-bn": (models.MLP, "MNIST"),
    "mnist-cnn": (models.MnistCNN, "MNIST"),
    "resnet20": (models.ResNet20, "CIFAR-10"),
    "vgg8-bn": (models.VGG8, "CIFAR-10"),
    "mobile": (models.Mobile, "CIFAR-10"),
}


def have_cifar() -> bool:
    """Return whether CIFAR-10 is on this machine. A benchmark does not download it."""
    try:
        store.locate("CIFAR-10", "cifar10", lambda f: cifar._match(f, cifar.BATCHES["test"]), [])
    except FileNotFoundError:
        return False
    return True


def images_of(name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return enough test images of a data set, their labels, and a phrase that says what they
    are.
    """
    rng = np.random.default_rng(0)
    count = BATCH * BATCHES
    if name == "CIFAR-10" and not have_cifar():
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return images, rng.integers(0, 10, count), "random images of CIFAR-10's shape"
    dataset = data.MNIST(split="test") if name == "MNIST" else data.CIFAR10(split="test")
    chosen = rng.permutation(len(dataset))[:count]
    return dataset.images[chosen], dataset.labels[chosen], f"{name}'s test images"


def write(names: list[str], folder: Path) -> dict[str, str]:
    """Write the file of each workload, `<name>.npz`, and return what its images are."""
    found = {dataset: images_of(dataset) for dataset in {WORKLOADS[name][1] for name in names}}
    sources = {}
    for name in names:
        network, dataset = WORKLOADS[name]
        images, labels, sources[name] = found[dataset]
        md.manual_seed(0)
        training_file.write(folder / f"{name}.npz", network().state_dict(), images, labels)
    return sources
