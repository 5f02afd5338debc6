"""Models by name, and their files: `from minidl import models`.

`create(name, classes=..., input_shape=..., ...)` makes a model, `save` writes a trained one with
its classes and the preprocessing of its images into one safetensors file, and `load(path)` gives
it back ready to use: `load(path).predict(pictures)`. The classes stand here too; a class of one's
own goes into a file if it has a method `config()` (see `save`).

Each model takes `norm`, what it normalizes with, and `norm_position`, on which side of the
nonlinearity. The values of `norm`:

"batch", the default, is `nn.BatchNorm`, and "none" is no normalization. "layer" is `nn.LayerNorm`,
over the channels of each position; Wu & He's (2018) layer normalization of images, over the
positions too, is `norm=lambda features: nn.GroupNorm(1, features)`. "group" is `nn.GroupNorm` of 8
groups, or of as many up to 8 as divide the features and leave two in each. "instance" is
`nn.InstanceNorm` with gamma and beta; dense layers, whose outputs have no positions, go without
normalization then. A function gets the number of features of each place and makes the layer for it.

"before", the default of `norm_position`, is relu(norm(x)), as Ioffe & Szegedy (2015) have it, and
"after" is norm(relu(x)). Where a shortcut joins they are relu(norm(x) + shortcut) and
norm(relu(x + shortcut)). The layer before has a bias only where no normalization follows it
directly.

Every model refuses other names with a ValueError, and what is neither a name nor a function that
makes layers with a TypeError.
"""

from .cifar_fast import CifarFast
from .file import load, save
from .lenet import LeNet
from .mlp import MLP
from .mnist_cnn import MnistCNN
from .mobile import Mobile
from .registry import create, names
from .resnet import ResNet20, ResNet32, ResNet56
from .saved import Saved
from .vgg import VGG8, VGG16
from .wide_resnet import WRN16x4

__all__ = [
    "MLP",
    "VGG8",
    "VGG16",
    "CifarFast",
    "LeNet",
    "MnistCNN",
    "Mobile",
    "ResNet20",
    "ResNet32",
    "ResNet56",
    "Saved",
    "WRN16x4",
    "create",
    "load",
    "names",
    "save",
]
