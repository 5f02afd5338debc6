"""The networks of the examples and benchmarks."""

from .mlp import MLP
from .mnist_cnn import MnistCNN

__all__ = ["MLP", "MnistCNN"]
