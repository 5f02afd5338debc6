"""The cases of the table in docs/normalization.md: each normalization and option beside its
formula.

`normalization_runs` defines what a case is and how it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl import nn
from tests.support.reference import norm as formulas

from .normalization_runs import EPS, Case, positions, some_statistics

RENORM = nn.Renorm(r_max=1.5, d_max=0.5, warmup=2, r_ramp=4, d_ramp=3)


def batch(
    name: str,
    shape: tuple[int, ...] = (6, 3, 3, 4),
    mask: bool = False,
    shortcut: bool = False,
    torch: Any = None,
    **options: Any,
) -> Case:
    """Return a function that makes a BatchNorm with these options."""
    options_there = {
        key: value
        for key, value in options.items()
        if key in ("momentum", "eps", "unbiased", "ghost_batch", "affine")
    }
    if options.get("renorm"):
        options_there["renorm"] = options["renorm"].limits
    counted = positions(shape) if mask else None

    def formula(
        x: np.ndarray, state: dict[str, Any], gamma: Any = 1.0, beta: Any = 0.0
    ) -> np.ndarray:
        return formulas.batch_norm(
            x, gamma, beta, state, mask=counted, tracked=bool(state), **options_there
        )

    return Case(
        name,
        lambda: nn.BatchNorm(shape[-1], **options),
        formula,
        shape,
        mask,
        shortcut,
        first_values="gamma_init" in options,
        torch=torch,
    )


def torch_batch_norm(**options: Any) -> Any:
    """Run PyTorch's batch normalization, with the running statistics in `state`. Virtual batches
    and masks, which it lacks, are written out here.
    """
    ghosts, mask = options.get("ghost_batch"), options.get("mask")
    eps, momentum = options.get("eps", EPS), options.get("momentum", 0.1)

    def run(torch: Any, x: Any, state: Any, gamma: Any = None, beta: Any = None) -> Any:
        outputs = []
        for part in x.split(ghosts or len(x)):
            if state:
                weight = 1 / (int(state["batches"]) + 1) if momentum is None else momentum
                state["batches"] += 1
            else:
                weight = 0.0
            chosen = part if mask is None else part[torch.tensor(mask)]
            rows = chosen.reshape(-1, x.shape[-1])
            y = torch.nn.functional.batch_norm(
                rows, state.get("mean"), state.get("var"), gamma, beta, True, weight, eps
            )
            if mask is None:
                outputs.append(y.reshape(part.shape))
            else:
                outputs.append(torch.zeros_like(part).index_put((torch.tensor(mask),), y))
        return torch.cat(outputs)

    return run


def torch_eval(torch: Any, x: Any, state: Any, gamma: Any, beta: Any) -> Any:
    y = torch.nn.functional.batch_norm(
        x.reshape(-1, x.shape[-1]), state["mean"], state["var"], gamma, beta, False, 0.1, EPS
    )
    return y.reshape(x.shape)


def channels_first(run: Callable[..., Any]) -> Any:
    """Adapt a run(torch, x (N, C, ...), *parameters) to x of shape (N, ..., C)."""
    return lambda torch, x, state, *p: run(torch, x.movedim(-1, 1), *p).movedim(1, -1)


def frozen() -> nn.Layer:
    layer = nn.BatchNorm(4)
    some_statistics(layer)
    return layer.freeze_stats()


def torch_weight_norm(torch: Any, v: Any, state: Any, gain: Any) -> Any:
    return torch._weight_norm(v, gain.reshape(*[1] * (v.ndim - 1), -1), v.ndim - 1)


class OfWeight(nn.Layer):
    """A function of a weight, as a layer with parameters."""

    def __init__(self, f: Callable[..., Any], **parameters: np.ndarray) -> None:
        super().__init__()
        self.f = f
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))

    def forward(self, v: Any) -> Any:
        return self.f(v, *self.parameters())


class Thresholded(nn.Layer):
    """Filter Response Normalization followed by its activation."""

    def __init__(self, features: int, learn_eps: bool = False) -> None:
        super().__init__()
        self.norm = nn.FilterResponseNorm(features, learn_eps=learn_eps)
        self.activation = nn.TLU(features)

    def forward(self, x: Any) -> Any:
        return self.activation(self.norm(x))


def cases() -> list[Case]:
    """Return all rows of the table."""
    counted = positions((6, 3, 3, 4))
    keras = {"eps": 1e-3, "momentum": 0.01, "unbiased": False}
    there = torch_batch_norm
    flat = (16, 5)
    eps_frn = 1e-6
    return [
        batch("BatchNorm", torch=there()),
        batch("BatchNorm of rows", flat, torch=there()),
        batch("momentum=None", momentum=None, torch=there(momentum=None)),
        batch("affine=False", affine=False, torch=there()),
        batch("bias=False", bias=False, torch=there()),
        batch("track_stats=False", track_stats=False, torch=there()),
        batch("eps=1e-3, momentum=0.01, unbiased=False (Keras)", **keras),
        batch("momentum=0.01, unbiased=False (Flax)", momentum=0.01, unbiased=False),
        batch("gamma_init=0", gamma_init=0.0, torch=there()),
        batch("ghost_batch=4", ghost_batch=4, torch=there(ghost_batch=4)),
        batch("mask", mask=True, torch=there(mask=counted)),
        batch("mask, ghost_batch=4", mask=True, ghost_batch=4),
        batch("renorm", renorm=RENORM),
        batch("renorm, ghost_batch=4, momentum=None", renorm=RENORM, ghost_batch=4, momentum=None),
        batch("renorm, mask, unbiased=False", renorm=RENORM, mask=True, unbiased=False),
        batch("relu(BatchNorm + shortcut)", shortcut=True, torch=there()),
        batch(
            "relu(BatchNorm + shortcut), ghost_batch=4",
            shortcut=True,
            ghost_batch=4,
            torch=there(ghost_batch=4),
        ),
        batch(
            "relu(BatchNorm + shortcut), mask", shortcut=True, mask=True, torch=there(mask=counted)
        ),
        batch("relu(BatchNorm + shortcut), renorm", shortcut=True, renorm=RENORM),
        Case(
            "eval mode",
            lambda: nn.BatchNorm(4),
            lambda x, state, *p: formulas.batch_norm(x, *p, state, training=False),
            eval_mode=True,
            torch=torch_eval,
        ),
        Case(
            "freeze_stats, in training",
            frozen,
            lambda x, state, *p: formulas.batch_norm(x, *p, state, training=False),
            torch=torch_eval,
        ),
        Case(
            "LayerNorm",
            lambda: nn.LayerNorm(4),
            lambda x, _, *p: formulas.layer_norm(x, *p),
            torch=lambda torch, x, _, *p: torch.nn.functional.layer_norm(x, (4,), *p, EPS),
        ),
        Case(
            "LayerNorm(bias=False)",
            lambda: nn.LayerNorm(4, bias=False),
            lambda x, _, *p: formulas.layer_norm(x, *p),
            torch=lambda torch, x, _, g: torch.nn.functional.layer_norm(x, (4,), g, None, EPS),
        ),
        Case(
            "LayerNorm((3, 4))",
            lambda: nn.LayerNorm((3, 4)),
            lambda x, _, *p: formulas.layer_norm(x, *p, axis=(-2, -1)),
            torch=lambda torch, x, _, *p: torch.nn.functional.layer_norm(x, (3, 4), *p, EPS),
        ),
        Case(
            "RMSNorm((3, 4), bias=True)",
            lambda: nn.RMSNorm((3, 4), bias=True),
            lambda x, _, gamma, beta: formulas.rms_norm(x, gamma, EPS, beta, (-2, -1)),
        ),
        Case(
            "RMSNorm",
            lambda: nn.RMSNorm(4),
            lambda x, _, *p: formulas.rms_norm(x, *p),
            torch=lambda torch, x, _, *p: torch.nn.functional.rms_norm(x, (4,), *p, EPS),
        ),
        Case(
            "GroupNorm(2)",
            lambda: nn.GroupNorm(2, 4),
            lambda x, _, *p: formulas.group_norm(x, 2, *p),
            torch=channels_first(
                lambda torch, x, *p: torch.nn.functional.group_norm(x, 2, *p, EPS)
            ),
        ),
        Case(
            "GroupNorm(2, bias=False)",
            lambda: nn.GroupNorm(2, 4, bias=False),
            lambda x, _, gamma: formulas.group_norm(x, 2, gamma),
            torch=channels_first(
                lambda torch, x, g: torch.nn.functional.group_norm(x, 2, g, None, EPS)
            ),
        ),
        Case(
            "InstanceNorm",
            lambda: nn.InstanceNorm(4, affine=True),
            lambda x, _, *p: formulas.instance_norm(x, *p),
            torch=channels_first(
                lambda torch, x, *p: torch.nn.functional.instance_norm(x, None, None, *p, eps=EPS)
            ),
        ),
        Case(
            "FilterResponseNorm, TLU",
            lambda: Thresholded(4),
            lambda x, _, gamma, beta, tau: formulas.threshold(
                formulas.filter_response_norm(x, gamma, beta, eps_frn), tau
            ),
        ),
        Case(
            "FilterResponseNorm(learn_eps=True), TLU",
            lambda: Thresholded(4, learn_eps=True),
            lambda x, _, eps, gamma, beta, tau: formulas.threshold(
                formulas.filter_response_norm(x, gamma, beta, eps), tau
            ),
        ),
        Case(
            "weight_norm of a Dense",
            lambda: OfWeight(md.weight_norm, gain=np.ones(5)),
            lambda v, _, gain: formulas.weight_norm(v, gain),
            flat,
            torch=torch_weight_norm,
        ),
        Case(
            "weight_norm of a Conv",
            lambda: OfWeight(md.weight_norm, gain=np.ones(5)),
            lambda v, _, gain: formulas.weight_norm(v, gain),
            (3, 3, 4, 5),
            torch=torch_weight_norm,
        ),
        Case(
            "weight_standardization of a Dense",
            lambda: OfWeight(md.weight_standardization),
            lambda v, _: formulas.weight_standardization(v),
            flat,
        ),
        Case(
            "weight_standardization of a Conv",
            lambda: OfWeight(md.weight_standardization),
            lambda v, _: formulas.weight_standardization(v),
            (3, 3, 4, 5),
        ),
    ]
