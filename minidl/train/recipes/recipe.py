"""Recipe: the numbers and parts of a training in one place; what all recipes have in common.

A recipe is a dataclass. Its fields are what one may set, and their defaults what is known to work;
its methods make the parts of the training of them. Each other file of this folder is one recipe, a
subclass, to be read as the section "Training details" of a paper.
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
    """How a task is trained.

    model:         a name of `models.create`; `model_options`: what else that gets
    epochs, batch_size, lr: the largest rate
    momentum, weight_decay: of SGD
    label_smoothing: of the cross-entropy
    crop:          pixels by which pictures are shifted at random at most; `crop_mode`: what comes
                   in from the edge, as `RandomCrop` has it ("constant" is the mean colour)
    flip:          whether half of the pictures are mirrored
    ema:           the decay of an average of the weights, or None
    valid:         the share of pictures to validate, where the data have no part for it

    What is None in a recipe depends on the task, and `settled` fills it in. `checks` says what the
    values of fields may be.

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
        """The same, with a value for each field that depends on the task."""
        return self

    def settings(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    # ------------------------------------------------------------------------ parts of a training

    def build_model(self, task: Task) -> Layer:
        """A new model for the task."""
        assert self.model is not None
        return models.create(
            self.model,
            **{"classes": len(task.classes), "input_shape": task.shape, **self.model_options},
        )

    def transform(self, task: Task, normalize: T.Normalize) -> Any:
        """What is done to training pictures, whose values are from 0 to 1."""
        parts: list[Any] = [normalize]
        if self.crop:
            parts.append(T.RandomCrop(task.shape[:2], self.crop, self.crop_mode))
        if self.flip:
            parts.append(T.RandomFlip())
        return T.Compose(*parts)

    def loader(self, task: Task, normalize: T.Normalize, seed: int) -> data.DataLoader:
        """The training pictures in batches, of which all are full."""
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
        """What is done with a new model before it is trained: nothing, in most recipes."""

    def optimizer(self, model: Layer) -> optim.Optimizer:
        """The optimizer, with its rates at their base."""
        raise NotImplementedError

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        """The schedule of the rates over all steps of the training; None: they stay."""
        raise NotImplementedError

    def loss(self) -> Callable[..., Any]:
        """The function of (outputs, labels) that is made small."""
        return partial(ops.cross_entropy, label_smoothing=self.label_smoothing)

    def trainer_options(self) -> dict[str, Any]:
        """What else `Trainer` gets."""
        return {"ema": self.ema}

    def callbacks(self, model: Layer) -> list[Any]:
        """Callbacks of the recipe's own."""
        return []


def with_settings(recipe: type[Recipe], settings: dict[str, Any], where: str) -> Recipe:
    """A recipe with some fields set. TypeError and ValueError for fields that it does not have and
    values of another type; numbers may be whole where they may be broken."""
    hints = get_type_hints(recipe)
    known = {f.name for f in fields(recipe)}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(
                f"{where}: this recipe has no setting {name!r}; it has {', '.join(sorted(known))}"
            )
        if value is None and name != "ema" and getattr(recipe, name, None) is not None:
            raise ValueError(
                f"{where}: {name} cannot be None, which leaves it to the data: this "
                f"recipe does not choose it"
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
        settings = {"model_options": {}, **settings}  # the recipe's are those of its own model
    return recipe(**settings)


def _check_model(settings: dict[str, Any], where: str) -> None:
    """ValueError for a model that there is not, and for options of it that the data decide."""
    if settings.get("model") is not None:
        class_of(settings["model"], where)
    for name in ("classes", "input_shape"):
        if name in settings.get("model_options", ()):
            raise ValueError(
                f"{where}: model_options must not have {name}, which the pictures decide"
            )


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types that a field may have: of `int | None` int and NoneType."""
    import types
    from typing import Union, get_args, get_origin

    found = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    return tuple([get_origin(kind) or kind for kind in found])
