"""Batch normalization composed from elementary operations.

The experiments need variants that `nn.BatchNorm` does not offer: statistics of a single value in
each channel, many small batches in one array, statistics through which no gradient flows, and
divisors other than the standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import minidl as md
from minidl import nn

EPS = 1e-5  # the default of nn.BatchNorm
Divisor = Callable[[md.Tensor], md.Tensor]


def deviation(var: md.Tensor) -> md.Tensor:
    """Return sqrt(var + eps), the divisor of batch normalization."""
    return md.sqrt(var + EPS)


class Composed(nn.Layer):
    """Compute gamma (x - mean) / divisor(var) + beta for x of shape (N, ..., features).

    It uses the statistics of the batch in training and in evaluation mode, and keeps no running
    statistics; otherwise its state is that of a `BatchNorm`.

    group:   how many consecutive examples have statistics of their own; None: the whole batch
    stopped: the statistics, "mean" and "std", that backward treats as constants
    affine:  whether there are a gamma and a beta
    divisor: a function of the variance, in place of the standard deviation. E02 needs one with a
             negative eps, which BatchNorm refuses
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
