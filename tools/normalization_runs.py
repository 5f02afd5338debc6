"""A case of the table in docs/normalization.md, and what minidl, the formula and PyTorch compute
for it.

A case makes our layer, runs it for some steps in a dtype, and returns the arrays that are compared.
The formulas (tests/support/reference/norm.py) run on the same numbers in float64, and so does
PyTorch where it has the normalization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl import nn
from tests.support.reference import norm as formulas

STEPS = 10
EPS = 1e-5
Arrays = list[np.ndarray]
Results = dict[str, Arrays]  # the arrays of all steps by "forward", "backward" and "running"


@dataclasses.dataclass
class Case:
    """`layer` is ours, and `formula(x, state, *parameters)` is the paper's for the same
    parameters.
    """

    name: str
    layer: Callable[[], nn.Layer]
    formula: Callable[..., np.ndarray]
    shape: tuple[int, ...] = (6, 3, 3, 4)
    mask: bool = False
    shortcut: bool = False  # relu(norm(x) + shortcut) instead of norm(x)
    eval_mode: bool = False
    first_values: bool = False  # parameters with their initial values instead of numbers around 1
    # Takes (torch, x, state, *parameters), as `formula` does.
    torch: Callable[..., Any] | None = None

    def data(self, dtype: Any) -> list[Arrays]:
        """Return [x, dy, shortcut] of each step: the same numbers for each dtype, as far as it can
        hold them.
        """
        rng = np.random.default_rng(len(self.name))
        return [
            [
                (3 * rng.normal(size=self.shape) + 2).astype(dtype),
                rng.normal(size=self.shape).astype(dtype),
                rng.normal(size=self.shape).astype(dtype),
            ]
            for _ in range(STEPS)
        ]

    def positions(self) -> np.ndarray | None:
        return positions(self.shape) if self.mask else None

    def parameters(self, layer: nn.Layer, dtype: Any) -> list[nn.Parameter]:
        """Return the layer's parameters, filled with numbers around 1 unless `first_values` is
        set.
        """
        rng = np.random.default_rng(2)
        for p in [] if self.first_values else layer.parameters():
            p.data[...] = (1 + 0.3 * rng.normal(size=p.shape)).astype(dtype)
        return layer.parameters()


def positions(shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask for inputs of this shape."""
    return np.random.default_rng(1).random(shape[:-1]) < 0.7


def ours(case: Case, dtype: Any) -> Results:
    """Return what minidl computes."""
    layer = case.layer().astype(dtype)
    parameters = case.parameters(layer, dtype)
    mask = case.positions()
    if case.eval_mode:
        some_statistics(layer)
        layer.eval()
    results: Results = {"forward": [], "backward": [], "running": []}
    for x, dy, shortcut in case.data(dtype):
        inputs = md.tensor(x, requires_grad=True)
        y = layer(inputs) if mask is None else layer(inputs, mask)
        if case.shortcut:
            y = md.relu(y + shortcut)
        layer.zero_grad()
        y.backward(dy)
        results["forward"].append(np.array(y.data))
        results["backward"] += [inputs.grad, *(p.grad for p in parameters)]
        if getattr(layer, "running_mean", None) is not None:
            results["running"] += [layer.running_mean.copy(), layer.running_var.copy()]
    return results


def expected(case: Case, dtype: Any) -> Results:
    """Return what the formula gives in float64 for the numbers of this dtype."""
    layer = case.layer().astype(dtype)
    parameters = [p.data.astype(np.float64) for p in case.parameters(layer, dtype)]
    state = _state(layer, case)
    results: Results = {"forward": [], "backward": [], "running": []}
    for x, dy, shortcut in ([a.astype(np.float64) for a in step] for step in case.data(dtype)):
        before = dict(state)

        def f(
            x: np.ndarray,
            *parameters: np.ndarray,
            before: dict[str, Any] = before,
            shortcut: np.ndarray = shortcut,
        ) -> np.ndarray:
            state.update(before)
            y = case.formula(x, state, *parameters)
            return formulas.relu(y + shortcut) if case.shortcut else y

        results["backward"] += formulas.gradients(f, dy, x, *parameters)
        results["forward"].append(f(x, *parameters))
        if state:
            results["running"] += [np.array(state["mean"]), np.array(state["var"])]
    return results


def pytorch(case: Case, dtype: Any) -> Results:
    """Return what PyTorch gives in float64 for the numbers of this dtype."""
    import torch

    assert case.torch is not None
    layer = case.layer().astype(dtype)
    parameters = [
        torch.tensor(p.data.astype(np.float64), requires_grad=True)
        for p in case.parameters(layer, dtype)
    ]
    state = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in _state(layer, case).items()
    }
    results: Results = {"forward": [], "backward": [], "running": []}
    for x, dy, shortcut in case.data(dtype):
        inputs = torch.tensor(x.astype(np.float64), requires_grad=True)
        y = case.torch(torch, inputs, state, *parameters)
        if case.shortcut:
            y = torch.relu(y + torch.tensor(shortcut.astype(np.float64)))
        grads = torch.autograd.grad(y, [inputs, *parameters], torch.tensor(dy.astype(np.float64)))
        results["forward"].append(y.detach().numpy())
        results["backward"] += [g.numpy() for g in grads]
        if state:
            results["running"] += [state["mean"].numpy().copy(), state["var"].numpy().copy()]
    return results


def error(got: Arrays, want: Arrays) -> float:
    """Return the largest difference between two arrays, relative to the largest value of each."""
    return max(
        (
            float(np.abs(a - b).max() / (np.abs(b).max() or 1))
            for a, b in zip(got, want, strict=True)
        ),
        default=0.0,
    )


def some_statistics(layer: Any) -> None:
    """Give a BatchNorm running statistics as if it had seen a batch."""
    layer.running_mean[...] = np.linspace(-1, 3, len(layer.running_mean))
    layer.running_var[...] = np.linspace(0.5, 9, len(layer.running_var))
    layer.num_batches[...] = 1


def _state(layer: Any, case: Case) -> dict[str, Any]:
    if getattr(layer, "running_mean", None) is None:
        return {}
    if case.eval_mode:
        some_statistics(layer)
    return {
        "mean": layer.running_mean.astype(np.float64),
        "var": layer.running_var.astype(np.float64),
        "batches": int(layer.num_batches),
    }
