"""The benchmark `mobile`: depthwise-separable blocks in the manner of Howard et al. (2017)."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor


class SeparableBlock(nn.Layer):
    """A depthwise 3x3 convolution and a 1x1 convolution, each with BatchNorm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv(in_channels, in_channels, 3, stride, padding=1,
                                 groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm(in_channels)
        self.pointwise = nn.Conv(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm(out_channels)

    def forward(self, x: Any) -> Tensor:
        x = ops.relu(self.bn1(self.depthwise(x)))
        return ops.relu(self.bn2(self.pointwise(x)))


class Mobile(nn.Layer):
    """Images (N, H, W, 3), 32 x 32 in CIFAR-10, to logits (N, classes); 140,000 parameters.

    >>> from minidl import models
    >>> models.Mobile()(md.zeros((2, 32, 32, 3))).shape
    (2, 10)
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv(3, 32, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm(32)
        blocks = ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nn.Sequential(*(SeparableBlock(*sizes) for sizes in blocks))
        self.fc = nn.Dense(256, classes)

    def forward(self, x: Any) -> Tensor:
        x = self.blocks(ops.relu(self.bn(self.conv(x))))
        return self.fc(ops.global_avg_pool(x))
