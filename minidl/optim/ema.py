"""EMA: a running average of weights, to evaluate with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import checks, kernels
from ..changes import writes
from ..nn.layer import Layer
from ..nn.parameter import Parameter
from ..nn.state import StateError


def average(decay: float, count: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Add the count-th value to each average; `pairs` are (average, value) of one shape and dtype:

    average += (1 - decay) / (1 - decay^count) (value - average), in place.
    """
    share = (1 - decay) / (1 - decay**count)
    by_dtype: dict[Any, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for own, value in pairs:
        averages, values = by_dtype.setdefault(value.dtype, ([], []))
        averages.append(own)
        values.append(value)
    for averages, values in by_dtype.values():
        # This is an update with the value as gradient and the decay -1.
        kernels.sgd_update(averages, values, None, -share, weight_decay=-1.0)


class EMA:
    """The exponential moving average of a model's parameters (Polyak & Juditsky 1992; Kingma & Ba
    2015 for the start). `update()` is called after each step of the optimizer. After n calls the
    average is a weighted mean of the n values that a parameter had, in which the i-th has the
    weight decay^(n - i).

    The weights are divided by their sum from the first update on, which is the same as a decay that
    rises from 0: average += (1 - decay) / (1 - decay^n) (p - average). So values from before the
    first update do not count, and a training shorter than 1 / (1 - decay) steps gets nearly the
    mean of all its values. (PyTorch's AveragedModel gives the first value the weight
    decay^(n - 1).)

    A `with` block puts the averages, in the dtypes of the parameters, into the model. The running
    statistics of BatchNorm are not averaged and do not fit the averaged weights: call
    `nn.recalibrate(model, loader)` in the block. Read-only parameters, as those of a folded model,
    have no average. TypeError unless model is a layer, ValueError for a decay outside of [0, 1).

    >>> model = nn.Dense(1, 1)
    >>> ema = optim.EMA(model, decay=0.5)
    >>> for value in (0.0, 3.0):
    ...     model.weight.data[...] = value
    ...     ema.update()
    >>> with ema.averaged():
    ...     model.weight.item()     # (0.5 · 0 + 1 · 3) / (0.5 + 1)
    2.0
    >>> model.weight.item()
    3.0
    """

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        self.model = checks.instance(model, "EMA", "model", Layer, "a layer")
        self.decay = checks.real(decay, "EMA", "decay", 0, below=1)
        self.count = 0
        self._params = self._learned()  # kept, because a walk through a model takes long
        self.averages = {name: p._values().copy() for name, p in self._params.items()}
        self._inside = False

    def _learned(self) -> dict[str, Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p._values().flags.writeable}

    def update(self) -> None:
        """Add the parameters' current values to the averages. RuntimeError inside of `averaged()`;
        nothing is changed then.
        """
        if self._inside:
            raise RuntimeError(
                "EMA.update: inside of averaged() the parameters are the averages themselves"
            )
        self.count += 1
        now = {name: p._values() for name, p in self._params.items()}
        for name, values in now.items():
            if self.averages[name].dtype != values.dtype:  # astype has converted the model since
                self.averages[name] = self.averages[name].astype(values.dtype)
        average(self.decay, self.count, [(self.averages[name], now[name]) for name in now])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Layer]:
        """A block in which the model has the averages as its parameters; it yields the model.

        When it ends, even by an error, parameters and buffers get back the values that they had
        before: steps and recalibrated statistics inside the block are undone, so save or evaluate
        inside. Other threads see the averages too. RuntimeError for a block inside another one, and
        for a model that has got other parameters since the EMA was made.
        """
        if self._inside:
            raise RuntimeError("EMA.averaged: the parameters are the averages already")
        now = self._learned()
        if now.keys() != self._params.keys() or any(
            now[name] is not p for name, p in self._params.items()
        ):
            raise RuntimeError(
                "EMA.averaged: the model has got other parameters since the EMA was "
                "made: make a new one"
            )
        buffers = dict(self.model.named_buffers())
        kept = {name: p._values().copy() for name, p in now.items()}
        kept_buffers = {name: array.copy() for name, array in buffers.items()}
        self._inside = True
        try:
            if self.count:
                self._put(self.averages)
            yield self.model
        finally:
            self._put(kept)
            writes("EMA.averaged()", (), buffers.values())
            for name, array in buffers.items():
                array[...] = kept_buffers[name]
            self._inside = False

    def _put(self, values: dict[str, np.ndarray]) -> None:
        writes("EMA.averaged()", self._params.values())
        for name, p in self._params.items():
            p._values()[...] = values[name]

    def state_dict(self) -> dict[str, Any]:
        """The averages by name, decay and count, as a plain dict (copies)."""
        return {
            "decay": self.decay,
            "count": self.count,
            "averages": {name: array.copy() for name, array in self.averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything from the `state_dict()` of an EMA of such a model.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        where = "load_state_dict of EMA"
        try:
            if set(state) != {"decay", "count", "averages"}:
                raise StateError(f"needs the state of an EMA, got {sorted(state)}")
            decay = checks.real(state["decay"], "state", "decay", 0, below=1)
            count = checks.count(state["count"], "state", "count")
            given = {name: np.asarray(array) for name, array in state["averages"].items()}
            if given.keys() != self.averages.keys():
                raise StateError(
                    f"averages of other parameters: {sorted(given.keys() ^ self.averages.keys())}"
                )
            new = {}
            for name, own in self.averages.items():
                if given[name].shape != own.shape or given[name].dtype.kind not in "fiu":
                    raise StateError(
                        f"the average of {name} must be numbers of shape {own.shape}, "
                        f"got {given[name].dtype} {given[name].shape}"
                    )
                new[name] = np.array(given[name], own.dtype, order="C")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{where}: {error}") from None
        self.decay, self.count, self.averages = decay, count, new

    def __repr__(self) -> str:
        return f"EMA({len(self.averages)} parameters, decay={self.decay}, count={self.count})"
