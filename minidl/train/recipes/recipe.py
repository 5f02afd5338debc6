"""Recipe: the base class of all recipes, which hold the settings and parts of a training.

A recipe is a dataclass. Its fields are the settings, and their defaults are values that are known
to work; its methods build the parts of the training from them. Each other file of this folder is a
recipe, a subclass, and reads like the section "Training details" of a paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, get_type_hints

from ... import checks, data, models, ops, optim
from ...checks import Check
from ...data import transforms as T
from ...data.transforms.place import MODES
from ...models.registry import class_of
from ...nn.layer import Layer
from ..task import Task

at_least_one = partial(checks.count, least=1)
below_one = partial(checks.real, least=0, below=1)


@dataclass
class Recipe:
    """How a model is trained on a task.

    model:         a name of `models.create`; `model_options` are its other arguments
    epochs, batch_size: as usual
    lr:            the largest learning rate
    momentum, weight_decay: the options of SGD
    label_smoothing: the option of the cross-entropy
    crop:          the largest random shift of a picture in pixels; `crop_mode` is the padding mode
                   of `RandomCrop` ("constant" pads with the mean colour)
    flip:          whether half of the pictures are mirrored
    ema:           the decay of a moving average of the weights, or None
    valid:         the share of pictures for validation, if the data have no validation part

    Fields that are None depend on the task; `settled` sets them. `checks` has a check for the value
    of each field.

    >>> from minidl.train import recipes
    >>> recipe = recipes.create("cifar10-resnet20", epochs=3)
    >>> recipe.epochs, recipe.batch_size
    (3, 128)
    """

    model: str | None = None
    model_options: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop: int | None = None
    crop_mode: str = "reflect"
    flip: bool | None = None
    ema: float | None = None
    valid: float = 0.1

    checks: ClassVar[dict[str, Check]] = {
        "epochs": at_least_one,
        "batch_size": at_least_one,
        "lr": checks.positive,
        "momentum": below_one,
        "weight_decay": checks.not_negative,
        "label_smoothing": checks.fraction,
        "crop": checks.count,
        "crop_mode": partial(checks.choice, options=MODES),
        "ema": below_one,
        "valid": below_one,
    }

    def settled(self, task: Task) -> Recipe:
        """Set the fields that depend on the task, and return the recipe."""
        return self

    def settings(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)

    # ------------------------------------------------------------------------ parts of a training

    def build_model(self, task: Task) -> Layer:
        """Create a model for the task."""
        assert self.model is not None
        return models.create(
            self.model,
            **{"classes": len(task.classes), "input_shape": task.shape, **self.model_options},
        )

    def transform(self, task: Task, normalize: T.Normalize) -> Any:
        """Return the transform of training pictures, whose values are from 0 to 1."""
        parts: list[Any] = [normalize]
        if self.crop:
            parts.append(T.RandomCrop(task.shape[:2], self.crop, self.crop_mode))
        if self.flip:
            parts.append(T.RandomFlip())
        return T.Compose(*parts)

    def loader(self, task: Task, normalize: T.Normalize, seed: int) -> data.DataLoader:
        """Return the loader of the training pictures, without an incomplete last batch."""
        assert self.batch_size is not None
        size = min(self.batch_size, len(task.train))
        return data.DataLoader(
            task.train,
            size,
            shuffle=True,
            seed=seed,
            drop_last=True,
            transform=self.transform(task, normalize),
        )

    def prepare(self, model: Layer, task: Task, normalize: T.Normalize) -> None:
        """Prepare a new model for the training; most recipes have nothing to do."""

    def optimizer(self, model: Layer) -> optim.Optimizer:
        """Create the optimizer with its base learning rates."""
        raise NotImplementedError

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        """Create the learning rate schedule for all steps of the training; None keeps the rates."""
        raise NotImplementedError

    def loss(self) -> Callable[..., Any]:
        """Return the loss, a function of (outputs, labels)."""
        return partial(ops.cross_entropy, label_smoothing=self.label_smoothing)

    def trainer_options(self) -> dict[str, Any]:
        """Return further arguments of `Trainer`."""
        return {"ema": self.ema}

    def callbacks(self, model: Layer) -> list[Any]:
        """Return the recipe's own callbacks."""
        return []


def with_settings(recipe: type[Recipe], settings: dict[str, Any], where: str) -> Recipe:
    """Create a recipe with some fields set. ValueError for an unknown field, TypeError for a value
    of another type than the field's; an int is allowed for a float."""
    hints = get_type_hints(recipe)
    known = {f.name for f in fields(recipe)}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(
                f"{where}: this recipe has no setting {name!r}; it has {', '.join(sorted(known))}"
            )
        if value is None and name != "ema" and getattr(recipe, name, None) is not None:
            raise ValueError(
                f"{where}: {name} must not be None, since this recipe does not choose it from the "
                f"data"
            )
        kinds = _kinds(hints[name])
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(
            value, (*kinds, int) if float in kinds else kinds
        ):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise TypeError(checks.message(where, name, names, value))
        if value is not None and name in recipe.checks:
            recipe.checks[name](value, where, name)
    _check_model(settings, where)
    if "model" in settings and settings["model"] != getattr(recipe, "model", None):
        # The default options are those of the recipe's default model.
        settings = {"model_options": {}, **settings}
    return recipe(**settings)


def _check_model(settings: dict[str, Any], where: str) -> None:
    """Raise a ValueError for an unknown model, and for model options that the data decide."""
    if settings.get("model") is not None:
        class_of(settings["model"], where)
    for name in ("classes", "input_shape"):
        if name in settings.get("model_options", ()):
            raise ValueError(
                f"{where}: model_options must not have {name}, which the pictures decide"
            )


def _kinds(hint: Any) -> tuple[type, ...]:
    """Return the types that a field may have: (int, NoneType) for `int | None`."""
    import types
    from typing import Union, get_args, get_origin

    found = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    return tuple([get_origin(kind) or kind for kind in found])
