"""This program is a training that uses everything with a state. Tests kill it.

    python -m tests.support.killed_training FOLDER

It prints the hash of the final weights, including the averaged ones.
"""

import sys

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim, train
from tests.support.trainings import digest


def shifted(images, rng):
    """Shift each image by up to two pixels to the right, a transform that draws random numbers."""
    steps = rng.integers(0, 3, len(images))
    return np.stack([np.roll(image, k, axis=1) for image, k in zip(images, steps, strict=True)])


def model():
    md.manual_seed(7)
    return nn.Sequential(
        nn.Conv(1, 8, 3, stride=2, bias=False),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(13 * 13 * 8, 10),
    )


def training(folder, resume="auto", epochs=3, valid=None, **options):
    """Train on a part of MNIST, and return the trainer."""
    digits = data.MNIST(split="test")
    images, labels = digits.images[:330], digits.labels[:330]
    net = model()
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    given = {
        "schedule": optim.OneCycleLR(optimizer, max_lr=0.1, steps=27),
        "clip": 1.0,
        "accumulate": 2,
        "ema": 0.9,
        "progress": False,
        "callbacks": [train.Checkpoint(folder, every=1), train.EarlyStopping(patience=50)],
        **options,
    }
    trainer = train.Trainer(net, optimizer, **given)
    batches = data.DataLoader(
        data.ArrayDataset(images, labels), 20, shuffle=True, transform=shifted, seed=5
    )
    valid = valid or (digits.images[400:500], digits.labels[400:500])
    trainer.fit(batches, valid=valid, epochs=epochs, resume=resume)
    return trainer


def result(trainer):
    """Return the hash of all weights, buffers, the optimizer's state, and the figures of the
    history.
    """
    figures = {
        name: np.array(column) for name, column in trainer.history.items() if name != "seconds"
    }
    velocity = {
        number: values["velocity"]
        for number, values in trainer.optimizer.state_dict()["state"].items()
    }
    return digest(trainer.model.state_dict(), trainer.averaged.state_dict(), velocity, figures)


class Ends:
    """Raises an error after some batches."""

    def __init__(self, batches, error=KeyboardInterrupt):
        self.left, self.error = batches, error

    def on_batch_end(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise self.error


def ended(folder, batches, error=KeyboardInterrupt, every="epoch"):
    """Run a training in which a callback raises an error after some batches."""
    with pytest.raises(error):
        training(
            folder,
            callbacks=[
                train.EarlyStopping(patience=50),
                Ends(batches, error),
                train.Checkpoint(folder, every=every),
            ],
        )


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = b""
    elif how == "one bit":
        content[-100] ^= 4
    else:
        content = b"nonsense" * 100
    path.write_bytes(content)


if __name__ == "__main__":
    print(result(training(sys.argv[1])))
