"""Trial: whether what `compare` is given fits together, found out before anything is trained.

Two models of each normalization are made, to see that nothing is shared, and one of them makes a
step and is evaluated on one batch; then they are thrown away.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..random import own_generator
from ..train.batches import first_batch
from ..train.trainer import Trainer

WHERE = "compare"


def taking(function: Any, name: str, expected: str, *arguments: Any) -> Any:
    """A function that can be called with such arguments; TypeError for anything else."""
    checks.function(function, WHERE, name, expected)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{checks.message(WHERE, name, expected, function)}: {error}") from None
    except ValueError:  # what is compiled has no signature
        pass
    return function


def tried_models(build: Callable[[Any], Layer], norms: Mapping[str, Any]) -> dict[str, Layer]:
    """A model of each normalization. ValueError or TypeError where `build` fails, makes none, or
    makes one that shares weights or layers with another: that would go on with what another one
    has learned."""
    models: dict[str, Layer] = {}
    made: list[Layer] = []  # which live meanwhile, so that no two parts have one identity
    owners: dict[int, str] = {}
    for name, norm in norms.items():
        for _ in range(2):
            with own_generator():
                model = _built(build, name, norm)
            parts = dict(_parts(model))
            for part, what in parts.items():
                if part in owners:
                    raise ValueError(
                        f"{WHERE}: build must make a new model each time, but build({name!r}) has "
                        f"{what} in common with a model made before it, by build({owners[part]!r}):"
                        f" make all layers within build"
                    )
            owners |= dict.fromkeys(parts, name)
            made.append(model)
            models[name] = model
    return models


def _built(build: Callable[[Any], Layer], name: str, norm: Any) -> Layer:
    try:
        model = build(norm)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise checks.renamed(_told(error), f"{WHERE}: build({name!r}) failed") from error
    checks.instance(model, WHERE, f"build({name!r})", Layer, "a Layer")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{WHERE}: build({name!r}) has made a model that has nothing to learn")
    return model


def _told(error: Exception) -> Exception:
    """The text of a KeyError is the key alone: say what it is."""
    return ValueError(f"{type(error).__name__}: {error}") if isinstance(error, KeyError) else error


def _parts(model: Layer) -> Iterator[tuple[int, str]]:
    """What two models may not have in common, by its identity: where the array of a parameter
    begins, and layers that have buffers."""
    for name, parameter in model.named_parameters():
        if parameter.size:
            yield parameter.data.__array_interface__["data"][0], f"the parameter {name!r}"
    for name, layer in model.named_layers():
        if any(isinstance(value, np.ndarray) for _, value in layer._items()):
            yield id(layer), f"the layer {name or type(layer).__name__!r}"


class Batch(NamedTuple):
    """The first batch of a part of the data, and what that is called in errors."""

    batch: Any
    name: str

    @classmethod
    def first(cls, loader: Any, name: str) -> Batch:
        """That of a loader, whose epochs are left alone where it can tell them apart. ValueError
        where it has none."""
        batch = first_batch(loader)
        if batch is None:
            raise ValueError(f"{WHERE}: {name} has no batch")
        aside = " (a list is a loader: each entry is a batch)" if isinstance(loader, list) else ""
        return cls(batch, name + aside)


def tried_optimizer(make: Callable[..., Any], model: Layer, rate: float) -> Optimizer:
    """What an optimizer is made by, if it is one of the model's parameters."""
    found = checks.instance(
        make(model.parameters(), rate),
        WHERE,
        "optimizer(parameters, rate)",
        Optimizer,
        "an optimizer",
    )
    own = {id(p) for p in model.parameters()}
    if any(id(p) not in own for group in found.groups for p in group["params"]):
        raise ValueError(
            f"{WHERE}: optimizer must make an optimizer of the parameters that it is "
            f"given, and has made one of others"
        )
    return found


def tried(
    model: Layer,
    name: str,
    optimizer: Callable[..., Any],
    rate: float,
    loss: Callable[..., Any],
    metric: str,
    batches: tuple[Batch, Batch],
) -> None:
    """Make a step with a batch of the training part, and evaluate one of the test part. ValueError
    or TypeError where a model does not fit its batch, or the metric not its outputs."""
    train_on, test_on = batches
    with own_generator(), warnings.catch_warnings():  # which the trainings give
        warnings.simplefilter("ignore")
        trainer = Trainer(
            model,
            tried_optimizer(optimizer, model, rate),
            loss,
            metrics=() if metric == "loss" else (metric,),
            progress=False,
        )
        # A training that diverges at once is none that does not fit.
        with _fitting(name, train_on), contextlib.suppress(FloatingPointError):
            trainer.fit([train_on.batch], epochs=1)
        with _fitting(name, test_on):
            found = trainer.evaluate([test_on.batch])
    if metric not in found:
        raise ValueError(
            f"{WHERE}: metric {metric!r} does not apply to the outputs and labels of "
            f"the model of {name!r}"
        )


@contextlib.contextmanager
def _fitting(norm: str, part: Batch) -> Iterator[None]:
    """Errors within the block say what they are about."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        raise checks.renamed(
            error, f"{WHERE}: the model of {norm!r} does not fit a batch of {part.name}"
        ) from error
