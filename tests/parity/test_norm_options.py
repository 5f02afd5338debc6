"""These tests compare BatchNorm's options with PyTorch, whose BatchNorm gets what the option leaves
of a batch.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn as tn

import minidl as md
from minidl import nn
from tests.support.marks import small_batches
from tests.support.parity import (
    assert_close,
    assert_same_gradients,
    assert_same_state,
    both_floats,
    channels_first,
    channels_last,
    copy_state,
    draw,
    torch_type,
)
from tests.support.reference import norm as formulas

pytestmark = [
    small_batches,
    pytest.mark.filterwarnings("ignore:recalibrate. the running statistics"),
]
SHAPE = (11, 3, 5, 6)


def pair(dtype, options=None, **ours):
    layer = nn.BatchNorm(6, **(options or {}), **ours).astype(dtype)
    layer.gamma.data, layer.beta.data = (
        draw("gamma", (6,), dtype, 0.5, 1.5),
        draw("beta", (6,), dtype),
    )
    module = tn.BatchNorm1d(6, **(options or {})).to(torch_type(dtype))
    copy_state(layer, module)
    return layer, module


def train(layer, module, run, x, shortcut, dy, mask=None):
    """Run relu(bn(x) + shortcut) forward and backward. `run` is PyTorch's."""
    t, s = (md.tensor(a, requires_grad=True) for a in (x, shortcut))
    their_t, their_s = (torch.from_numpy(a.copy()).requires_grad_() for a in (x, shortcut))
    layer.zero_grad()
    module.zero_grad()
    y, their_y = md.relu(layer(t, mask) + s), torch.relu(run(their_t) + their_s)
    y.backward(dy)
    their_y.backward(torch.from_numpy(dy))
    assert_close(y.data, their_y.detach().numpy(), "output")
    assert_close(t.grad, their_t.grad.numpy(), "gradient of x")
    assert_close(s.grad, their_s.grad.numpy(), "gradient of the shortcut")
    assert_same_gradients(layer, module)
    assert_same_state(layer, module)


def batch(k, dtype):
    return (draw(f"{name} {k}", SHAPE, dtype) + dtype(0.1 * k) for name in ("x", "shortcut", "dy"))


@both_floats
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("size", [1, 4, 5, 10, 11])
def test_ghosts_are_batches_one_by_one(size, momentum, dtype):
    layer, module = pair(dtype, {"momentum": momentum}, ghost_batch=size)

    def chunks(x):
        parts = [module(part.reshape(-1, 6)) for part in x.split(size)]
        return torch.cat(parts).reshape(x.shape)

    for k in range(4):
        train(layer, module, chunks, *batch(k, dtype))
    assert layer.num_batches == 4 * -(-11 // size)
    layer.eval()
    module.eval()
    train(layer, module, chunks, *batch(5, dtype))


@both_floats
@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_a_mask_is_the_batch_of_what_it_leaves(momentum, size, dtype):
    layer, module = pair(dtype, {"momentum": momentum, "eps": 0.01}, ghost_batch=size)

    def masked(x):
        y = torch.zeros_like(x)
        step = size if size and module.training else len(x)
        for first in range(0, len(x), step):
            counted = torch.zeros(x.shape[:-1], dtype=torch.bool)
            counted[first : first + step] = torch.from_numpy(mask)[first : first + step]
            if counted.any():
                y[counted] = module(x[counted])
        return y

    for k in range(4):
        mask = draw(f"mask {k}", SHAPE[:-1]) > 0.5
        mask[8:] &= k != 2  # nothing of one virtual batch counts
        train(layer, module, masked, *batch(k, dtype), mask)
    layer.eval()
    module.eval()
    train(layer, module, masked, *batch(5, dtype), mask)


@both_floats
def test_padded_sequences(dtype):
    """The lengths are 2 to 9, and the statistics are those of the true steps only."""
    lengths = np.arange(2, 10)
    x = draw("sequences", (8, 9, 6), dtype)
    mask = np.arange(9) < lengths[:, None]
    x[~mask] = np.nan
    layer, module = pair(dtype)
    y = layer(x, mask).data
    theirs = module(torch.from_numpy(x[mask])).detach().numpy()
    assert_close(y[mask], theirs)
    assert not y[~mask].any()
    assert_same_state(layer, module)


@both_floats
@pytest.mark.parametrize(
    "options",
    [
        {"eps": 1e-3, "momentum": 0.01, "unbiased": False},  # the defaults of Keras
        {"eps": 1e-5, "momentum": 0.01, "unbiased": False},  # and those of Flax
        {"momentum": None, "unbiased": False},
    ],
    ids=["keras", "flax", "average"],
)
def test_biased_running_variance(options, dtype):
    """Training outputs are PyTorch's, and running statistics are those of the formula."""
    layer, module = pair(dtype, {"eps": options.get("eps", 1e-5)})
    layer = nn.BatchNorm(6, **options).astype(dtype)
    layer.load_state_dict(pair(dtype)[0].state_dict())
    state = {"mean": np.zeros(6), "var": np.ones(6), "batches": 0}
    for k in range(5):
        x = next(batch(k, dtype))
        y = layer(x).data
        assert_close(y, module(torch.from_numpy(x.reshape(-1, 6))).detach().numpy().reshape(SHAPE))
        formulas.batch_norm(
            x.astype(np.float64), layer.gamma.data, layer.beta.data, state, **options
        )
    assert_close(layer.running_mean, state["mean"].astype(dtype))
    assert_close(layer.running_var, state["var"].astype(dtype))


def test_recalibrate_is_the_population_of_each_layer():
    """PyTorch runs batch by batch with batch statistics, and the inputs of each of its layers are
    kept.
    """
    md.manual_seed(2)
    model = nn.Sequential(
        nn.Conv(3, 5, 3, bias=False),
        nn.BatchNorm(5),
        nn.ReLU(),
        nn.Conv(5, 4, 1, bias=False),
        nn.BatchNorm(4),
    ).astype(np.float64)
    module = tn.Sequential(
        tn.Conv2d(3, 5, 3, bias=False),
        tn.BatchNorm2d(5),
        tn.ReLU(),
        tn.Conv2d(5, 4, 1, bias=False),
        tn.BatchNorm2d(4),
    ).double()
    copy_state(model, module)
    inputs = {1: [], 4: []}
    for at, kept in inputs.items():
        module[at].register_forward_hook(
            lambda _, given, y, kept=kept: kept.append(channels_last(given[0].detach().numpy()))
        )
    given = [draw(f"images {n}", (n, 6, 5, 3)) * n for n in (2, 7, 4)]
    with torch.no_grad():
        for x in given:
            module(torch.from_numpy(channels_first(x)))
    report = nn.recalibrate(model, given)
    for at, gap in zip(inputs, report.gaps, strict=True):
        rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in inputs[at]])
        layer = model.children()[at]
        assert_close(layer.running_mean, rows.mean(0))
        assert_close(layer.running_var, rows.var(0))
        assert gap.values == len(rows)
    evaluated = copy.deepcopy(module).eval()
    copy_state(model, evaluated)
    with torch.no_grad():
        theirs = evaluated(torch.from_numpy(channels_first(given[0])))
    assert_close(model.eval()(given[0]).data, channels_last(theirs.numpy()))
