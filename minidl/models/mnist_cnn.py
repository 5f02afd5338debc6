"""The benchmark `mnist-cnn`: two convolutions and a dense layer, each with BatchNorm."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor


class MnistCNN(nn.Layer):
    """Images (N, 28, 28, 1) to logits (N, classes); 422,000 parameters.

    >>> from minidl import models
    >>> models.MnistCNN().predict(np.zeros((8, 28, 28, 1), np.uint8)).shape
    (8, 10)
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm(32)
        self.conv2 = nn.Conv(32, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm(64)
        self.fc1 = nn.Dense(7 * 7 * 64, 128, bias=False)
        self.bn3 = nn.BatchNorm(128)
        self.fc2 = nn.Dense(128, classes)

    def forward(self, x: Any) -> Tensor:
        x = ops.max_pool(ops.relu(self.bn1(self.conv1(x))), 2)
        x = ops.max_pool(ops.relu(self.bn2(self.conv2(x))), 2)
        x = ops.relu(self.bn3(self.fc1(ops.flatten(x, 1))))
        return self.fc2(x)
