"""Optimizers against PyTorch's, over 50 steps."""

import numpy as np
import pytest
import torch

from minidl import nn, optim
from tests.parity.common import assert_close, both_floats, draw

SHAPES = [(), (5,), (3, 3, 4, 6), (70, 90)]
STEPS = 50

OPTIMIZERS = {
    # ours, PyTorch's, the options of both
    "SGD": (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    "SGD, weight decay": (optim.SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "SGD, momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "SGD, momentum and decay": (optim.SGD, torch.optim.SGD,
                                {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    "SGD, Nesterov": (optim.SGD, torch.optim.SGD,
                      {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    "Adam": (optim.Adam, torch.optim.Adam, {}),
    "Adam, options": (optim.Adam, torch.optim.Adam,
                      {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "AdamW": (optim.AdamW, torch.optim.AdamW, {}),
    "AdamW, options": (optim.AdamW, torch.optim.AdamW,
                       {"lr": 0.01, "betas": (0.5, 0.9), "weight_decay": 0.3}),
}


def gradient(k, step, p):
    """A pull towards a target, with noise; every third step the second parameter has none."""
    if k == 1 and step % 3 == 2:
        return None
    noise = draw(f"noise {k} {step}", p.shape, p.dtype, -0.3, 0.3)
    return np.asarray(p - draw(f"target {k}", p.shape, p.dtype) + noise, p.dtype)


def lr_at(step, lr):
    """A schedule: the rate changes between steps."""
    return lr * (0.5 if step >= 30 else 1 + step / 100)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("groups", [1, 2])
@both_floats
def test_fifty_steps(name, groups, dtype):
    ours, theirs, options = OPTIMIZERS[name]
    start = [draw(f"start {k}", shape, dtype) for k, shape in enumerate(SHAPES)]
    params = [nn.Parameter(np.array(a)) for a in start]
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in start]
    if groups == 1:
        optimizers = ours(params, **{"lr": 1e-3, **options}), theirs(tensors, **options)
        their_groups = optimizers[1].param_groups
    else:
        split = {"weight_decay": 0.05, "lr": 0.02}
        optimizers = [make([{"params": each[:2]}, {"params": each[2:], **split}],
                           **{"lr": 1e-3, **options})
                      for make, each in ((ours, params), (theirs, tensors))]
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
