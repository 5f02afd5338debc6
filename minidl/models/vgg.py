"""`VGG8`, the benchmark `vgg8-bn`, and `VGG16`: plain stacks of 3x3 convolutions (Simonyan &
Zisserman 2014)."""

from __future__ import annotations

from typing import Any

from .. import checks, nn
from ..tensor import Tensor
from .network import Network
from .norms import Norm, Norms


class VGG(Network):
    """The base of the VGG models: stages of 3x3 convolutions, each with normalization and ReLU, a
    2x2 max-pooling after every stage, and one dense layer."""

    stages: tuple[tuple[int, int], ...]  # (channels / width, number of convolutions) of each stage

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
    """Maps images (N, *input_shape), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 1.2 million
    parameters.

    It has convolutions to 64, 64, 128, 128, 256 and 256 channels, each with BatchNorm and ReLU, a
    2x2 max-pooling after every second one, and one dense layer, in the manner of Simonyan &
    Zisserman (2014).

    norm, norm_position: the normalization, and whether it comes before or after the ReLU (see
        `minidl.models`)
    width: the channels of the first convolutions; the others have multiples of it

    ValueError for images below 8 x 8.

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
    """Maps images (N, *input_shape), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 14.7 million
    parameters.

    It has the 13 convolutions, with 64 to 512 channels, of configuration D in "Very deep
    convolutional networks for large-scale image recognition" (Simonyan & Zisserman 2014), each
    with ReLU and with BatchNorm, which the paper does not have. The five max-poolings reduce
    CIFAR-10's images to one pixel, so one dense layer replaces the paper's three.

    norm, norm_position: the normalization ("none" as in the paper), and whether it comes before or
        after the ReLU (see `minidl.models`)
    width: the channels of the first convolutions; the others have multiples of it

    ValueError for images below 32 x 32.

    >>> from minidl import models
    >>> print(models.VGG16(classes=100).summary().splitlines()[-1])
    14,770,212 parameters, 14,770,212 of them trained
    """

    smallest = 32
    stages = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
