"""Fit a noisy curve with a small network, by regression.

    python examples/regression.py

The curve is a wave of two frequencies. Of its 400 points, most have noise of 0.1 and a few are far
off; Huber's loss weighs these less than the squared error does.
"""

import argparse

import numpy as np

import minidl as md
from minidl import nn, optim


def wave(x):
    return np.sin(3 * x) + 0.5 * np.cos(7 * x)


def points(count, rng):
    """Return x (count, 1) in [-1, 1] and y (count, 1), of which one in twenty is far off."""
    x = rng.uniform(-1, 1, (count, 1))
    y = wave(x) + 0.1 * rng.standard_normal((count, 1))
    wild = rng.random((count, 1)) < 0.05
    return x.astype(np.float32), np.where(wild, 3 * rng.standard_normal((count, 1)), y).astype(
        np.float32
    )


def fit(x, y, loss_of, steps, seed=0):
    """Return a network that was trained on all points at once."""
    md.manual_seed(seed)
    model = nn.Sequential(nn.Dense(1, 64), nn.Tanh(), nn.Dense(64, 64), nn.Tanh(), nn.Dense(64, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.lr = 1e-2 * (1 - step / steps)
        loss = loss_of(model(x), y)
        model.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="train for 300 steps only")
    args = parser.parse_args()
    x, y = points(400, np.random.default_rng(0))
    grid = np.linspace(-0.95, 0.95, 500, dtype=np.float32)[:, None]
    for name, loss_of in (
        ("squared error", md.mse_loss),
        ("Huber's loss", lambda a, b: md.huber_loss(a, b, delta=0.2)),
    ):
        model = fit(x, y, loss_of, 300 if args.quick else args.steps)
        off = np.abs(model.predict(grid) - wave(grid)).mean()
        print(f"{name}: the curve is off by {off:.3f} on average")


if __name__ == "__main__":
    main()
