"""These tests compare schedules with PyTorch's: the rates of two groups, step by step, and a
training with them.
"""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

from minidl import nn, optim
from tests.support.parity import assert_close, both_floats, draw

RATES = [0.1, 0.03]
STEPS = 50

# Each name has our schedule of an optimizer, and PyTorch's.
SCHEDULES = {
    "StepLR": (lambda o: optim.StepLR(o, 10), lambda o: theirs.StepLR(o, 10)),
    "StepLR, gamma": (
        lambda o: optim.StepLR(o, 7, gamma=0.6),
        lambda o: theirs.StepLR(o, 7, gamma=0.6),
    ),
    "MultiStepLR": (
        lambda o: optim.MultiStepLR(o, [4, 9, 15, 30], gamma=0.3),
        lambda o: theirs.MultiStepLR(o, [4, 9, 15, 30], gamma=0.3),
    ),
    "LinearLR": (
        lambda o: optim.LinearLR(o, 12, end=0.125),
        lambda o: theirs.LinearLR(o, 1.0, end_factor=0.125, total_iters=12),
    ),
    "CosineLR": (lambda o: optim.CosineLR(o, STEPS), lambda o: theirs.CosineAnnealingLR(o, STEPS)),
    "CosineLR, min_lr": (
        lambda o: optim.CosineLR(o, STEPS, min_lr=0.005),
        lambda o: theirs.CosineAnnealingLR(o, STEPS, eta_min=0.005),
    ),
    "WarmupLR": (
        lambda o: optim.WarmupLR(o, 20, start=0.01),
        lambda o: theirs.LinearLR(o, start_factor=0.01, total_iters=20),
    ),
    "WarmupLR, start": (
        lambda o: optim.WarmupLR(o, 7, start=0.5),
        lambda o: theirs.LinearLR(o, start_factor=0.5, total_iters=7),
    ),
    **{
        f"OneCycleLR, {options}": (
            lambda o, options=options: optim.OneCycleLR(o, [1.0, 0.5], STEPS + 1, **options),
            lambda o, options=options: theirs.OneCycleLR(
                o,
                [1.0, 0.5],
                STEPS + 1,
                cycle_momentum=False,
                **{
                    {
                        "warmup": "pct_start",
                        "start_div": "div_factor",
                        "final_div": "final_div_factor",
                    }[key]: value
                    for key, value in options.items()
                },
            ),
        )
        for options in (
            {},
            {"warmup": 0.5},
            {"warmup": 0.0},
            {"warmup": 0.123},
            {"warmup": 0.9, "start_div": 4.0, "final_div": 10.0},
        )
    },
    "SequenceLR": (
        lambda o: optim.SequenceLR(
            [optim.WarmupLR(o, 5, 0.1), optim.CosineLR(o, 25, 1e-3), optim.StepLR(o, 5)], [5, 30]
        ),
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.LinearLR(o, 0.1, total_iters=5),
                theirs.CosineAnnealingLR(o, 25, 1e-3),
                theirs.StepLR(o, 5),
            ],
            [5, 30],
        ),
    ),
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*lr_scheduler.step.*:UserWarning", "ignore:.*epoch parameter.*:UserWarning"
)


def pair(dtype=np.float64, start=((2,), (3, 4))):
    """Return our optimizer and PyTorch's, with two groups that have different rates, and their
    parameters.
    """
    arrays = [draw(f"start {k}", shape, dtype) for k, shape in enumerate(start)]
    params = [nn.Parameter(np.array(a)) for a in arrays]
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    makers = (optim.SGD, params), (torch.optim.SGD, tensors)
    return (
        params,
        tensors,
        *(
            make(
                [{"params": [p], "lr": lr} for p, lr in zip(each, RATES, strict=True)],
                lr=1.0,
                momentum=0.9,
            )
            for make, each in makers
        ),
    )


def their_rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULES)
@both_floats
def test_fifty_steps_of_training(name, dtype):
    params, tensors, ours, torchs = pair(dtype)
    make, make_theirs = SCHEDULES[name]
    schedule, their_schedule = make(ours), make_theirs(torchs)
    seen = set()
    for step in range(STEPS + 1):
        # PyTorch computes some of these from the previous rate, which adds up rounding errors.
        np.testing.assert_allclose(
            schedule.lr, their_rates(torchs), rtol=1e-11, atol=1e-15, err_msg=f"step {step}"
        )
        seen.add(schedule.lr[0])
        for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
            noise = draw(f"noise {k} {step}", p.shape, dtype)
            p.grad = p.data + noise
            t.grad = t.detach() + torch.from_numpy(noise)
        ours.step()
        torchs.step()
        if step < STEPS:
            schedule.step()
            their_schedule.step()
    assert len(seen) >= 5
    for k, (p, t) in enumerate(zip(params, tensors, strict=True)):
        assert_close(p.data, t.detach().numpy(), f"parameter {k}")


PLATEAUS = {
    "defaults": {},
    "patience": {"factor": 0.5, "patience": 3},
    "cooldown": {"factor": 0.7, "patience": 1, "cooldown": 4},
    "max": {"factor": 0.5, "patience": 2, "mode": "max", "threshold": 0.05},
    "threshold": {"factor": 0.5, "patience": 2, "threshold": 0.1, "min_lr": 0.01},
}


@pytest.mark.parametrize("options", PLATEAUS.values(), ids=PLATEAUS)
@pytest.mark.parametrize(
    "metrics",
    [
        [1.0] * STEPS,
        [10 / (1 + k) for k in range(STEPS)],
        [5 + (k * 7 % 11) / 3 - k / 20 for k in range(STEPS)],
        [3 - k / 40 if k < 30 else float("nan") for k in range(STEPS)],
    ],
    ids=["constant", "falling", "noisy", "NaN"],
)  # below 0 the two differ, see test_plateau
def test_plateaus(metrics, options):
    _, _, ours, torchs = pair()
    schedule = optim.ReduceOnPlateau(ours, **options)
    their_schedule = theirs.ReduceLROnPlateau(torchs, **options)
    for metric in metrics:
        schedule.step(metric)
        their_schedule.step(metric)
        # PyTorch makes no reduction by less than 1e-8.
        np.testing.assert_allclose(schedule.lr, their_rates(torchs), rtol=1e-14, atol=1e-8)
        assert (schedule.best, schedule.bad, schedule.cooling) == (
            their_schedule.best,
            their_schedule.num_bad_epochs,
            their_schedule.cooldown_counter,
        )
