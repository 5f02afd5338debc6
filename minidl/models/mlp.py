"""The benchmark `mlp-bn`: 784-256-BatchNorm-ReLU-10."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor


class MLP(nn.Layer):
    """Two dense layers with BatchNorm and ReLU between them, to logits (N, classes); takes images
    or flat rows of `in_features` values.

    >>> from minidl import models
    >>> models.MLP()(md.zeros((8, 28, 28, 1))).shape
    (8, 10)
    """

    def __init__(self, in_features: int = 784, hidden: int = 256, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Dense(in_features, hidden, bias=False)
        self.bn1 = nn.BatchNorm(hidden)
        self.fc2 = nn.Dense(hidden, classes)

    def forward(self, x: Any) -> Tensor:
        return self.fc2(ops.relu(self.bn1(self.fc1(ops.flatten(x, 1)))))
