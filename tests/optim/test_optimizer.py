"""These tests check what optimizers share: parameter groups, options and errors."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close
from tests.support.errors import refuses
from tests.support.optimizers import KINDS, every_kind, steps
from tests.support.tensors import parameter


def test_groups_have_options_of_their_own():
    a, b, c = parameter(2), parameter(3), parameter(4)
    optimizer = optim.SGD(
        [
            {"params": [a], "lr": 1.0},
            {"params": (p for p in [b]), "weight_decay": 0.5},
            {"params": c, "momentum": 0.9},
        ],
        lr=0.1,
    )
    assert [group["lr"] for group in optimizer.groups] == [1.0, 0.1, 0.1]
    steps(optimizer)
    close(a.data, np.full(2, 1 - 1.0 - 1.0))
    once = 1 - 0.1 * (1 + 0.5 * 1)
    close(b.data, np.full(3, once - 0.1 * (1 + 0.5 * once)))
    close(c.data, np.full(4, 1 - 0.1 * 1 - 0.1 * 1.9))


@every_kind
@pytest.mark.parametrize(
    "given",
    [
        lambda p: [p],
        lambda p: (p,),
        lambda p: iter([p]),
        lambda p: p,
        lambda p: {"params": p},
        lambda p: [{"params": [p]}],
    ],
    ids=["list", "tuple", "iterator", "tensor", "group", "groups"],
)
def test_parameters_may_be_given_in_many_ways(kind, given):
    p = parameter(3)
    optimizer = kind(given(p), lr=0.5)
    assert optimizer.groups[0]["params"][0] is p
    steps(optimizer, 1)
    assert (p.data < 0.6).all()


def test_defaults():
    options = {
        kind.__name__: {
            k: v for k, v in kind([parameter(1)], lr=0.1).groups[0].items() if k != "params"
        }
        for kind in KINDS
    }
    adam = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}
    assert options == {
        "SGD": {"lr": 0.1, "momentum": 0, "nesterov": False, "weight_decay": 0},
        "Adam": adam,
        "AdamW": {**adam, "weight_decay": 0.01},
        "RMSprop": {
            "lr": 0.1,
            "alpha": 0.99,
            "eps": 1e-8,
            "momentum": 0,
            "centered": False,
            "weight_decay": 0,
        },
        "Adagrad": {"lr": 0.1, "eps": 1e-10, "initial": 0.0, "lr_decay": 0, "weight_decay": 0},
        "LARS": {"lr": 0.1, "momentum": 0.9, "trust": 0.001, "eps": 1e-8, "weight_decay": 0},
    }
    assert optim.Adam([parameter(1)]).lr == optim.AdamW([parameter(1)]).lr == 1e-3
    assert optim.RMSprop([parameter(1)]).lr == optim.Adagrad([parameter(1)]).lr == 0.01


def test_the_learning_rate_may_be_read_and_set():
    a, b = parameter(1), parameter(1)
    optimizer = optim.SGD([{"params": a}, {"params": b, "lr": 3.0}], lr=0.5)
    assert optimizer.lr == 0.5
    optimizer.groups[1]["lr"] = 0.25
    steps(optimizer, 1)
    assert (a.item(), b.item()) == (0.5, 0.75)
    optimizer.lr = 0.125
    steps(optimizer, 1)
    assert (a.item(), b.item()) == (0.375, 0.625)


def test_a_momentum_set_later_is_used():
    early, late = parameter(2), parameter(2)
    optimizers = optim.SGD([early], lr=0.1, momentum=0.9), optim.SGD([late], lr=0.1)
    optimizers[1].groups[0]["momentum"] = 0.9
    for optimizer in optimizers:
        steps(optimizer, 3)
    np.testing.assert_array_equal(late.data, early.data)


def test_an_option_set_between_steps_starts_its_state_from_zero():
    p = parameter(2)
    optimizer = optim.RMSprop([p], lr=0.1)
    steps(optimizer, 1)
    assert sorted(optimizer.state[p]) == ["square", "step"]
    optimizer.groups[0].update(momentum=0.9, centered=True)
    steps(optimizer, 1)
    assert sorted(optimizer.state[p]) == ["mean", "square", "step", "velocity"]
    close(optimizer.state[p]["mean"], np.full(2, 0.01))
    root = np.sqrt(1 - 0.99**2 - 0.01**2)
    close(optimizer.state[p]["velocity"], np.full(2, 1 / root))


def test_groups_start_adagrad_from_values_of_their_own():
    a, b = parameter(2), parameter(3)
    optimizer = optim.Adagrad([{"params": a, "initial": 3.0}, {"params": b}], lr=1.0)
    steps(optimizer, 1)
    close(a.data, np.full(2, 0.5))
    np.testing.assert_array_equal(b.data, np.zeros(3))
    np.testing.assert_array_equal(optimizer.state[a]["sum"], np.full(2, 4.0))


@every_kind
def test_zero_grad_and_repr(kind):
    a, b = parameter(1), parameter(2)
    optimizer = kind([{"params": a}, {"params": [b]}], lr=0.5)
    a.grad = np.ones(1, np.float32)
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None
    assert repr(optimizer).startswith(f"{kind.__name__}(2 parameters in 2 group(s), lr=0.5")


p, q = parameter(2), parameter(3)
ERRORS = [
    (lambda kind: kind([], lr=0.1), ValueError, ["params is empty"]),
    (lambda kind: kind([p, q, p], lr=0.1), ValueError, ["twice"]),
    (lambda kind: kind([{"params": p}, {"params": [q, p]}], lr=0.1), ValueError, ["twice"]),
    (lambda kind: kind([p * 2], lr=0.1), ValueError, ["leaf"]),
    (lambda kind: kind([np.ones(2)], lr=0.1), TypeError, ["tensors", "ndarray"]),
    (lambda kind: kind(np.ones((2, 3)), lr=0.1), TypeError, ["tensors", "ndarray"]),
    (lambda kind: kind([{"params": np.ones(2)}], lr=0.1), TypeError, ["tensors", "float64"]),
    (lambda kind: kind(3, lr=0.1), TypeError, ["a list of parameters, or of groups", "3"]),
    (lambda kind: kind([{"params": 3}], lr=0.1), TypeError, ["a list of tensors", "3"]),
    (lambda kind: kind(itertools.count(), lr=0.1), TypeError, ["tensors", "int"]),
    (lambda kind: kind(nn.Dense(2, 2).named_parameters(), lr=0.1), TypeError, ["tuple"]),
    (lambda kind: kind([{"weights": [p]}], lr=0.1), TypeError, ['"params"']),
    (lambda kind: kind([{"params": [p]}, q], lr=0.1), TypeError, ['"params"']),
    (lambda kind: kind([{"params": [p], "speed": 1}], lr=0.1), ValueError, ["'speed'", "lr"]),
    (lambda kind: kind([p], lr=-0.1), ValueError, ["lr", "-0.1"]),
    (lambda kind: kind([p], lr=np.nan), ValueError, ["lr", "nan"]),
    (lambda kind: kind([p], lr=0.1, weight_decay=-1), ValueError, ["weight_decay", "-1"]),
    (lambda kind: kind([{"params": p, "lr": -2}], lr=0.1), ValueError, ["lr", "-2"]),
]


@every_kind
@pytest.mark.parametrize("call, error, words", ERRORS, ids=[" ".join(w) for *_, w in ERRORS])
def test_errors_name_the_optimizer_and_what_is_wrong(kind, call, error, words):
    with refuses(error, kind.__name__, *words):
        call(kind)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: optim.SGD([p], lr=0.1, momentum=-0.5), ["momentum", "-0.5"]),
        (lambda: optim.SGD([p], lr=0.1, nesterov=True), ["nesterov", "momentum"]),
        (lambda: optim.SGD([{"params": p, "nesterov": True}], lr=0.1), ["nesterov", "momentum"]),
        (lambda: optim.Adam([p], betas=(0.9, 1.0)), ["betas", "1.0"]),
        (lambda: optim.AdamW([p], betas=(-0.1, 0.9)), ["AdamW", "betas", "-0.1"]),
        (lambda: optim.Adam([p], betas=(0.9,)), ["betas", "0.9"]),
        (lambda: optim.Adam([p], eps=-1e-8), ["eps", "-1e-08"]),
        (lambda: optim.RMSprop([p], alpha=1.0), ["RMSprop", "alpha", "1.0"]),
        (lambda: optim.RMSprop([p], alpha=-0.1), ["alpha", "-0.1"]),
        (lambda: optim.RMSprop([p], momentum=-0.1), ["RMSprop", "momentum", "-0.1"]),
        (lambda: optim.RMSprop([p], eps=np.nan), ["eps", "nan"]),
        (lambda: optim.Adagrad([p], initial=-1), ["Adagrad", "initial", "-1"]),
        (lambda: optim.Adagrad([p], lr_decay=-1), ["Adagrad", "lr_decay", "-1"]),
        (lambda: optim.LARS([p], lr=1, trust=-1), ["LARS", "trust", "-1"]),
        (lambda: optim.LARS([p], lr=1, momentum=-1), ["LARS", "momentum", "-1"]),
        (lambda: optim.LARS([{"params": p, "eps": -1}], lr=1), ["LARS", "eps", "-1"]),
    ],
)
def test_errors_of_single_options(call, words):
    with refuses(ValueError, *words):
        call()


def test_betas_that_are_no_numbers():
    with refuses(TypeError, "Adam", "betas[0]", "'a'"):
        optim.Adam([parameter(2)], betas=("a", 0.9))
    with refuses(ValueError, "Adam", "betas[1]", "< 1", "got 1"):
        optim.Adam([parameter(2)], betas=(0.9, 1))
    with refuses(ValueError, "Adam", "betas", "pair"):
        optim.Adam([parameter(2)], betas=(0.9, 0.9, 0.9))
    with refuses(TypeError, "AdamW", "betas", "0.9"):
        optim.AdamW([parameter(2)], betas=0.9)
    with refuses(TypeError, "SGD", "lr", "'a'"):
        optim.SGD([parameter(2)], lr="a")


def test_what_was_made_without_a_graph_and_then_learns():
    p = md.tensor(np.ones(2, np.float32)) * 0.5
    p.requires_grad = True
    q = nn.Parameter(np.zeros(2, np.float32))
    q.data = (p * 2).data
    for x in (p, q):
        x.grad = md.ones(2) * 0.5
        x.grad *= 2
        optim.SGD([x], lr=0.25).step()
    close(p.data, np.full(2, 0.25, np.float32))
    close(q.data, np.full(2, 0.75, np.float32))


def test_parameters_made_of_results_learn():
    layer = nn.Dense(3, 2)
    layer.weight = nn.Parameter(md.ones((3, 2)) * 0.1)
    layer(md.ones((4, 3))).sum().backward()
    optim.SGD(layer.parameters(), lr=0.1).step()
    close(layer.weight.data, np.full((3, 2), 0.1 - 0.4, np.float32))


@pytest.mark.parametrize(
    "kind", [*KINDS, optim.Muon, lambda p, lr: optim.Lookahead(optim.SGD(p, lr), k=2)]
)
def test_one_group_of_both_float_dtypes_steps_as_two_optimizers(kind):
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)

    def made():
        return nn.Parameter(values[0]), nn.Parameter(values[1].astype(np.float64))

    together, alone = made(), made()
    steps(kind(together, lr=0.1), 3)
    for p in alone:
        steps(kind([p], lr=0.1), 3)
    for p, q in zip(together, alone, strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p.data, q.data)
