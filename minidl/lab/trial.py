"""Checks of the arguments of `compare`, made before the first training.

Whether the arguments fit together is tried out. Two models of each normalization are made, to find
out whether they share anything. One of them takes a step on one batch and is evaluated on another.
Then the models are discarded.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..data.dataset import ArrayDataset
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..random import own_generator
from ..train.batches import check_loader, evaluated, first_batch, is_dataset
from ..train.trainer import Trainer

WHERE = "compare"


def learning_rates(given: Any) -> list[float]:
    """Check `rates`, which may be a list, an array or one number, and return them as a list."""
    several = hasattr(given, "__iter__") and not isinstance(given, str)
    rates = [checks.positive(rate, WHERE, "rates") for rate in (given if several else (given,))]
    if not rates or len(set(rates)) < len(rates):
        raise ValueError(
            checks.message(WHERE, "rates", "one learning rate or several different ones", given)
        )
    return rates


def norms_by_name(norms: Any) -> dict[str, Any]:
    """Return the normalizations by name. A function that is given without one is called by its
    `__name__`."""
    if isinstance(norms, Mapping):
        names, given = [str(name) for name in norms], list(norms.values())
    else:
        given = (
            [norms]
            if isinstance(norms, str) or callable(norms)
            else list(checks.members(norms, WHERE, "norms", "a list of normalizations"))
        )
        names = [
            norm if isinstance(norm, str) else getattr(norm, "__name__", repr(norm))
            for norm in given
        ]
    found = dict(zip(names, given, strict=True))
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            checks.message(
                WHERE,
                "norms",
                "normalizations with different names; a dict can name them",
                f"{names.count(twice)} called {twice!r}",
            )
        )
    if not found:
        raise ValueError(checks.message(WHERE, "norms", "one normalization or more", norms))
    return found


def data_parts(given: Any) -> tuple[Any, Any]:
    """Check `data`, and return its training and its test part."""
    expected = "(train, test), each of them arrays (images, labels), a data set or a loader"
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(checks.message(WHERE, "data", expected, given))
    for part, name in zip(given, ("data[0]", "data[1]"), strict=True):
        if isinstance(part, np.ndarray) or not (
            isinstance(part, tuple) or is_dataset(part) or hasattr(part, "__iter__")
        ):
            raise TypeError(
                checks.message(WHERE, name, "arrays (images, labels), a data set or a loader", part)
            )
        if isinstance(part, tuple):
            try:
                ArrayDataset(*part)
            except (TypeError, ValueError) as error:
                raise checks.renamed(error, f"{WHERE}: {name}") from None
    if not isinstance(given[0], tuple) and not is_dataset(given[0]):
        check_loader(given[0], WHERE, "data[0]")
    evaluated(given[1], WHERE, "data[1]")
    return given[0], given[1]


def check_call(function: Any, name: str, expected: str, *arguments: Any) -> Any:
    """Return the function if it can be called with these arguments, else raise TypeError."""
    checks.function(function, WHERE, name, expected)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{checks.message(WHERE, name, expected, function)}: {error}") from None
    except ValueError:  # inspect finds no signature of a compiled function
        pass
    return function


def check_models(build: Callable[[Any], Layer], norms: Mapping[str, Any]) -> dict[str, Layer]:
    """Return a model of each normalization.

    Raises ValueError or TypeError if `build` fails, if it does not return a model, or if two models
    share parameters or layers with state: a training would then start from what another one has
    learned.
    """
    models: dict[str, Layer] = {}
    made: list[Layer] = []  # keeps all models alive, so that no id or address is used twice
    owners: dict[int, str] = {}
    for name, norm in norms.items():
        for _ in range(2):
            with own_generator():
                model = _built(build, name, norm)
            parts = dict(_parts(model))
            for part, what in parts.items():
                if part in owners:
                    raise ValueError(
                        f"{WHERE}: build must make a new model at each call, but the model of "
                        f"build({name!r}) shares {what} with an earlier model, that of "
                        f"build({owners[part]!r}): make all layers within build"
                    )
            owners |= dict.fromkeys(parts, name)
            made.append(model)
            models[name] = model
    return models


def _built(build: Callable[[Any], Layer], name: str, norm: Any) -> Layer:
    try:
        model = build(norm)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise checks.renamed(_with_key_named(error), f"{WHERE}: build({name!r}) failed") from error
    checks.instance(model, WHERE, f"build({name!r})", Layer, "a Layer")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{WHERE}: build({name!r}) must make a model with trainable parameters, got one without"
        )
    return model


def _with_key_named(error: Exception) -> Exception:
    """Return the error, but a KeyError, whose text is the key alone, with its type in the text."""
    return ValueError(f"{type(error).__name__}: {error}") if isinstance(error, KeyError) else error


def _parts(model: Layer) -> Iterator[tuple[int, str]]:
    """Yield (identity, description) of everything that two models must not share: each parameter,
    by the address of its array, and each layer with buffers, by its id."""
    for name, parameter in model.named_parameters():
        if parameter.size:
            yield parameter.data.__array_interface__["data"][0], f"the parameter {name!r}"
    for name, layer in model.named_layers():
        if any(isinstance(value, np.ndarray) for _, value in layer._items()):
            yield id(layer), f"the layer {name or type(layer).__name__!r}"


class Batch(NamedTuple):
    """The first batch of the training or the test data, and the name of these data in errors."""

    batch: Any
    name: str

    @classmethod
    def first(cls, loader: Any, name: str) -> Batch:
        """Return the first batch of a loader. If the loader numbers its epochs, this does not count
        as one. Raises ValueError if the loader is empty."""
        batch = first_batch(loader)
        if batch is None:
            raise ValueError(f"{WHERE}: {name} has no batch")
        aside = (
            " (a list is taken as a loader whose entries are batches)"
            if isinstance(loader, list)
            else ""
        )
        return cls(batch, name + aside)


def make_optimizer(make: Callable[..., Any], model: Layer, rate: float) -> Optimizer:
    """Make an optimizer for the model's parameters. Raises TypeError if `make` returns anything
    else, and ValueError if the optimizer has other parameters."""
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
            f"{WHERE}: optimizer must make an optimizer of the parameters that it is given, got "
            f"one of other parameters"
        )
    return found


def check_fit(
    model: Layer,
    name: str,
    optimizer: Callable[..., Any],
    rate: float,
    loss: Callable[..., Any],
    metric: str,
    batches: tuple[Batch, Batch],
) -> None:
    """Take a step with a training batch, and evaluate the model on a test batch. Raises ValueError
    or TypeError if the model does not fit a batch, or if the metric does not fit its outputs."""
    train_on, test_on = batches
    with own_generator(), warnings.catch_warnings():  # the trainings will give the same warnings
        warnings.simplefilter("ignore")
        trainer = Trainer(
            model,
            make_optimizer(optimizer, model, rate),
            loss,
            metrics=() if metric == "loss" else (metric,),
            progress=False,
        )
        # A training that diverges in its first step is valid; its score will be NaN.
        with _fitting(name, train_on), contextlib.suppress(FloatingPointError):
            trainer.fit([train_on.batch], epochs=1)
        with _fitting(name, test_on):
            found = trainer.evaluate([test_on.batch])
    if metric not in found:
        raise ValueError(
            f"{WHERE}: metric {metric!r} cannot be computed from the outputs and the labels of the "
            f"model of {name!r}"
        )


@contextlib.contextmanager
def _fitting(norm: str, part: Batch) -> Iterator[None]:
    """Let errors within the `with` block name the model and the data that do not fit together."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        raise checks.renamed(
            error, f"{WHERE}: the model of {norm!r} does not fit a batch of {part.name}"
        ) from error
