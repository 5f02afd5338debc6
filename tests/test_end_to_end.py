"""These tests train on the real MNIST: the bits are the same every time, both backends agree, and
the model learns.

Run as a program, this file prints the fingerprints that it computes in a process of its own.
"""

import hashlib
import os
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import data, models, nn, optim
from tests.support.threads import threads

ROOT = Path(__file__).resolve().parents[1]


class Dropping(nn.Sequential):
    """A small network with what the CNN does not have: dropout, biases, average pooling."""

    def __init__(self):
        super().__init__(
            nn.Conv(1, 12, 5, stride=2),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.AvgPool(3, 2, 1),
            nn.Conv(12, 16, 3, dilation=2, groups=4, bias=False),
            nn.BatchNorm(16, momentum=None),
            nn.Tanh(),
            nn.GlobalAvgPool(),
            nn.Dense(16, 10),
        )


# Each name has (model, optimizer, steps).
RUNS = {
    "mnist-cnn": (models.MnistCNN, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 50),
    "mlp-bn": (models.MLP, lambda p: optim.AdamW(p, lr=1e-3), 50),
    "dropping": (Dropping, lambda p: optim.Adam(p, weight_decay=1e-4), 10),
}


@cache
def mnist(split):
    return data.MNIST(split=split)


def step(model, optimizer, images, labels):
    """Take one training step, and return the loss."""
    loss = md.cross_entropy(model(images), labels)
    model.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(name, steps=None, dtype=np.float32, speed=1.0, prefetch=2):
    """Return the model of a run, trained from seed 0 (`speed` scales its rate), and its losses."""
    make, make_optimizer, count = RUNS[name]
    md.manual_seed(0)
    model = make().astype(dtype)
    optimizer = make_optimizer(model.parameters())
    optimizer.lr *= speed
    loader = data.DataLoader(mnist("train"), 128, shuffle=True, prefetch=prefetch)
    return model, [
        step(model, optimizer, images.astype(dtype), labels)
        for images, labels in islice(loader, steps or count)
    ]


def fingerprint(name, prefetch=2):
    """Return a hash of all weights and statistics after a run, of its losses, and of
    predictions.
    """
    model, losses = train(name, prefetch=prefetch)
    digest = hashlib.sha256(np.array(losses).tobytes())
    for key, value in model.state_dict().items():
        digest.update(key.encode() + value.tobytes())
    digest.update(model.predict(mnist("test").images[:300]).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", RUNS)
def test_the_same_bits_on_any_number_of_threads_and_in_every_run(name):
    found = {}
    for n in (1, 2, 3, 4):
        with threads(n):
            found[n] = fingerprint(name, prefetch=n % 3)
    with threads(2):
        found["again"] = fingerprint(name)
    assert len(set(found.values())) == 1, found


def test_the_same_bits_in_another_process():
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "3",
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, __file__], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [fingerprint(name) for name in RUNS]


def test_another_seed_gives_other_bits():
    model, _ = train("mlp-bn", 3)
    md.manual_seed(1)
    assert not np.array_equal(models.MLP().fc1.weight.data, model.fc1.weight.data)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_backends_train_alike(name, dtype, tolerance):
    """The learning rate is a tenth. Of a million maxima and ReLUs, a few are so close to a tie that
    rounding decides them, and a large step would amplify that.
    """
    model, native = train(name, 5, dtype, speed=0.1)
    with md.use_backend("numpy"):
        other, reference = train(name, 5, dtype, speed=0.1)
    np.testing.assert_allclose(native, reference, rtol=tolerance)
    assert len(set(native)) == 5
    if dtype == np.float64:
        for key, value in model.state_dict().items():
            largest = np.abs(other.state_dict()[key]).max()
            np.testing.assert_allclose(
                value, other.state_dict()[key], atol=1e-8 * largest, err_msg=key
            )


def test_two_hundred_steps_reach_97_percent():
    model, losses = train("mnist-cnn", 200)
    test = mnist("test")
    scores = model.predict(test.images[:2000])
    assert md.accuracy(scores, test.labels[:2000]) >= 0.97
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < 0.25 < 2 < losses[0] < 4
    assert all(
        int(value) == 200
        for key, value in model.state_dict().items()
        if key.endswith("num_batches")
    )


def test_the_network_of_the_readme_learns():
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Dense(784, 256)
            self.bn1 = nn.BatchNorm(256)
            self.fc2 = nn.Dense(256, 10)

        def forward(self, x):
            return self.fc2(md.relu(self.bn1(self.fc1(x))))

    md.manual_seed(0)
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = data.DataLoader(mnist("train"), batch_size=128, shuffle=True)
    for images, labels in islice(loader, 100):
        loss = md.cross_entropy(model(images.reshape(len(images), -1)), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()
    test = mnist("test")
    rows = test.images[:2000].reshape(2000, -1)
    assert (model.predict(rows).argmax(1) == test.labels[:2000]).mean() > 0.9


def test_a_training_resumed_from_a_file_gives_the_bits_of_one_never_stopped(tmp_path):
    def start():
        md.manual_seed(0)
        model = models.MLP()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return model, optimizer, data.DataLoader(mnist("test"), 100, shuffle=True, seed=5)

    model, optimizer, loader = start()
    for k, batch in enumerate(islice(loader, 8)):
        step(model, optimizer, *batch)
        if k == 3:
            md.save(
                tmp_path / "state",
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "loader": loader.state_dict(),
                },
            )
    other, optimizer, loader = start()
    state = md.load(tmp_path / "state")
    other.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    loader.load_state_dict(state["loader"])
    for batch in islice(loader, 4):
        step(other, optimizer, *batch)
    for (key, value), expected in zip(
        other.state_dict().items(), model.state_dict().values(), strict=True
    ):
        assert value.tobytes() == expected.tobytes(), key


if __name__ == "__main__":
    assert md.get_num_threads() == 3
    print(*(fingerprint(name) for name in RUNS), sep="\n")
