"""The benchmark `vgg8-bn`: six 3x3 convolutions in the manner of Simonyan & Zisserman (2014)."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..tensor import Tensor


class VGG8(nn.Layer):
    """Images (N, 32, 32, 3) to logits (N, classes); 1.2 million parameters.

    Convolutions to 64, 64, 128, 128, 256, 256 channels, each with BatchNorm and ReLU, a 2x2
    max-pool after every second one, and one dense layer.

    >>> from minidl import models
    >>> models.VGG8()(md.zeros((2, 32, 32, 3))).shape
    (2, 10)
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Layer] = []
        channels = 3
        for out in (64, 128, 256):
            for before in (channels, out):
                layers += [nn.Conv(before, out, 3, padding=1, bias=False), nn.BatchNorm(out),
                           nn.ReLU()]
            layers.append(nn.MaxPool(2))
            channels = out
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.fc = nn.Dense(4 * 4 * 256, classes)

    def forward(self, x: Any) -> Tensor:
        return self.fc(self.features(x))
