"""Recipe: the numbers and parts of a training in one place; the recipe for any pictures.

A recipe is a dataclass. Its fields are what one may set, and their defaults what is known to work;
its methods make the parts of the training of them. Each other file of this folder is one recipe, a
subclass, to be read as the section "Training details" of a paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

from ... import checks, data, models, ops, optim
from ...data import transforms as T
from ...nn.layer import Layer
from ..task import Task

STEPS = 3000        # of a training, as far as MOST_EPOCHS and LEAST_EPOCHS allow
LEAST_EPOCHS, MOST_EPOCHS = 15, 100
BATCHES = 10        # that an epoch of few pictures has at least


@dataclass
class Recipe:
    """How a task is trained, for pictures of any kind.

    model:         a name of `models.create`; None: mnist-cnn for grey pictures up to 32 x 32, else
                   resnet20
    model_options: what else `models.create` gets
    epochs:        None: as many as make 3,000 steps, from 15 to 100
    batch_size:    None: 128, or of few pictures the largest power of two with 10 batches an epoch
    lr:            the largest rate; None: 0.1 for 128 pictures, in proportion to the batch
    momentum, weight_decay: of Nesterov's SGD; biases and normalizations do not decay
    warmup:        the share of the steps in which the rate grows, before it falls to 0 on a cosine
    label_smoothing: of the cross-entropy
    flip:          mirror half of the pictures; None: colour pictures, not grey ones, which may be
                   digits and letters
    crop:          pixels by which pictures are shifted at random; None: an eighth of the side
    ema:           the decay of an average of the weights, or None
    valid:         the share of pictures to validate, where the data have no part for it

    >>> from minidl.train import recipes
    >>> recipe = recipes.create("default", epochs=3)
    >>> recipe.epochs, recipe.momentum
    (3, 0.9)
    """

    model: str | None = None
    model_options: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    label_smoothing: float = 0.0
    flip: bool | None = None
    crop: int | None = None
    ema: float | None = None
    valid: float = 0.1

    def settled(self, task: Task) -> Recipe:
        """The same with a value for each field that is None because it depends on the task."""
        height, width, channels = task.shape
        side, count = min(height, width), len(task.train)
        if self.model is None:
            self.model = "mnist-cnn" if channels == 1 and side <= 32 else "resnet20"
        if self.batch_size is None:
            self.batch_size = min(128, 2 ** int(math.log2(max(4, count / BATCHES))))
        if self.lr is None:
            self.lr = 0.1 * self.batch_size / 128
        if self.epochs is None:
            needed = math.ceil(STEPS / (count / self.batch_size))
            self.epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, needed))
        if self.flip is None:
            self.flip = channels == 3
        if self.crop is None:
            self.crop = side // 8
        return self

    def settings(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    # ------------------------------------------------------------------------ parts of a training

    def build_model(self, task: Task) -> Layer:
        """A new model for the task."""
        assert self.model is not None
        return models.create(self.model, **{"classes": len(task.classes),
                                            "input_shape": task.shape, **self.model_options})

    def transform(self, task: Task, normalize: T.Normalize) -> Any:
        """What is done to training pictures, whose values are from 0 to 1."""
        parts: list[Any] = [normalize]
        if self.crop:
            parts.append(T.RandomCrop(task.shape[:2], padding=self.crop))
        if self.flip:
            parts.append(T.RandomFlip())
        return T.Compose(*parts)

    def loader(self, task: Task, normalize: T.Normalize, seed: int) -> data.DataLoader:
        """The training pictures in batches, of which all are full."""
        assert self.batch_size is not None
        size = min(self.batch_size, len(task.train))
        return data.DataLoader(task.train, size, shuffle=True, seed=seed, drop_last=True,
                               transform=self.transform(task, normalize))

    def prepare(self, model: Layer, task: Task, normalize: T.Normalize) -> None:
        """What is done with a new model before it is trained: nothing, in most recipes."""

    def optimizer(self, model: Layer) -> optim.Optimizer:
        """The optimizer, with its rates at their base."""
        assert self.lr is not None
        return optim.SGD(optim.groups(model, self.weight_decay), lr=self.lr,
                         momentum=self.momentum, nesterov=True)

    def schedule(self, optimizer: optim.Optimizer, steps: int) -> Any:
        """The schedule of the rates over all steps of the training; None: they stay."""
        up = round(self.warmup * steps)
        down = optim.CosineLR(optimizer, steps - up)
        if not up:
            return down
        return optim.SequenceLR([optim.WarmupLR(optimizer, up, start=0.0), down], [up])

    def loss(self) -> Callable[..., Any]:
        """The function of (outputs, labels) that is made small."""
        return CrossEntropy(self.label_smoothing)

    def trainer_options(self) -> dict[str, Any]:
        """What else `Trainer` gets."""
        return {"ema": self.ema}

    def callbacks(self, model: Layer) -> list[Any]:
        """Callbacks of the recipe's own."""
        return []


class CrossEntropy:
    """`md.cross_entropy` of (outputs, labels) with smoothing and reduction. Outputs and labels that
    do not fit are refused with the number of classes."""

    def __init__(self, label_smoothing: float = 0.0, reduction: str = "mean") -> None:
        self.label_smoothing, self.reduction = label_smoothing, reduction

    def __call__(self, outputs: Any, labels: Any) -> Any:
        return ops.cross_entropy(outputs, labels, reduction=self.reduction,
                                 label_smoothing=self.label_smoothing)

    def __repr__(self) -> str:
        return f"CrossEntropy({self.label_smoothing}, {self.reduction!r})"


def with_settings(recipe: type[Recipe], settings: dict[str, Any], where: str) -> Recipe:
    """A recipe with some fields set. TypeError and ValueError for fields that it does not have and
    values of another type; numbers may be whole where they may be broken."""
    hints = get_type_hints(recipe)
    known = {f.name for f in fields(recipe)}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{where}: this recipe has no setting {name!r}; it has "
                             f"{', '.join(sorted(known))}")
        kinds = _kinds(hints[name])
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(
                value, (*kinds, int) if float in kinds else kinds):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            raise TypeError(checks.message(where, name, names, value))
    made = recipe(**settings)
    _check_numbers(made, where)
    return made


def _kinds(hint: Any) -> tuple[type, ...]:
    """The types that a field may have: of `int | None` int and NoneType."""
    import types
    from typing import Union, get_args, get_origin

    found = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    return tuple([get_origin(kind) or kind for kind in found])


def _check_numbers(recipe: Recipe, where: str) -> None:
    """ValueError for numbers that no training can have."""
    least: Sequence[tuple[str, float]] = (("epochs", 1), ("batch_size", 1), ("crop", 0))
    for name, low in least:
        if (value := getattr(recipe, name)) is not None:
            checks.whole(value, where, name, int(low))
    if recipe.lr is not None:
        checks.positive(recipe.lr, where, "lr")
    checks.real(recipe.valid, where, "valid", 0, below=1)
    checks.fraction(recipe.warmup, where, "warmup")
