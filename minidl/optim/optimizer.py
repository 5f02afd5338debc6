"""Optimizer, the base class: parameter groups, their options and their state. Each optimizer's
update rule is in its own file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .. import checks, hints
from ..changes import writes
from ..foreign_names import OF_OPTIMIZERS
from ..nn.layer import Layer
from ..nn.state import StateError
from ..tensor import Tensor


@hints.with_names(OF_OPTIMIZERS)
class Optimizer(hints.Explained):
    """The base of optimizers.

    `params` is an iterable of parameters, or of dicts {"params": [...], option: value, ...} whose
    options override the defaults for their group. A subclass defines `_update(group, params,
    grads)`, which changes those parameters of a group that have a gradient.

    >>> layer = nn.Dense(2, 3)
    >>> optimizer = optim.SGD([{"params": [layer.weight], "weight_decay": 0.01},
    ...                        {"params": [layer.bias]}], lr=0.1)
    >>> [group["weight_decay"] for group in optimizer.groups]
    [0.01, 0]
    """

    state_names: tuple[str, ...] = ()  # the arrays kept for each parameter, of its shape
    not_negative_names: tuple[str, ...] = ("square", "sum")  # the arrays that hold squares
    _first_rates: tuple[list[float], list[float]] | None = None  # see schedule._base_rates
    _checked: list[list[Any]] = []  # the options of the groups when they were last checked

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        where = type(self).__name__
        if isinstance(params, Layer):
            raise TypeError(
                f"{where}: params must be parameters, got a layer: give it layer.parameters()"
            )
        listed = members_of(params, where, (Tensor, dict), "a list of parameters, or of groups")
        if not listed:
            raise ValueError(f"{where}: params is empty")
        if not isinstance(listed[0], dict):
            listed = [{"params": listed}]
        self.groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        seen: set[int] = set()
        for given in listed:
            if not isinstance(given, dict) or "params" not in given:
                raise TypeError(f'{where}: a parameter group must be a dict with "params"')
            unknown = set(given) - {"params"} - set(defaults)
            if unknown:
                raise ValueError(
                    f"{where}: unknown option {sorted(unknown)[0]!r} in a group; "
                    f"options are {', '.join(defaults)}"
                )
            members = members_of(given["params"], where)
            for p in members:
                if p._node is not None:
                    raise ValueError(
                        f"{where}: a parameter must be a leaf, not the result of an operation"
                    )
                if p._requires_grad and not p.data.flags.writeable:
                    raise ValueError(
                        f"{where}: the array of a parameter of shape {p.shape} is "
                        f"read-only; nn.Parameter(p) is a copy that learns"
                    )
                if id(p) in seen:
                    raise ValueError(f"{where}: the same parameter is given twice")
                seen.add(id(p))
            group = {**defaults, **given, "params": members}
            self._check(group)
            self.groups.append(group)
        self._check_disjoint()

    def _check_disjoint(self) -> None:
        """Raise ValueError if two parameters share memory: threads would race on it."""
        bounds = sorted(byte_bounds(p._values()) for g in self.groups for p in g["params"])
        if any(end > start for (_, end), (start, _) in itertools.pairwise(bounds)):
            raise ValueError(f"{type(self).__name__}: two parameters share memory")

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError or TypeError if an option of the group is not what it must be."""
        for name in ("lr", "weight_decay", "eps", "momentum", "trust", "initial", "lr_decay"):
            if name in group:
                checks.not_negative(group[name], type(self).__name__, name)
        for name in ("nesterov", "centered"):
            if name in group:
                checks.flag(group[name], type(self).__name__, name)

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets the rate of all groups. ValueError
        for a rate that is negative or not finite.
        """
        return self.groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        checks.not_negative(value, type(self).__name__, "lr")
        for group in self.groups:
            group["lr"] = value

    @hints.for_newcomers
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.groups:
            for p in group["params"]:
                p._grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient. ValueError or TypeError if an option in
        `groups` is not valid any more, or if a parameter's array is read-only or does not hold
        floats; nothing is changed then.
        """
        self._apply(self._ready())

    def _ready(self) -> list[list[Tensor]]:
        """Check a step, and return the parameters of each group that it would change."""
        options = [
            [value for name, value in group.items() if name != "params"] for group in self.groups
        ]
        if options != self._checked:  # options are checked again only after a change
            for group in self.groups:
                self._check(group)
            self._checked = options
        learning = [[p for p in group["params"] if p._grad is not None] for group in self.groups]
        for p in itertools.chain(*learning):
            if p._dtype.char not in "fd":
                raise TypeError(
                    f"{type(self).__name__}: parameters that learn must be float32 or "
                    f"float64, one of shape {p.shape} is {p.dtype}"
                )
            if not p._values().flags.writeable:
                raise ValueError(
                    f"{type(self).__name__}: the array of a parameter of shape "
                    f"{p.shape} is read-only"
                )
        return learning

    def _apply(self, learning: list[list[Tensor]]) -> None:
        """Take the step for the parameters that `_ready` returned."""
        for group, ready in zip(self.groups, learning, strict=True):
            needed = self._needed(group)
            if needed:
                for p in ready:
                    state = self.state.get(p)
                    if state is None:
                        state = self.state[p] = {"step": 0}
                    for name in needed:
                        if name not in state:
                            state[name] = np.full(p.shape, self._initial(group), p.dtype)
            if ready:
                writes(f"{type(self).__name__}.step()", ready)
            for part in _by_dtype(ready):
                self._update(group, part, [_gradient(p) for p in part])

    def _needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state arrays that a group's options need for each parameter."""
        return self.state_names

    def _initial(self, group: dict[str, Any]) -> float:
        """The value that the state arrays start with."""
        return 0.0

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        raise NotImplementedError

    def _count_step(self, params: list[Tensor]) -> dict[int, list[int]]:
        """Count a step of each parameter; return {step: positions in params}. There are several
        steps if some parameters got their first gradient later than others."""
        by_step: dict[int, list[int]] = {}
        for i, p in enumerate(params):
            state = self.state[p]
            state["step"] += 1
            by_step.setdefault(state["step"], []).append(i)
        return by_step

    def state_dict(self) -> dict[str, Any]:
        """Options and state as plain dicts, lists, numbers and arrays (copies)."""
        numbers: dict[Tensor, int] = {}
        for group in self.groups:
            for p in group["params"]:
                numbers[p] = len(numbers)
        return {
            "groups": [
                {
                    **{k: v for k, v in g.items() if k != "params"},
                    "params": [numbers[p] for p in g["params"]],
                }
                for g in self.groups
            ],
            "state": {
                str(numbers[p]): {
                    n: np.array(v) if isinstance(v, np.ndarray) else v for n, v in state.items()
                }
                for p, state in self.state.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take options and state from the `state_dict()` of an optimizer of the same structure.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        where = f"load_state_dict of {type(self).__name__}"
        try:
            groups, new = self._read(state)
        except StateError as error:
            raise StateError(f"{where}: {error}") from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{where}: not a state of an optimizer: {error!r}") from None
        for group, saved in zip(self.groups, groups, strict=True):
            group.update(saved)
        self.state = new

    def _read(self, state: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[Tensor, Any]]:
        """The options of each group and the state of each parameter, checked and copied."""
        if set(state) != {"groups", "state"}:
            raise StateError(f'needs "groups" and "state", got {sorted(state)}')
        sizes, given = (
            [len(g["params"]) for g in groups] for groups in (self.groups, state["groups"])
        )
        if sizes != given:
            raise StateError(f"groups of {sizes} parameters expected, got {given}")
        options = []
        owner: dict[str, tuple[Tensor, tuple[str, ...]]] = {}
        for group, saved in zip(self.groups, state["groups"], strict=True):
            if set(saved) != set(group):
                raise StateError(f"options {sorted(set(saved) ^ set(group))} differ")
            self._check(saved)
            options.append({k: v for k, v in saved.items() if k != "params"})
            for p in group["params"]:
                owner[str(len(owner))] = p, self._needed(saved)
        new: dict[Tensor, dict[str, Any]] = {}
        for number, values in state["state"].items():
            if number not in owner:
                raise StateError(f"there is no parameter {number}")
            p, needed = owner[number]
            names = set(values) - {"step"}
            if not set(needed) <= names <= set(self.state_names):
                raise StateError(
                    f"state {sorted(values)} of parameter {number} is another optimizer's"
                )
            entry: dict[str, Any] = {
                "step": checks.count(values["step"], "state", f"step of parameter {number}")
            }
            # The order is that of a step, so that a resumed training writes identical files.
            for name in filter(names.__contains__, self.state_names):
                entry[name] = self._array(f"{name} of parameter {number}", name, values[name], p)
            new[p] = entry
        return options, new

    def _array(self, what: str, name: str, value: Any, p: Tensor) -> np.ndarray:
        """An array of a parameter's state, copied; StateError if it cannot be one."""
        given = np.asarray(value)
        if given.dtype.kind not in "fiu":
            raise StateError(f"{what} must be an array of numbers, got {given.dtype}")
        if given.shape != p.shape:
            raise StateError(f"{what} must have shape {p.shape}, got {given.shape}")
        with np.errstate(over="ignore"):
            array = np.array(given, dtype=p.dtype)
        if np.isnan(array).any():
            raise StateError(f"{what} holds NaN")
        if name in self.not_negative_names:  # infinite squares only stop a parameter
            if (array < 0).any():
                raise StateError(f"{what} holds negative numbers, and is a sum of squares")
        elif np.isinf(array).any():
            raise StateError(
                f"{what} holds infinite numbers, which would make the parameter infinite"
            )
        return array

    def __repr__(self) -> str:
        first = ", ".join(f"{k}={v!r}" for k, v in self.groups[0].items() if k != "params")
        count = sum(len(g["params"]) for g in self.groups)
        return f"{type(self).__name__}({count} parameters in {len(self.groups)} group(s), {first})"


def members_of(
    params: Any,
    where: str,
    kinds: tuple[type, ...] = (Tensor,),
    expected: str = "a list of tensors",
) -> list[Any]:
    """A list of tensors, or of other `kinds`, from an iterable or from a single one."""
    members = []
    for p in (
        [params] if isinstance(params, kinds) else checks.members(params, where, "params", expected)
    ):
        if not isinstance(p, kinds):
            raise TypeError(f"{where}: params must be tensors, got {type(p).__name__}")
        members.append(p)
    return members


def _by_dtype(params: list[Tensor]) -> list[list[Tensor]]:
    """The parameters in lists of one dtype, as kernels take them; nearly always one list."""
    parts: dict[np.dtype, list[Tensor]] = {}
    for p in params:
        parts.setdefault(p._dtype, []).append(p)
    return list(parts.values())


def _gradient(p: Tensor) -> np.ndarray:
    g = p._grad
    assert g is not None
    return g if g.flags.c_contiguous else np.asarray(g, order="C")
