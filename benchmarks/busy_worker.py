"""This program trains and reports how long its steps take: `python -m benchmarks.busy_worker MODEL
SECONDS`.

OMP_NUM_THREADS gives it its threads, and it imports PyTorch first if a third argument says so. It
prints a line when it is ready, waits for a line, trains, and prints the milliseconds a step. This
is the mean and not the median, because a wait for a CPU delays few steps.
"""

from __future__ import annotations

import importlib
import sys
import time

if len(sys.argv) > 3:
    # Before minidl, because the first module to be imported loads OpenMP.
    importlib.import_module(sys.argv[3])

import numpy as np

import minidl as md
from minidl import models, nn, optim

BATCH = 128


class Sequence(nn.Layer):
    """An LSTM reads the 28 rows of a digit, and a dense layer classifies its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 100)
        self.head = nn.Dense(100, 10)

    def forward(self, x: md.Tensor) -> md.Tensor:
        outputs, _ = self.lstm(x)
        return self.head(outputs[:, -1])


MODELS = {
    "mlp": (models.MLP, (784,)),
    "cnn": (models.MnistCNN, (28, 28, 1)),
    "lstm": (Sequence, (28, 28)),
}


def main() -> None:
    make, shape = MODELS[sys.argv[1]]
    seconds = float(sys.argv[2])
    md.manual_seed(0)
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, *shape)).astype(np.float32)
    labels = rng.integers(0, 10, BATCH)

    def train(duration: float) -> float:
        start = now = time.perf_counter()
        steps = 0
        while now < start + duration:
            loss = md.cross_entropy(model(md.Tensor(x)), labels)
            model.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            now = time.perf_counter()
        return 1000 * (now - start) / steps

    train(0.2)
    print("ready", flush=True)
    sys.stdin.readline()
    train(0.1)
    print(train(seconds), flush=True)


if __name__ == "__main__":
    main()
