"""These tests compare BatchNorm with PyTorch's, alone and in the blocks where its neighbours are
fused into it.
"""

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
    compare,
    copy_state,
    draw,
    torch_type,
)

pytestmark = small_batches

# Each rank has a shape and PyTorch's class.
RANKS = {
    "2-D": ((16, 6), tn.BatchNorm1d),
    "3-D": ((4, 9, 6), tn.BatchNorm1d),
    "4-D": ((4, 7, 5, 6), tn.BatchNorm2d),
    "5-D": ((2, 3, 4, 5, 6), tn.BatchNorm3d),
    "one image": ((1, 5, 5, 6), tn.BatchNorm2d),
    "four rows": ((4, 6), tn.BatchNorm1d),
    "wide": ((64, 515), tn.BatchNorm1d),
    "many positions": ((8, 28, 28, 32), tn.BatchNorm2d),
}
OPTIONS = {
    "default": {},
    "eps": {"eps": 0.1},
    "momentum 0.7": {"momentum": 0.7},
    "plain average": {"momentum": None},
    "not affine": {"affine": False},
    "no statistics": {"track_stats": False, "eps": 0.1},
    "neither": {"affine": False, "track_stats": False},
}


def pair_of_layers(rank, options, dtype):
    """Return our layer and PyTorch's, with gamma and beta that are not 1 and 0."""
    shape, kind = RANKS[rank]
    features = shape[-1]
    layer = nn.BatchNorm(features, **options).astype(dtype)
    if layer.gamma is not None:
        layer.gamma.data = draw("gamma", (features,), dtype, 0.5, 1.5)
        layer.beta.data = draw("beta", (features,), dtype)
    theirs = {
        "track_running_stats" if name == "track_stats" else name: value
        for name, value in options.items()
    }
    module = kind(features, **theirs).to(torch_type(dtype))
    copy_state(layer, module)
    return layer, module


def batch(rank, k, dtype):
    """Return batch k, whose channels have different means and spreads."""
    shape = RANKS[rank][0]
    spread = draw(f"spread {rank}", shape[-1:], low=0.5, high=3)
    center = draw(f"center {rank}", shape[-1:], low=-2 - k, high=2)
    x = draw(f"batch {k} {rank}", shape) * spread + center
    return x.astype(np.float32).astype(dtype)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@both_floats
def test_several_steps_and_eval(rank, options, dtype):
    """Outputs, gradients and running statistics are compared over 5 steps, and then in evaluation
    mode.
    """
    layer, module = pair_of_layers(rank, options, dtype)
    for k in range(5):
        compare(layer, module, batch(rank, k, dtype))
    if layer.num_batches is not None:
        assert layer.num_batches == 5
    layer.eval()
    module.eval()
    for k in range(5, 7):
        compare(layer, module, batch(rank, k, dtype))


@both_floats
def test_eval_before_training(dtype):
    layer, module = pair_of_layers("4-D", {}, dtype)
    compare(layer.eval(), module.eval(), batch("4-D", 0, dtype))


@both_floats
def test_frozen_statistics_are_eval_mode(dtype):
    layer, module = pair_of_layers("4-D", {}, dtype)
    for k in range(3):
        compare(layer, module, batch("4-D", k, dtype))
    layer.freeze_stats()
    module.eval()
    for k in range(3, 5):
        compare(layer, module, batch("4-D", k, dtype))


@both_floats
@pytest.mark.parametrize("given", ["both", "gamma", "beta", "neither"])
@pytest.mark.parametrize("training", [True, False])
def test_the_operation(given, training, dtype):
    """PyTorch has gamma without beta only in its function, and no beta without gamma."""
    x = batch("4-D", 1, dtype)
    gamma = draw("gamma", (6,), dtype) if given in ("both", "gamma") else None
    beta = draw("beta", (6,), dtype) if given in ("both", "beta") else None
    stats = [draw("mean", (6,), dtype), draw("var", (6,), dtype, 0.5, 2)]
    their_stats = [torch.from_numpy(a.copy()) for a in stats]
    ones = torch.ones(6, dtype=torch_type(dtype)) if given == "beta" else None
    y = md.batch_norm(x, gamma, beta, *stats, training=training, momentum=0.3, eps=1e-3)
    theirs = tn.functional.batch_norm(
        torch.from_numpy(channels_first(x)),
        *their_stats,
        ones if gamma is None else torch.from_numpy(gamma),
        None if beta is None else torch.from_numpy(beta),
        training,
        0.3,
        1e-3,
    )
    assert_close(y.data, channels_last(theirs.numpy()))
    for ours, expected in zip(stats, their_stats, strict=True):
        assert_close(ours, expected.numpy())


