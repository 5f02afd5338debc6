"""The benchmark `mlp-bn`: 784-256-BatchNorm-ReLU-10."""

from __future__ import annotations

from typing import Any

from .. import checks, nn, ops
from ..ops.common import warn
from ..tensor import Tensor
from .norms import Norm, Norms, norm_relu


class MLP(nn.Layer):
    """Two dense layers with BatchNorm and ReLU between them, to logits (N, classes); takes images
    or flat rows of `in_features` values.

    `norm` and `norm_position`: another normalization, and on which side of the ReLU it stands (see
    `minidl.models`). With "instance" nothing is normalized, and a warning says so: the features
    have no positions to average over.

    >>> from minidl import models
    >>> models.MLP()(md.zeros((8, 28, 28, 1))).shape
    (8, 10)
    >>> models.MLP(norm="layer", norm_position="after").bn1
    LayerNorm(256, eps=1e-05)
    """

    def __init__(self, in_features: int = 784, hidden: int = 256, classes: int = 10,
                 norm: Norm = "batch", norm_position: str = "before") -> None:
        super().__init__()
        hidden = checks.size(hidden, "MLP", "hidden")
        norms = Norms("MLP", norm, norm_position)
        if norm == "instance":
            warn('MLP: nothing is normalized with norm="instance", which averages over the '
                 'positions of an image: dense layers have none')
        self.norm_position = norm_position
        self.fc1, self.bn1 = norms.normalized(nn.Dense, in_features, hidden)
        self.fc2 = nn.Dense(hidden, classes)

    def forward(self, x: Any) -> Tensor:
        x = self.fc1(ops.flatten(x, 1))
        return self.fc2(norm_relu(self.bn1, x, self.norm_position))
