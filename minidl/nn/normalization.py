"""Normalization, the base class by which layers that normalize activations are recognized."""

from __future__ import annotations

from .layer import Layer


class Normalization(Layer):
    """The base of layers that normalize their input, minidl's own and yours.

    It computes nothing. It declares that a layer's output does not depend on the scale of its
    input. For such layers `lab.Probe` and `train.LayerStatistics` show the input too, and
    `lab.Probe` shows the effective learning rate of the weights before.

    >>> class MaxNorm(nn.Normalization):
    ...     def forward(self, x):
    ...         return x / md.max(md.abs(x), axis=-1, keepdims=True)
    >>> MaxNorm()(md.tensor([[1., -4.]]))
    tensor([[ 0.25, -1.  ]])
    """
