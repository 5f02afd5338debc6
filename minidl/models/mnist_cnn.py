"""The benchmark `mnist-cnn`: two convolutions and a dense layer, each with BatchNorm."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class MnistCNN(Network):
    """Maps images (N, *input_shape), 28 x 28 x 1 in MNIST, to logits (N, classes); 422,000
    parameters.

    The layers are 3x3 convolutions to 32 and 64 channels, each followed by 2x2 max-pooling, and
    dense layers of 128 and `classes` units.

    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`)

    ValueError for images below 4 x 4.

    >>> from minidl import models
    >>> models.MnistCNN().predict(np.zeros((8, 28, 28, 1), np.uint8)).shape
    (8, 10)
    >>> models.MnistCNN(norm="group", norm_position="after").bn2
    GroupNorm(8, 64, eps=1e-05)
    """

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        input_shape: tuple[int, ...] = (28, 28, 1),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms("MnistCNN", norm, norm_position)
        height, width, channels = self.input_shape
        self.conv1, self.bn1 = norms.normalized(nn.Conv, channels, 32, 3, padding=1)
        self.conv2, self.bn2 = norms.normalized(nn.Conv, 32, 64, 3, padding=1)
        pixels = (height // 4) * (width // 4)
        self.fc1, self.bn3 = norms.normalized(nn.Dense, pixels * 64, 128)
        self.fc2 = nn.Dense(128, classes)

    def forward(self, x: Any) -> Tensor:
        where = self.norm_position
        x = ops.max_pool(norm_relu(self.bn1, self.conv1(x), where), 2)
        x = ops.max_pool(norm_relu(self.bn2, self.conv2(x), where), 2)
        x = norm_relu(self.bn3, self.fc1(ops.flatten(x, 1)), where)
        return self.fc2(x)
