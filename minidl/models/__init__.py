"""The networks of the examples and benchmarks: `from minidl import models`."""

from .mlp import MLP
from .mnist_cnn import MnistCNN
from .mobile import Mobile
from .resnet import ResNet20
from .vgg import VGG8

__all__ = ["MLP", "VGG8", "MnistCNN", "Mobile", "ResNet20"]
