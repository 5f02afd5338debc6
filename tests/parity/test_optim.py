"""These tests compare optimizers and clipping with PyTorch's, over 50 steps."""

import numpy as np
import pytest
import torch

from minidl import nn, optim
from tests.support.parity import assert_close, both_floats, draw

SHAPES = [(), (5,), (3, 3, 4, 6), (70, 90)]
STEPS = 50


class TorchLARS(torch.optim.SGD):
    """LARS by PyTorch's SGD, because PyTorch has no LARS: each gradient with two axes or more is
    scaled first.
    """

    def __init__(self, params, lr, momentum=0.9, trust=0.001, eps=1e-8, weight_decay=0):
        super().__init__(params, lr=lr, momentum=momentum)
        for group in self.param_groups:
            group["trust"], group["eps"] = trust, eps
            group["decay"] = group["weight_decay"] or weight_decay
            group["weight_decay"] = 0

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.ndim > 1:
                    p_norm, g_norm = p.detach().norm(), p.grad.norm()
                    decay = group["decay"]
                    rate = group["trust"] * p_norm / (g_norm + decay * p_norm + group["eps"])
                    p.grad = rate * (p.grad + decay * p.detach())
        super().step()


OPTIMIZERS = {
    # Each entry has our optimizer, PyTorch's, and the options of both.
    "SGD": (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    "SGD, weight decay": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "SGD, momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "SGD, momentum and decay": (
        optim.SGD,
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    ),
    "SGD, Nesterov": (
        optim.SGD,
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
    ),
    "Adam": (optim.Adam, torch.optim.Adam, {}),
    "Adam, options": (
        optim.Adam,
        torch.optim.Adam,
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1},
    ),
    "AdamW": (optim.AdamW, torch.optim.AdamW, {}),
    "AdamW, options": (
        optim.AdamW,
        torch.optim.AdamW,
        {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.3},
    ),
    "RMSprop": (optim.RMSprop, torch.optim.RMSprop, {"lr": 0.01}),
    "RMSprop, momentum": (
        optim.RMSprop,
        torch.optim.RMSprop,
        {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9},
    ),
    "RMSprop, centered": (optim.RMSprop, torch.optim.RMSprop, {"lr": 0.01, "centered": True}),
    "RMSprop, options": (
        optim.RMSprop,
        torch.optim.RMSprop,
        {
            "lr": 1e-3,
            "alpha": 0.95,
            "eps": 1e-3,
            "weight_decay": 0.1,
            "momentum": 0.5,
            "centered": True,
        },
    ),
    "Adagrad": (optim.Adagrad, torch.optim.Adagrad, {"lr": 0.01}),
    "Adagrad, options": (
        optim.Adagrad,
        torch.optim.Adagrad,
        {"lr": 0.1, "eps": 1e-3, "initial": 0.5, "lr_decay": 0.05, "weight_decay": 0.1},
    ),
    "LARS": (optim.LARS, TorchLARS, {"lr": 0.05, "trust": 0.1}),
    "LARS, options": (
        optim.LARS,
        TorchLARS,
        {"lr": 0.05, "momentum": 0.5, "trust": 0.5, "eps": 0.1, "weight_decay": 0.01},
    ),
    "LARS, no momentum": (
        optim.LARS,
        TorchLARS,
        {"lr": 0.1, "momentum": 0, "trust": 0.5, "weight_decay": 0.1},
    ),
}
THEIR_NAMES = {"initial": "initial_accumulator_value"}  # where the names differ


def gradient(k, step, p):
    """Return a pull towards a target, with noise. The second parameter has no gradient in every
    third step.
    """
    if k == 1 and step % 3 == 2:
        return None
    noise = draw(f"noise {k} {step}", p.shape, p.dtype, -0.3, 0.3)
    return np.asarray(p - draw(f"target {k}", p.shape, p.dtype) + noise, p.dtype)


def lr_at(step, lr):
    """Return the rate of a schedule, which changes between steps."""
    return lr * (0.5 if step >= 30 else 1 + step / 100)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("groups", [1, 2])
@both_floats
def test_fifty_steps(name, groups, dtype):
    ours, theirs, options = OPTIMIZERS[name]
    their_options = {THEIR_NAMES.get(key, key): value for key, value in options.items()}
    start = [draw(f"start {k}", shape, dtype) for k, shape in enumerate(SHAPES)]
    params = [nn.Parameter(np.array(a)) for a in start]
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in start]
    if groups == 1:
        optimizers = ours(params, **{"lr": 1e-3, **options}), theirs(tensors, **their_options)
        their_groups = optimizers[1].param_groups
    else:
        split = {"weight_decay": 0.05, "lr": 0.02}
        optimizers = [
            make([{"params": each[:2]}, {"params": each[2:], **split}], **{"lr": 1e-3, **given})
            for make, each, given in ((ours, params, options), (theirs, tensors, their_options))
        ]
        their_groups = optimizers[1].param_groups
    rates = [group["lr"] for group in their_groups]
    assert [group["lr"] for group in optimizers[0].groups] == rates
    for step in range(STEPS):
        for both in (optimizers[0].groups, their_groups):
            for group, rate in zip(both, rates, strict=True):
                group["lr"] = lr_at(step, rate)
        for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
            p.grad = gradient(k, step, p.data)
            g = gradient(k, step, t.detach().numpy())
            t.grad = None if g is None else torch.from_numpy(g)
        for optimizer in optimizers:
            optimizer.step()
        if step % 10 == 9:
            for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
                assert_close(p.data, t.detach().numpy(), f"parameter {k}, step {step}")
    moved = [np.abs(p.data - a).max() for p, a in zip(params, start, strict=True)]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("max_norm", [0.1, 20.0, 80.0, 1e6])
@both_floats
def test_clipped_gradients(max_norm, dtype):
    params = [nn.Parameter(np.zeros(shape, dtype)) for shape in SHAPES]
    tensors = [torch.zeros(shape, dtype=torch.from_numpy(params[0].data).dtype) for shape in SHAPES]
    for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
        p.grad = draw(f"gradient {k}", p.shape, dtype)
        t.grad = torch.from_numpy(p.grad.copy())
    norm = optim.clip_grad_norm(params, max_norm)
    assert norm == pytest.approx(
        torch.nn.utils.clip_grad_norm_(tensors, max_norm).item(),
        rel=1e-6 if dtype == np.float32 else 1e-13,
    )
    for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
        assert_close(p.grad, t.grad.numpy(), f"gradient {k}", tolerance=0.1)
    assert 80 < norm < 100
