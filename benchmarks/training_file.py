"""This module writes and reads the file from which both sides of a train step start: first weights
and batches.

The weights have minidl's names and layouts. NumPy alone is needed to read the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH, BATCHES = 128, 20
LEARNING_RATE, MOMENTUM = 0.05, 0.9

Feed = Callable[[], tuple[np.ndarray, np.ndarray]]


def write(
    path: Path, weights: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray
) -> None:
    """Write the file. `read` needs images that are uint8 (BATCHES * BATCH, H, W, C)."""
    np.savez(
        path,
        images=images,
        labels=labels,
        **{f"weight/{name}": value for name, value in weights.items()},
    )


def load(path: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the first weights, all images and all labels."""
    with np.load(path) as file:
        weights = {
            key.removeprefix("weight/"): file[key]
            for key in file.files
            if key.startswith("weight/")
        }
        return weights, file["images"], file["labels"]


def read(path: str) -> tuple[dict[str, np.ndarray], Feed]:
    """Return the first weights, and a function that returns the next batch: images, labels."""
    weights, images, labels = load(path)
    step = -1

    def feed() -> tuple[np.ndarray, np.ndarray]:
        nonlocal step
        step += 1
        start = step % BATCHES * BATCH
        batch = images[start : start + BATCH].astype(np.float32)
        batch /= 255
        return batch, labels[start : start + BATCH]

    return weights, feed
