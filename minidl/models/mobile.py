"""The benchmark `mobile`: depthwise-separable blocks in the manner of Howard et al. (2017)."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class SeparableBlock(nn.Layer):
    """Computes a depthwise 3x3 convolution and a 1x1 convolution, each with normalization and
    ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norms: Norms) -> None:
        super().__init__()
        self.norm_position = norms.position
        self.depthwise, self.bn1 = norms.normalized(
            nn.Conv, in_channels, in_channels, 3, stride, padding=1, groups=in_channels
        )
        self.pointwise, self.bn2 = norms.normalized(nn.Conv, in_channels, out_channels, 1)

    def forward(self, x: Any) -> Tensor:
        x = norm_relu(self.bn1, self.depthwise(x), self.norm_position)
        return norm_relu(self.bn2, self.pointwise(x), self.norm_position)


class Mobile(Network):
    """Maps images (N, H, W, C), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 140,000
    parameters.

    A 3x3 convolution to 32 channels is followed by five depthwise-separable blocks with up to 256
    channels, the mean over all positions, and a dense layer.

    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`)
    input_shape: the shape of the images that the model is meant for; it takes images of any size

    ValueError for an `input_shape` below 4 x 4.

    >>> from minidl import models
    >>> models.Mobile()(md.zeros((2, 32, 32, 3))).shape
    (2, 10)
    >>> models.Mobile(norm="instance", norm_position="after").bn
    InstanceNorm(32, eps=1e-05, affine=True)
    """

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        input_shape: tuple[int, ...] = (32, 32, 3),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms("Mobile", norm, norm_position)
        self.conv, self.bn = norms.normalized(nn.Conv, self.input_shape[2], 32, 3, padding=1)
        blocks = ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nn.Sequential(*(SeparableBlock(*sizes, norms) for sizes in blocks))
        self.fc = nn.Dense(256, classes)

    def forward(self, x: Any) -> Tensor:
        x = self.blocks(norm_relu(self.bn, self.conv(x), self.norm_position))
        return self.fc(ops.global_avg_pool(x))