# ------------------------------------------------------------------------------------- blocks


class Block(nn.Layer):
    """A residual block, with a 1x1 convolution and BatchNorm as shortcut if `project` is set."""

    def __init__(self, project):
        self.conv1, self.bn1 = nn.Conv(8, 8, 3, padding=1, bias=False), nn.BatchNorm(8)
        self.conv2, self.bn2 = nn.Conv(8, 8, 3, padding=1, bias=False), nn.BatchNorm(8)
        self.conv3 = nn.Conv(8, 8, 1, bias=False) if project else None
        self.bn3 = nn.BatchNorm(8) if project else None

    def forward(self, x):
        y = self.bn2(self.conv2(md.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.conv3 is None else self.bn3(self.conv3(x))
        return md.relu(y + shortcut)


class TorchBlock(tn.Module):
    def __init__(self, project):
        super().__init__()
        self.conv1, self.bn1 = tn.Conv2d(8, 8, 3, padding=1, bias=False), tn.BatchNorm2d(8)
        self.conv2, self.bn2 = tn.Conv2d(8, 8, 3, padding=1, bias=False), tn.BatchNorm2d(8)
        self.conv3 = tn.Conv2d(8, 8, 1, bias=False) if project else None
        self.bn3 = tn.BatchNorm2d(8) if project else None

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.conv3 is None else self.bn3(self.conv3(x))
        self.closest = min(
            y.add(shortcut).abs().min().item(), self.bn1_output(x).abs().min().item()
        )
        return torch.relu(y + shortcut)

    def bn1_output(self, x):
        y = self.conv1(x)
        return tn.functional.batch_norm(y, None, None, self.bn1.weight, self.bn1.bias, True)


@pytest.mark.parametrize("project", [False, True], ids=["identity", "projection"])
@both_floats
def test_residual_blocks(project, dtype):
    md.manual_seed(5)
    block = Block(project).astype(dtype)
    for p in block.parameters():
        if p.ndim == 1:
            p.data = draw(f"norm {p.shape}", p.shape, dtype, 0.5, 1.5)
    module = TorchBlock(project).to(torch_type(dtype))
    copy_state(block, module)
    for k in range(2):
        x = draw(f"block {k}", (2, 5, 4, 8), dtype)
        compare(block, module, x)
        assert module.closest > 1e-5  # no ReLU depends on rounding
    block.eval()
    module.eval()
    compare(block, module, draw("block", (2, 5, 4, 8), dtype))


CHAINS = {
    "relu": (lambda h: md.relu(h), torch.relu),
    "relu, pool": (
        lambda h: md.max_pool(md.relu(h), 2),
        lambda h: tn.functional.max_pool2d(torch.relu(h), 2),
    ),
    "pool, relu": (
        lambda h: md.relu(md.max_pool(h, 2)),
        lambda h: torch.relu(tn.functional.max_pool2d(h, 2)),
    ),
    "used twice": (lambda h: md.relu(h) + md.tanh(h), lambda h: torch.relu(h) + torch.tanh(h)),
    "added to itself": (lambda h: md.relu(h + h), lambda h: torch.relu(h + h)),
    "tanh": (md.tanh, torch.tanh),
    "relu, global mean": (
        lambda h: md.global_avg_pool(md.relu(h)),
        lambda h: torch.relu(h).mean((2, 3)),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("mode", ["train", "eval"])
@both_floats
def test_chains(name, mode, dtype):
    ours, theirs = CHAINS[name]

    class Chain(nn.Layer):
        def __init__(self):
            self.bn = layer

        def forward(self, x):
            return ours(self.bn(x))

    class TorchChain(tn.Module):
        def __init__(self):
            super().__init__()
            self.bn = module

        def forward(self, x):
            return theirs(self.bn(x))

    layer, module = pair_of_layers("4-D", {}, dtype)
    x = batch("4-D", 0, dtype)[:, :6, :4]
    compare(layer, module, x)
    getattr(layer, mode)()
    getattr(module, mode)()
    compare(Chain(), TorchChain(), np.ascontiguousarray(x))


@both_floats
def test_a_shared_normalization(dtype):
    """It is used twice in a step, so its statistics move twice and its gradients add up."""
    layer, module = pair_of_layers("2-D", {}, dtype)
    a, b = batch("2-D", 0, dtype), batch("2-D", 1, dtype)
    (layer(a) * layer(b)).sum().backward()
    (module(torch.from_numpy(a)) * module(torch.from_numpy(b))).sum().backward()
    assert_same_gradients(layer, module)
    assert_same_state(layer, module)
