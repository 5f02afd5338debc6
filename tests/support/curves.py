"""This module lists the activations other than ReLU of the table of kernels, with their options,
and those that can be the epilogue of another operation.
"""

import minidl as md
from fuzz.kernel_curves import ACTIVATIONS
from minidl.kernels import FAMILIES

KERNELS = FAMILIES["elementwise.activation"]
# The options that kernels are tested with, in the order of their arguments; others have none.
OPTIONS = {
    "leaky_relu": ({"slope": 0.01}, {"slope": -2.0}),
    "elu": ({"alpha": 1.0}, {"alpha": 0.3}),
    "softplus": ({"beta": 1.0, "threshold": 20.0}, {"beta": 3.0, "threshold": 1.0}),
    "gelu": ({"tanh": False}, {"tanh": True}),
}
# What users call. The options differ from the defaults, so that an epilogue which ignores them is
# found.
CURVES = {
    **{name: lambda x, name=name: getattr(md, name)(x) for name in ACTIVATIONS},
    "gelu by tanh": lambda x: md.gelu(x, approximate="tanh"),
    "leaky_relu": lambda x: md.leaky_relu(x, 0.25),
    "elu": lambda x: md.elu(x, 0.75),
    "softplus": lambda x: md.softplus(x, 2.0, 5.0),
}


def options_of(kernel):
    """The options of a kernel, forward or backward: a dict for each choice of them."""
    return OPTIONS.get(kernel.removesuffix("_backward"), ({},))
