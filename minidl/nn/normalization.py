"""Normalization: what tells layers that normalize activations from others."""

from __future__ import annotations

from .layer import Layer


class Normalization(Layer):
    """The base of layers that normalize what they are given, here and for layers of one's own.

    It computes nothing: it says of a layer that its output does not depend on the scale of its
    input. `lab.Probe` and `train.LayerStatistics` also show what such a layer is given, and
    `lab.Probe` the effective learning rate of the weights before it.

    >>> class MaxNorm(nn.Normalization):
    ...     def forward(self, x):
    ...         return x / md.max(md.abs(x), axis=-1, keepdims=True)
    >>> MaxNorm()(md.tensor([[1., -4.]]))
    tensor([[ 0.25, -1.  ]])
    """
