"""`VGG8`, the benchmark `vgg8-bn`, and `VGG16`: plain stacks of 3x3 convolutions (Simonyan &
Zisserman 2014)."""

from __future__ import annotations

from typing import Any

from .. import checks, nn
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms


class VGG(Network):
    """Stages of 3x3 convolutions, each with normalization and ReLU, a 2x2 max-pool after every
    stage, and one dense layer."""

    stages: tuple[tuple[int, int], ...]  # channels over `width`, convolutions, of each

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        width: int = 64,
        input_shape: tuple[int, ...] = (32, 32, 3),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms(type(self).__name__, norm, norm_position)
        self.width = checks.size(width, type(self).__name__, "width")
        layers: list[nn.Layer] = []
        rows, columns, channels = self.input_shape
        for times, convolutions in self.stages:
            out = self.width * times
            for _ in range(convolutions):
                conv, normed = norms.normalized(nn.Conv, channels, out, 3, padding=1)
                layers += (
                    [conv, normed, nn.ReLU()]
                    if norm_position == "before"
                    else [conv, nn.ReLU(), normed]
                )
                channels = out
            layers.append(nn.MaxPool(2))
            rows, columns = rows // 2, columns // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.fc = nn.Dense(rows * columns * channels, classes)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "width": self.width}

    def forward(self, x: Any) -> Tensor:
        return self.fc(self.features(x))


class VGG8(VGG):
    """Images (N, *input_shape), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 1.2 million
    parameters.

    Convolutions to 64, 64, 128, 128, 256, 256 channels, each with BatchNorm and ReLU, a 2x2
    max-pool after every second one, and one dense layer, in the manner of Simonyan & Zisserman
    (2014).

    `norm` and `norm_position`: another normalization, and on which side of the ReLU it stands (see
    `minidl.models`). `width`: channels of the first convolutions, of which the others have
    multiples. ValueError for images below 8 x 8.

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

    smallest = 8
    stages = ((1, 2), (2, 2), (4, 2))


class VGG16(VGG):
    """Images (N, *input_shape), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 14.7 million
    parameters.

    The 13 convolutions of "Very deep convolutional networks for large-scale image recognition",
    configuration D (Simonyan & Zisserman 2014), to 64 to 512 channels, each with BatchNorm, which
    the paper did not have yet, and ReLU. The five max-pools leave one pixel of CIFAR-10's images,
    so that one dense layer takes the place of the paper's three.

    `norm` and `norm_position`: another normalization, "none" for the paper's, and on which side of
    the ReLU it stands (see `minidl.models`); `width` is `VGG8`'s. ValueError for images below
    32 x 32.

    >>> from minidl import models
    >>> print(models.VGG16(classes=100).summary().splitlines()[-1])
    14,770,212 parameters, 14,770,212 of them trained
    """

    smallest = 32
    stages = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
