"""The activations other than ReLU that end a pass of another operation, with options of their own.

Their options are no defaults, so that a pass that forgets them is found.
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
