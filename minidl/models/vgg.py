"""The benchmark `vgg8-bn`: six 3x3 convolutions in the manner of Simonyan & Zisserman (2014)."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..tensor import Tensor
from .norms import Norm, Norms


class VGG8(nn.Layer):
    """Images (N, 32, 32, 3) to logits (N, classes); 1.2 million parameters.

    Convolutions to 64, 64, 128, 128, 256, 256 channels, each with BatchNorm and ReLU, a 2x2
    max-pool after every second one, and one dense layer.

    `norm` and `norm_position`: another normalization, and on which side of the ReLU it stands (see
    `minidl.models`).

    >>> from minidl import models
    >>> models.VGG8()(md.zeros((2, 32, 32, 3))).shape
    (2, 10)
    >>> models.VGG8(norm="layer", norm_position="after").features[:3]
    Sequential(
      (0): Conv(3, 64, kernel_size=(3, 3), padding=(1, 1), bias=True)
      (1): ReLU()
      (2): LayerNorm(64, eps=1e-05)
    )
    """

    def __init__(self, classes: int = 10, norm: Norm = "batch",
                 norm_position: str = "before") -> None:
        super().__init__()
        norms = Norms("VGG8", norm, norm_position)
        layers: list[nn.Layer] = []
        channels = 3
        for out in (64, 128, 256):
            for before in (channels, out):
                conv, normed = norms.normalized(nn.Conv, before, out, 3, padding=1)
                layers += ([conv, normed, nn.ReLU()] if norm_position == "before"
                           else [conv, nn.ReLU(), normed])
            layers.append(nn.MaxPool(2))
            channels = out
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.fc = nn.Dense(4 * 4 * 256, classes)

    def forward(self, x: Any) -> Tensor:
        return self.fc(self.features(x))
