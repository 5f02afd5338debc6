"""This module lists the activations other than ReLU that can be the epilogue of another operation,
with options of their own.

The options differ from the defaults, so that an epilogue which ignores them is found.
"""

import minidl as md

CURVES = {
    "tanh": md.tanh,
    "sigmoid": md.sigmoid,
    "silu": md.silu,
    "gelu": md.gelu,
    "gelu by tanh": lambda x: md.gelu(x, approximate="tanh"),
    "leaky_relu": lambda x: md.leaky_relu(x, 0.25),
    "elu": lambda x: md.elu(x, 0.75),
    "softplus": lambda x: md.softplus(x, 2.0, 5.0),
}
