"""Recipes: training configurations that are known to work, one short file each. `names()` lists
them, `create` makes one; `train.Run` and `minidl train --recipe NAME` train with it.

>>> from minidl.train import recipes
>>> recipes.names()
['default', 'mnist', 'cifar10-resnet20', 'cifar10-fast']
"""

from __future__ import annotations

from typing import Any

from ... import checks
from .cifar10_fast import CIFAR10Fast
from .cifar10_resnet20 import CIFAR10ResNet20
from .default import Default
from .mnist import MNIST
from .recipe import Recipe, with_settings

__all__ = ["MNIST", "CIFAR10Fast", "CIFAR10ResNet20", "Default", "Recipe", "create", "names"]

RECIPES: dict[str, type[Recipe]] = {
    "default": Default,
    "mnist": MNIST,
    "cifar10-resnet20": CIFAR10ResNet20,
    "cifar10-fast": CIFAR10Fast,
}


def names() -> list[str]:
    """Return the names that `create` knows."""
    return list(RECIPES)


def create(name: str, **settings: Any) -> Recipe:
    """Create a recipe by name, with some of its fields set. ValueError for an unknown name or
    field, TypeError for a value of another type than the field's.

    >>> from minidl.train import recipes
    >>> recipes.create("cifar10-resnet20", epochs=10).batch_size
    128
    """
    checks.choice(name, "recipes.create", "name", tuple(RECIPES))
    return with_settings(RECIPES[name], settings, f"recipe {name}")
