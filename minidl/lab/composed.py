"""Batch normalization composed from plain operations, for what `nn.BatchNorm` does not do: a batch
of a single value a channel, many small batches at once, statistics that are constants to the
gradient."""

from __future__ import annotations

from collections.abc import Collection

import minidl as md
from minidl import nn


class Composed(nn.Layer):
    """gamma (x - mean) / sqrt(var + eps) + beta of x (N, ..., features), with the batch's own
    statistics in every mode.

    Every `group` examples are a batch of their own; None: all of them together. What `stopped`
    names, "mean" and "std", is a constant to the gradient. The state is that of a `BatchNorm`
    without running statistics.
    """

    def __init__(self, features: int, group: int | None = None, stopped: Collection[str] = (),
                 affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.features, self.group, self.stopped, self.eps = features, group, stopped, eps
        self.gamma = nn.Parameter(nn.init.constant((features,), 1.0)) if affine else None
        self.beta = nn.Parameter(nn.init.constant((features,), 0.0)) if affine else None

    def forward(self, x: md.Tensor) -> md.Tensor:
        if self.group and x.shape[0] % self.group:
            raise ValueError(f"Composed: x must have a multiple of {self.group} examples, got "
                             f"{x.shape[0]}")
        batches = x.shape[0] // (self.group or x.shape[0])
        parts = x.reshape(batches, -1, self.features)
        mean = md.mean(parts, axis=1, keepdims=True)
        std = md.sqrt(md.var(parts, axis=1, keepdims=True) + self.eps)
        if "mean" in self.stopped:
            mean = mean.detach()
        if "std" in self.stopped:
            std = std.detach()
        y = ((parts - mean) / std).reshape(*x.shape)
        return y if self.gamma is None else self.gamma * y + self.beta
