"""These tests compare whole trainings with PyTorch's: the same weights and batches of MNIST, over
20 steps.
"""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn as tn
from torch.nn import functional as tf

import minidl as md
from minidl import data, models, optim
from tests.support.parity import (
    assert_close,
    assert_same_state,
    both_floats,
    channels_first,
    copy_state,
    torch_type,
)

STEPS = 20


class TorchCNN(tn.Module):
    """mnist-cnn with PyTorch's layers. Before the dense layer, rows are flattened in our order.

    Images have their channels first in memory, too. Otherwise PyTorch's convolution takes an image
    with one channel for channels-last, and its BatchNorm of those is off by 2e-4 in float32.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = tn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = tn.BatchNorm2d(32)
        self.conv2 = tn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = tn.BatchNorm2d(64)
        self.fc1 = tn.Linear(7 * 7 * 64, 128, bias=False)
        self.bn3 = tn.BatchNorm1d(128)
        self.fc2 = tn.Linear(128, 10)

    def forward(self, x):
        x = tf.max_pool2d(torch.relu(self.bn1(self.conv1(x).contiguous())), 2)
        x = tf.max_pool2d(torch.relu(self.bn2(self.conv2(x).contiguous())), 2)
        x = x.movedim(1, -1).flatten(1)
        return self.fc2(torch.relu(self.bn3(self.fc1(x))))


class TorchMLP(tn.Module):
    """mlp-bn with PyTorch's layers."""

    def __init__(self):
        super().__init__()
        self.fc1 = tn.Linear(784, 256, bias=False)
        self.bn1 = tn.BatchNorm1d(256)
        self.fc2 = tn.Linear(256, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.bn1(self.fc1(x.flatten(1)))))


SGD = (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})
NESTEROV = (
    optim.SGD,
    torch.optim.SGD,
    {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
)
ADAMW = (optim.AdamW, torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.05})

TRAININGS = {
    "mnist-cnn, SGD": (models.MnistCNN, TorchCNN, SGD),
    "mlp-bn, SGD": (models.MLP, TorchMLP, SGD),
    "mlp-bn, Nesterov": (models.MLP, TorchMLP, NESTEROV),
    "mlp-bn, AdamW": (models.MLP, TorchMLP, ADAMW),
}
# The relative tolerance of the losses, and that of the final weights and statistics, relative to
# the largest value of each array.
LOSSES = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-6}
STATES = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-6}


@pytest.mark.parametrize("name", TRAININGS)
@both_floats
def test_twenty_steps(name, dtype):
    make, make_theirs, (ours, theirs, options) = TRAININGS[name]
    md.manual_seed(2)
    model = make().astype(dtype)
    module = make_theirs().to(torch_type(dtype))
    copy_state(model, module)
    optimizer, other = ours(model.parameters(), **options), theirs(module.parameters(), **options)
    losses, expected = [], []
    loader = data.DataLoader(data.MNIST(split="train"), 128, shuffle=True)
    for images, labels in islice(loader, STEPS):
        x = images.data.astype(dtype)
        loss = md.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        their_loss = tf.cross_entropy(
            module(torch.from_numpy(channels_first(x))), torch.from_numpy(labels)
        )
        other.zero_grad()
        their_loss.backward()
        other.step()
        losses.append(loss.item())
        expected.append(their_loss.item())
    np.testing.assert_allclose(losses, expected, rtol=LOSSES[np.dtype(dtype)])
    assert expected[-1] < 0.5 * expected[0]
    tolerance = STATES[np.dtype(dtype)] / (1e-4 if dtype == np.float32 else 1e-10)
    assert_same_state(model, module, tolerance)
    assert all(
        int(value) == STEPS for key, value in model.named_buffers() if key.endswith("num_batches")
    )
    check_predictions(model, module, dtype, tolerance)


def check_predictions(model, module, dtype, tolerance):
    """Compare predictions in evaluation mode, with the statistics that the training left."""
    test = data.MNIST(split="test").images[:200].astype(dtype) / dtype(255)
    module.eval()
    with torch.no_grad():
        scores = module(torch.from_numpy(channels_first(test))).numpy()
    assert_close(model.predict(test), scores, "predictions", tolerance)
