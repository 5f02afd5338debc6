"""Batch normalization composed from plain operations, for what `nn.BatchNorm` does not do: a batch
of a single value a channel, many small batches at once, statistics that are constants to the
gradient, other divisors."""

from __future__ import annotations

from collections.abc import Callable, Collection

import minidl as md
from minidl import nn

EPS = 1e-5  # BatchNorm's
Divisor = Callable[[md.Tensor], md.Tensor]


def deviation(var: md.Tensor) -> md.Tensor:
    """sqrt(var + eps)"""
    return md.sqrt(var + EPS)


class Composed(nn.Layer):
    """gamma (x - mean) / divisor(var) + beta of x (N, ..., features), with the batch's own
    statistics in every mode.

    Every `group` examples are a batch of their own; None: all of them together. What `stopped`
    names, "mean" and "std", is a constant to the gradient. `divisor` is what is made of the
    variance: BatchNorm itself refuses a negative eps. The state is that of a `BatchNorm` without
    running statistics.
    """

    def __init__(
        self,
        features: int,
        group: int | None = None,
        stopped: Collection[str] = (),
        affine: bool = True,
        divisor: Divisor = deviation,
    ) -> None:
        super().__init__()
        self.features, self.group, self.stopped, self.divisor = features, group, stopped, divisor
        self.gamma = nn.Parameter(nn.init.constant((features,), 1.0)) if affine else None
        self.beta = nn.Parameter(nn.init.constant((features,), 0.0)) if affine else None

    def forward(self, x: md.Tensor) -> md.Tensor:
        if self.group and x.shape[0] % self.group:
            raise ValueError(
                f"Composed: x must have a multiple of {self.group} examples, got {x.shape[0]}"
            )
        batches = x.shape[0] // (self.group or x.shape[0])
        parts = x.reshape(batches, -1, self.features)
        mean = md.mean(parts, axis=1, keepdims=True)
        std = self.divisor(md.var(parts, axis=1, keepdims=True))
        if "mean" in self.stopped:
            mean = mean.detach()
        if "std" in self.stopped:
            std = std.detach()
        y = ((parts - mean) / std).reshape(*x.shape)
        return y if self.gamma is None else self.gamma * y + self.beta
