"""This module has small problems for the tests of training."""

import hashlib

import numpy as np

import minidl as md
from minidl import data, nn, optim, train


def pairs(count=40, features=6, classes=3, seed=0):
    """Return rows, and as their class the index of the largest of their first features."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, features)).astype(np.float32)
    return data.ArrayDataset(x, x[:, :classes].argmax(axis=1))


def loader(count=40, batch_size=8, seed=3, **options):
    return data.DataLoader(pairs(count), batch_size, shuffle=True, seed=seed, **options)


def network(seed=0, features=6, classes=3, dropout=0.2, norm=True):
    md.manual_seed(seed)
    return nn.Sequential(
        nn.Dense(features, 16),
        *([nn.BatchNorm(16)] if norm else []),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Dense(16, classes),
    )


def trainer(model=None, optimizer=None, **options):
    model = network() if model is None else model
    optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return train.Trainer(model, optimizer, **{"progress": False, **options})


def digest(*states):
    """Return a hash over all arrays of some states, in the order of their names."""
    found = hashlib.sha256()
    for state in states:
        for name in sorted(state):
            found.update(name.encode())
            found.update(np.ascontiguousarray(state[name]).tobytes())
    return found.hexdigest()


def same_bits(a, b):
    """Return whether two models have the same parameters and buffers, bit for bit."""
    return digest(a.state_dict()) == digest(b.state_dict())


class Stop(Exception):
    pass


class StopAt:
    """Ends a training as a kill would, after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self, one):
        self.left -= 1
        if not self.left:
            raise Stop
