"""The registry of models by name: `create` and `names`."""

from __future__ import annotations

from typing import Any

from .. import checks
from .cifar_fast import CifarFast
from .lenet import LeNet
from .mlp import MLP
from .mnist_cnn import MnistCNN
from .mobile import Mobile
from .network import Network
from .resnet import ResNet20, ResNet32, ResNet56
from .vgg import VGG8, VGG16
from .wide_resnet import WRN16x4

MODELS: dict[str, type[Network]] = {
    "mlp": MLP,
    "mnist-cnn": MnistCNN,
    "lenet": LeNet,
    "resnet20": ResNet20,
    "resnet32": ResNet32,
    "resnet56": ResNet56,
    "vgg8": VGG8,
    "vgg16": VGG16,
    "mobile": Mobile,
    "wrn-16-4": WRN16x4,
    "cifar-fast": CifarFast,
}


def names() -> list[str]:
    """Return the names that `create` knows.

    >>> from minidl import models
    >>> models.names()[:4]
    ['mlp', 'mnist-cnn', 'lenet', 'resnet20']
    """
    return list(MODELS)


def create(name: str, **options: Any) -> Network:
    """Create a model with random weights, in training mode: `create("resnet20", classes=5)`.

    `options` are the arguments of the model's class. All models take `classes=10`, `input_shape=(H,
    W, C)`, whose default is that of the data set for which the model is known, and `norm` and
    `norm_position` (see `minidl.models`).

        =========================== ============ =============================
        names                       input_shape  classes
        =========================== ============ =============================
        mlp mnist-cnn lenet         (28, 28, 1)  MLP MnistCNN LeNet
        resnet20 resnet32 resnet56  (32, 32, 3)  ResNet20 ResNet32 ResNet56
        vgg8 vgg16                  (32, 32, 3)  VGG8 VGG16
        mobile wrn-16-4 cifar-fast  (32, 32, 3)  Mobile WRN16x4 CifarFast
        =========================== ============ =============================

    ValueError for an unknown name, with the closest names and a list of all, and for an
    `input_shape` that is too small for the model; TypeError for an option that the model does not
    have.

    >>> from minidl import models
    >>> models.create("vgg8", classes=4, input_shape=(64, 48, 3))(md.zeros((1, 64, 48, 3))).shape
    (1, 4)
    """
    return class_of(name, "create")(**options)


def name_of(model: Any) -> str | None:
    """Return the name of a model's class; None if it is not in the registry."""
    return next((name for name, cls in MODELS.items() if type(model) is cls), None)


def class_of(name: Any, where: str) -> type[Network]:
    """Return the class of a name; ValueError with the closest names for an unknown one."""
    if not isinstance(name, str):
        raise TypeError(checks.message(where, "name", "the name of a model", name))
    if name in MODELS:
        return MODELS[name]
    import difflib

    plain = {_letters(known): known for known in MODELS}
    close = [plain[found] for found in difflib.get_close_matches(_letters(name), plain)]
    hint = f", did you mean {' or '.join(close)}" if close else ""
    raise ValueError(
        f"{where}: there is no model {checks.shown(name)}{hint}; the names are {', '.join(MODELS)}"
    )


def _letters(name: str) -> str:
    """A name without what people write in other ways: case, hyphens and the like."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
