"""The wide residual network WRN-16-4 (Zagoruyko & Komodakis 2016)."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms, norm_relu


class PreActivationBlock(nn.Layer):
    """Computes conv2(relu(bn2(conv1(a)))) + shortcut with a = relu(bn1(x)), or with the norm
    position "after" conv2(bn2(relu(conv1(a)))) + shortcut with a = bn1(relu(x)).

    The shortcut is x, or a 1x1 convolution of a if the shape changes.
    """

    def __init__(
        self, bn1: nn.Layer, in_channels: int, out_channels: int, stride: int, norms: Norms
    ) -> None:
        super().__init__()
        self.norm_position = norms.position
        self.bn1 = bn1
        self.conv1, self.bn2 = norms.normalized(
            nn.Conv, in_channels, out_channels, 3, stride, padding=1
        )
        self.conv2 = nn.Conv(
            out_channels, out_channels, 3, padding=1, bias=norms.needs_bias(self.bn2)
        )
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Any) -> Tensor:
        a = norm_relu(self.bn1, x, self.norm_position)
        shortcut = x if self.shortcut is None else self.shortcut(a)
        return self.conv2(norm_relu(self.bn2, self.conv1(a), self.norm_position)) + shortcut


class WRN16x4(Network):
    """Maps images (N, H, W, C), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 2.7 million
    parameters.

    WRN-16-4 of "Wide residual networks" (Zagoruyko & Komodakis 2016) has three stages of two blocks
    with 64, 128 and 256 channels, four times those of a ResNet with 16 layers. Normalization and
    ReLU come before each convolution of the blocks, and once more before the mean over all
    positions.

    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`)
    input_shape: the shape of the images that the model is meant for; it takes images of any size

    ValueError for an `input_shape` below 4 x 4.

    >>> from minidl import models
    >>> models.WRN16x4(classes=100)(md.zeros((1, 32, 32, 3))).shape
    (1, 100)
    """

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        input_shape: tuple[int, ...] = (32, 32, 3),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms("WRN16x4", norm, norm_position)
        self.conv, bn = norms.normalized(nn.Conv, self.input_shape[2], 16, 3, padding=1)
        blocks = []
        channels = 16
        for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
            blocks.append(PreActivationBlock(bn, channels, out, stride, norms))
            channels = out
            bn = norms.layer(channels)
        self.blocks = nn.Sequential(*blocks)
        self.bn = bn
        self.fc = nn.Dense(channels, classes)

    def forward(self, x: Any) -> Tensor:
        x = norm_relu(self.bn, self.blocks(self.conv(x)), self.norm_position)
        return self.fc(ops.global_avg_pool(x))
