"""Batch normalization and another activation than ReLU, as one operation."""

from ..common import Activation, Array, into
from ..elementwise import activation as curves
from ..elementwise import arithmetic as elementwise
from .batch_norm_backward import batch_norm_backward
from .batch_norm_forward import batch_norm_apply


def batch_norm_activation(
    x: Array, factors: Array, activation: Activation, out: Array | None = None, threads: int = 0
) -> Array:
    """y = f(batch_norm_apply(x, factors)); `activation`: (name of a kernel, its options)."""
    name, *options = activation
    kernel = getattr(elementwise if name in ("tanh", "sigmoid") else curves, name)
    return into(out, kernel(batch_norm_apply(x, factors), *options))


def batch_norm_activation_backward(
    dy: Array,
    x: Array,
    factors: Array,
    activation: Activation,
    training: bool = True,
    out: Array | None = None,
    threads: int = 0,
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) of batch_norm_activation."""
    name, *options = activation
    g = getattr(curves, f"{name}_backward")(dy, batch_norm_apply(x, factors), *options)
    dx, dgamma, dbeta, _ = batch_norm_backward(g, x, factors, training)
    return into(out, dx), dgamma, dbeta
