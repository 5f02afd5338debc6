"""`cifar-fast`: the network of the fastest known training on CIFAR-10 (Jordan 2024, airbench)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .. import checks, nn, ops
from ..changes import writes
from ..tensor import Tensor
from ..tracing import model_input
from .network import Network
from .norms import Norm, Norms

ACTIVATIONS = {"gelu": ops.gelu, "silu": ops.silu, "relu": ops.relu}
CHUNK = 256  # images whose patches are summed at a time


class FastGroup(nn.Layer):
    """Computes act(bn2(conv2(act(bn1(max_pool(conv1(x))))))), or with the norm position "after"
    bn(act(...)) in place of act(bn(...)). Only conv1 changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int, activation: str, norms: Norms) -> None:
        super().__init__()
        self.norm_position, self.activation = norms.position, activation
        self.conv1, self.bn1 = norms.normalized(nn.Conv, in_channels, out_channels, 3, padding=1)
        self.conv2, self.bn2 = norms.normalized(nn.Conv, out_channels, out_channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            conv.weight.data = dirac_start(conv.weight.shape)

    def forward(self, x: Any) -> Tensor:
        x = self._activated(self.bn1, ops.max_pool(self.conv1(x), 2))
        return self._activated(self.bn2, self.conv2(x))

    def _activated(self, norm: nn.Layer, x: Tensor) -> Tensor:
        f = ACTIVATIONS[self.activation]
        return f(norm(x)) if self.norm_position == "before" else norm(f(x))


class CifarFast(Network):
    """Maps images (N, H, W, C), 32 x 32 x 3 in CIFAR-10, to logits (N, classes); 2 million
    parameters.

    The network of Jordan's "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024, with the
    changes of airbench94_muon): a 2x2 convolution with fixed filters that whiten the patches, and
    GELU; three groups of a 3x3 convolution, 2x2 max-pooling, BatchNorm, GELU and another 3x3
    convolution, BatchNorm and GELU; the maximum over all positions, and a dense layer without bias,
    whose outputs are multiplied by `logit_scale` (None: 1 / widths[-1]), for a loss that is summed
    over large batches.

    Convolutions have Dirac initialization: filter i copies channel i, for as many filters as there
    are channels. The gamma of BatchNorm is fixed at 1, its running statistics are updated to
    0.6 old + 0.4 new, and eps is 1e-12. The dense layer is initialized with standard deviation 1.
    `whiten(images)` sets the filters of the first layer and is called before training; until then
    they are random.

    views: whether logits are averaged over six views of an image in evaluation mode, as in the
           original: the image and its mirror image together have half the weight, and both shifted
           by one pixel along the diagonal in both directions, with reflected borders, the other
           half
    widths: the channels of the three groups
    activation: "gelu", "silu" or "relu"
    norm, norm_position: the normalization, and whether it comes before or after the activation (see
           `minidl.models`)
    input_shape: the shape of the images that the model is meant for; it takes images of any size

    ValueError for an `input_shape` below 9 x 9, another activation, or widths that are not three.

    >>> from minidl import models
    >>> model = models.CifarFast()
    >>> images = np.random.default_rng(0).random((64, 32, 32, 3), np.float32)
    >>> model.whiten(images)
    >>> model(images).shape
    (64, 10)
    """

    smallest = 9

    def __init__(
        self,
        classes: int = 10,
        norm: Norm = "batch",
        norm_position: str = "before",
        widths: tuple[int, ...] = (64, 256, 256),
        activation: str = "gelu",
        logit_scale: float | None = None,
        views: bool = False,
        input_shape: tuple[int, ...] = (32, 32, 3),
    ) -> None:
        super().__init__(classes, input_shape, norm, norm_position)
        norms = Norms("CifarFast", fixed_scale if norm == "batch" else norm, norm_position)
        self.widths = checks.ints(widths, "CifarFast", "widths")
        if len(self.widths) != 3 or min(self.widths) < 1:
            raise ValueError(checks.message("CifarFast", "widths", "three sizes", widths))
        self.activation = checks.choice(activation, "CifarFast", "activation", tuple(ACTIVATIONS))
        self.logit_scale = (
            1 / self.widths[-1]
            if logit_scale is None
            else checks.positive(logit_scale, "CifarFast", "logit_scale")
        )
        self.views = checks.flag(views, "CifarFast", "views")
        channels = self.input_shape[2]
        filters = 2 * 4 * channels  # each eigenvector of the 2x2 patches with both signs
        self.whitening = nn.Conv(channels, filters, 2)
        self.whitening.weight.requires_grad = False
        self.groups = nn.Sequential(
            *(
                FastGroup(*sizes, self.activation, norms)
                for sizes in pairwise((filters, *self.widths))
            )
        )
        self.fc = nn.Dense(self.widths[-1], self.classes, bias=False)
        self.fc.weight.data /= self.fc.weight.data.std()

    def config(self) -> dict[str, Any]:
        return {
            **super().config(),
            "widths": self.widths,
            "activation": self.activation,
            "logit_scale": self.logit_scale,
            "views": self.views,
        }

    def forward(self, x: Any) -> Tensor:
        if not self.views or self.training:
            return self.logits(x)
        height, width = x.shape[1:3]
        padded = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        shifted = [padded[:, i : i + height, i : i + width] for i in (0, 2)]
        return 0.5 * self.mirrored(x) + 0.25 * (
            self.mirrored(shifted[0]) + self.mirrored(shifted[1])
        )

    def mirrored(self, x: Tensor) -> Tensor:
        """Return the mean of the logits of images and of their mirror images."""
        return 0.5 * (self.logits(x) + self.logits(ops.flip(x, 2)))

    def logits(self, x: Any) -> Tensor:
        """Return the logits of images as they are, without other views."""
        x = self.groups(ACTIVATIONS[self.activation](self.whitening(x)))
        x = ops.flatten(ops.max_pool(x, x.shape[1:3]), 1)
        return self.fc(x) * self.logit_scale

    def whiten(self, images: Any, eps: float = 5e-4) -> None:
        """Set the first layer's filters to those that whiten the 2x2 patches of images.

        images: (N, H, W, C), normalized like the model's inputs; uint8 is divided by 255. 5,000
                images of the training set are enough

        Filter k is the eigenvector with the k-th largest eigenvalue λ of the second moment of the
        patches, which are vectors of 4 C values, divided by sqrt(λ + eps). The second half of the
        filters are the negatives of the first half. ValueError for other shapes, no image, or
        values that are not finite.
        """
        eps = checks.positive(eps, "whiten", "eps")
        channels = self.whitening.in_channels
        x = model_input(images, np.dtype(np.float32)).data
        if x.ndim != 4 or x.shape[3] != channels or min(x.shape[:3]) < 1 or min(x.shape[1:3]) < 2:
            raise ValueError(
                f"whiten: images must be (N, H, W, {channels}), of at least 2 x 2 "
                f"pixels, got {x.shape}"
            )
        moment = second_moment(x)
        if not np.isfinite(moment).all():
            raise ValueError("whiten: images must be finite, got infinity or NaN")
        values, vectors = np.linalg.eigh(moment)
        vectors = vectors / np.sqrt(np.maximum(values, 0) + eps)
        vectors = vectors[:, ::-1]
        # The sign of an eigenvector is arbitrary. Making the largest entry positive gives the same
        # filters on all machines.
        largest = np.abs(vectors).argmax(axis=0)
        vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
        weight = self.whitening.weight
        writes("whiten", [weight])
        weight.data[...] = np.concatenate([vectors, -vectors], 1).reshape(weight.shape)


def second_moment(images: np.ndarray) -> np.ndarray:
    """Return the mean of v vᵀ over all 2x2 patches v of images, (4 C, 4 C) float64. The values of v
    are in the order of a filter's weights: row, column, channel."""
    n, height, width, channels = images.shape
    moment = np.zeros((4 * channels, 4 * channels))
    for start in range(0, n, CHUNK):
        part = images[start : start + CHUNK].astype(np.float64)
        corners = [part[:, i : height - 1 + i, j : width - 1 + j] for i in (0, 1) for j in (0, 1)]
        patches = np.concatenate(corners, axis=3).reshape(-1, 4 * channels)
        moment += patches.T @ patches
    return moment / (n * (height - 1) * (width - 1))


def fixed_scale(features: int) -> nn.BatchNorm:
    """Create the BatchNorm of this network, whose gamma is fixed at 1."""
    norm = nn.BatchNorm(features, eps=1e-12, momentum=0.4)
    assert norm.gamma is not None
    norm.gamma.requires_grad = False
    return norm


def dirac_start(shape: tuple[int, ...]) -> np.ndarray:
    """Return weights (3, 3, in, out) with Dirac initialization: filter i copies channel i, for
    i < in. Further filters are uniform with variance 1 / (3 fan-in), PyTorch's default."""
    kernel_height, kernel_width, inside, out = shape
    weight = nn.init.uniform(shape, 1 / math.sqrt(kernel_height * kernel_width * inside))
    same = min(inside, out)
    weight[..., :same] = 0
    weight[kernel_height // 2, kernel_width // 2, range(same), range(same)] = 1
    return weight
