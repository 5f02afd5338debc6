"""This program trains or saves until `benchmarks.kill` kills it.

    python -m benchmarks.kill_worker train FOLDER EPOCHS IMAGES   a training, from where FOLDER is
    python -m benchmarks.kill_worker save FOLDER MEGABYTES        nothing but saves, for ever

Both forms print a line on stdout at each step of their progress: "resumed STEP", "batch N" and "end
HASH"; or "begin N" and "end N" around each save.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn, optim, train
from minidl.data import transforms as T
from minidl.train import files

SEED = 11
BATCH, ACCUMULATE = 64, 2
EVERY = 3  # the number of optimizer steps between two checkpoints
KEEP = 3


def say(*words: Any) -> None:
    """Print a line that reaches the parent before anything else happens, even if this process is
    killed next.
    """
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


# ------------------------------------------------------------------------------------ a training


def noise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A user's transform that adds noise, drawn from the generator that the loader passes."""
    return images + 0.02 * rng.standard_normal(images.shape, np.float32)


def network() -> nn.Layer:
    """Return a small convolutional network with BatchNorm and Dropout."""
    md.manual_seed(SEED)
    return nn.Sequential(
        nn.Conv(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm(16),
        nn.ReLU(),
        nn.MaxPool(2),
        nn.Conv(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm(32),
        nn.ReLU(),
        nn.MaxPool(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(7 * 7 * 32, 10),
    )


class Tells:
    """A callback with a state, which counts batches and prints a line for each."""

    def __init__(self) -> None:
        self.batches = 0

    def on_fit_begin(self, trainer: train.Trainer) -> None:
        say("resumed", trainer.step)

    def on_batch_end(self, trainer: train.Trainer) -> None:
        self.batches += 1
        say("batch", self.batches)

    def state_dict(self) -> dict[str, int]:
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.batches = state["batches"]


def training(folder: str, epochs: int, count: int) -> train.Trainer:
    """Return a training that uses every part with a state: two optimizers, one of them wrapped in
    Lookahead, two schedules in a row, averages of the weights, dropout, random transforms,
    accumulated gradients, and callbacks.
    """
    digits, test = data.MNIST(split="train"), data.MNIST(split="test")
    net = network()
    weights, others = optim.groups(net, weight_decay=5e-4)
    optimizer = optim.Combined(
        optim.Muon(weights, lr=0.01, momentum=0.9),
        optim.Lookahead(optim.AdamW(others, lr=0.002), k=4),
    )
    steps = epochs * -(-count // (BATCH * ACCUMULATE))
    schedule = optim.SequenceLR(
        [optim.WarmupLR(optimizer, max(1, steps // 5)), optim.CosineLR(optimizer, steps)],
        [max(1, steps // 5)],
    )
    augment = T.Compose(T.RandomCrop(28, padding=2, mode="constant"), T.RandomRotation(10), noise)
    trainer = train.Trainer(
        net,
        optimizer,
        schedule=schedule,
        clip=5.0,
        accumulate=ACCUMULATE,
        ema=0.95,
        progress=False,
        callbacks=[
            Tells(),
            train.EarlyStopping(patience=100),
            train.Checkpoint(folder, every=EVERY, keep=KEEP),
        ],
    )
    loader = data.DataLoader(
        data.ArrayDataset(digits.images[:count], digits.labels[:count]),
        BATCH,
        shuffle=True,
        transform=augment,
        seed=SEED,
    )
    trainer.fit(loader, valid=(test.images[:500], test.labels[:500]), epochs=epochs, resume="auto")
    return trainer


def digest(value: Any) -> str:
    """Return the SHA-256 over nested dicts and lists of arrays and plain values."""
    found = hashlib.sha256()

    def feed(part: Any) -> None:
        if isinstance(part, Mapping):
            for name in sorted(part):
                found.update(str(name).encode())
                feed(part[name])
        elif isinstance(part, (list, tuple)):
            for inner in part:
                feed(inner)
        elif isinstance(part, np.ndarray):
            found.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        else:
            found.update(repr(part).encode())

    feed(value)
    return found.hexdigest()


def result(trainer: train.Trainer) -> str:
    """Return the hash of the final weights, of the averaged ones, of the optimizers' state and of
    the history without its times.
    """
    assert trainer.averaged is not None
    history = {name: column for name, column in trainer.history.items() if name != "seconds"}
    return digest(
        {
            "model": trainer.model.state_dict(),
            "averaged": trainer.averaged.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "history": history,
        }
    )


# -------------------------------------------------------------------------------------- saving


def content(number: int, megabytes: int) -> dict[str, Any]:
    """Return what the save with this number writes: arrays of random bytes that follow from the
    number.
    """
    rng = np.random.default_rng(number)
    parts = [rng.integers(0, 2**32, (2**20 // 4,), np.uint32) for _ in range(megabytes)]
    return {"number": number, "parts": parts}


def save(folder: str, megabytes: int) -> None:
    """Save for ever, beginning with the number after that of the newest file."""
    found = files.newest(folder)
    first = 0 if found is None else found[1]["number"] + 1
    for number in itertools.count(first):
        state = content(number, megabytes)
        say("begin", number)
        files.push(folder, state, KEEP, remove_older=False)
        say("end", number)


def main() -> None:
    job, folder, *numbers = sys.argv[1:]
    if job == "train":
        say("end", result(training(folder, *map(int, numbers))))
    else:
        save(folder, int(numbers[0]))


if __name__ == "__main__":
    main()
