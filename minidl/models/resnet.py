"""The benchmark `resnet20`: the residual network for CIFAR-10 of He et al. (2015), section 4.2."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor


class BasicBlock(nn.Layer):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)).

    The shortcut is x itself, or where the shape changes a 1x1 convolution with BatchNorm.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm(out_channels)
        self.conv2 = nn.Conv(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm(out_channels)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm(out_channels))

    def forward(self, x: Any) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = ops.relu(self.bn1(self.conv1(x)))
        return ops.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet20(nn.Layer):
    """Images (N, H, W, 3), 32 x 32 in CIFAR-10, to logits (N, classes); 272,000 parameters.

    Three stages of three blocks with 16, 32 and 64 channels.

    >>> from minidl import models
    >>> models.ResNet20(classes=100)(md.zeros((2, 32, 32, 3))).shape
    (2, 100)
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm(16)
        blocks = []
        channels = 16
        for stage in range(3):
            for block in range(3):
                out = 16 << stage
                blocks.append(BasicBlock(channels, out, 2 if stage and not block else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Dense(64, classes)

    def forward(self, x: Any) -> Tensor:
        x = self.blocks(ops.relu(self.bn(self.conv(x))))
        return self.fc(ops.global_avg_pool(x))
