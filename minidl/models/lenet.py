"""LeNet-5, a convolutional network for digits (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class LeNet(Network):
    """Maps images (N, *input_shape), 28 x 28 x 1 in MNIST, to logits (N, classes); 62,000
    parameters.

    The sizes are those of LeNet-5 in "Gradient-based learning applied to document recognition"
    (LeCun et al. 1998): 5x5 convolutions to 6 and 16 channels, and dense layers of 120, 84 and
    `classes` units. BatchNorm, ReLU and 2x2 max-pooling replace tanh and average pooling. The first
    convolution has padding 2, where the paper pads the images to 32 x 32.

    norm, norm_position: the normalization ("none" as in the paper), and whether it comes before or
        after the ReLU (see `minidl.models`)

    ValueError for images below 12 x 12.

    >>> from minidl import models
    >>> models.LeNet(classes=26)(md.zeros((8, 28, 28, 1))).shape
    (8, 26)
    """

    smallest = 12

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        input_shape: tuple[int, ...] = (28, 28, 1),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms("LeNet", norm, norm_position)
        height, width, channels = self.input_shape
        self.conv1, self.bn1 = norms.normalized(nn.Conv, channels, 6, 5, padding=2)
        self.conv2, self.bn2 = norms.normalized(nn.Conv, 6, 16, 5)
        pixels = ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
        self.fc1, self.bn3 = norms.normalized(nn.Dense, pixels * 16, 120)
        self.fc2, self.bn4 = norms.normalized(nn.Dense, 120, 84)
        self.fc3 = nn.Dense(84, classes)

    def forward(self, x: Any) -> Tensor:
        where = self.norm_position
        x = ops.max_pool(norm_relu(self.bn1, self.conv1(x), where), 2)
        x = ops.max_pool(norm_relu(self.bn2, self.conv2(x), where), 2)
        x = norm_relu(self.bn3, self.fc1(ops.flatten(x, 1)), where)
        return self.fc3(norm_relu(self.bn4, self.fc2(x), where))
