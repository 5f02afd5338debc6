"""Models by name, and their files: `from minidl import models`.

`create(name, classes=..., input_shape=..., ...)` creates a model, `save` writes a trained one with
its classes and the preprocessing of its images into one safetensors file, and `load(path)` reads
it, ready to use: `load(path).predict(pictures)`. The models' classes are here too; your own class
can be saved if it has a method `config()` (see `save`).

Each model takes `norm`, the kind of normalization, and `norm_position`, whether it comes before or
after the activation. The values of `norm`:

"batch", the default, is `nn.BatchNorm`, and "none" is no normalization. "layer" is `nn.LayerNorm`
over the channels of each position; the layer normalization of Wu & He (2018), over channels and
positions of an image, is `norm=lambda features: nn.GroupNorm(1, features)`. "group" is
`nn.GroupNorm` with the largest number of groups, up to 8, that divides the features and leaves at
least two in each group. "instance" is `nn.InstanceNorm` with gamma and beta; dense layers have no
normalization then, since their outputs have no positions. A function gets the number of features
and returns the normalization layer.

"before", the default of `norm_position`, is relu(norm(x)), as in Ioffe & Szegedy (2015), and
"after" is norm(relu(x)). With a residual connection they are relu(norm(x) + shortcut) and
norm(relu(x + shortcut)). The preceding layer has a bias only if no normalization follows it
directly.

Every model raises a ValueError for an unknown name, and a TypeError for a `norm` that is neither a
name nor a function that returns layers.
"""

from typing import TYPE_CHECKING

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

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from .. import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.MODELS)

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
