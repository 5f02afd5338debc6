"""The activations other than ReLU: their names, as the table of kernels has them, and the options
that the fuzzers give to their kernels."""

from minidl.kernels import FAMILIES

# Each has a gradient of its own in this family.
ACTIVATIONS = tuple(
    name.removesuffix("_backward")
    for name in FAMILIES["elementwise.activation"]
    if name.endswith("_backward")
)
# The values of each option, by the kernel and in the order of its arguments; others have none.
OPTIONS: dict[str, dict[str, tuple[float, ...]]] = {
    "leaky_relu": {"slope": (0.01, 0.0, -2.0)},
    "elu": {"alpha": (1.0, 0.3)},
    "softplus": {"beta": (1.0, 0.5, 3.0), "threshold": (20.0, 5.0)},
    "gelu": {"tanh": (False, True)},
}
