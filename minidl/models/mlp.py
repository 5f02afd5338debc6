"""The benchmark `mlp-bn`: 784-256-BatchNorm-ReLU-10."""

from __future__ import annotations

import math
from typing import Any

from .. import checks, nn, ops
from ..ops.common import warn
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class MLP(Network):
    """Maps images (N, *input_shape), or rows of as many values, to logits (N, classes) by two dense
    layers with BatchNorm and ReLU between them.

    input_shape: the shape of an image; `in_features` is a short form of
        `input_shape=(in_features,)`. Without both, it is that of MNIST, (28, 28, 1)
    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`). With "instance" there is no normalization, with a warning: the features
        have no positions to average over

    ValueError for sizes below 1, or an `in_features` that is not the number of values of
    `input_shape`.

    >>> from minidl import models
    >>> models.MLP()(md.zeros((8, 28, 28, 1))).shape
    (8, 10)
    >>> models.MLP(norm="layer", norm_position="after").bn1
    LayerNorm(256, eps=1e-05)
    """

    def __init__(
        self,
        in_features: int | None = None,
        hidden: int = 256,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        hidden = checks.size(hidden, "MLP", "hidden")
        if in_features is not None:
            in_features = checks.size(in_features, "MLP", "in_features")
        if input_shape is None:
            input_shape = (28, 28, 1) if in_features is None else (in_features,)
        super().__init__(classes, input_shape, norm, norm_position)
        values = math.prod(self.input_shape)
        if in_features not in (None, values):
            raise ValueError(
                f"MLP: in_features must be {values}, as many as input_shape "
                f"{self.input_shape} has, or left out, got {in_features}"
            )
        norms = Norms("MLP", norm, norm_position)
        if norm == "instance":
            warn(
                'MLP: nothing is normalized with norm="instance", which averages over the '
                "positions of an image: dense layers have none"
            )
        self.fc1, self.bn1 = norms.normalized(nn.Dense, values, hidden)
        self.fc2 = nn.Dense(hidden, classes)

    def _image_shape(self, given: Any) -> tuple[int, ...]:
        shape = checks.ints(given, "MLP", "input_shape")
        if not shape or min(shape) < 1:
            raise ValueError(checks.message("MLP", "input_shape", "sizes, each at least 1", given))
        return shape

    def config(self) -> dict[str, Any]:
        return {"hidden": self.fc1.out_features, **super().config()}

    def forward(self, x: Any) -> Tensor:
        x = self.fc1(ops.flatten(x, 1))
        return self.fc2(norm_relu(self.bn1, x, self.norm_position))
