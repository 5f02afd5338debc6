"""These tests check Lookahead: its formula, what it passes on, interruption, errors."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.optimizers import parameters

SHAPES = [(3, 4), (5,), (200, 150)]
INNER = [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p, lr=0.05)]
every_inner = pytest.mark.parametrize("inner", INNER, ids=["SGD", "Adam"])


def take(optimizer, params, steps):
    for step in steps:
        rng = np.random.default_rng(step)
        for p in params:
            p.grad = (p.data + rng.normal(size=p.shape)).astype(p.dtype)
        optimizer.step()


@every_inner
@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (1, 0.8), (3, 0.0), (2, 1.0)])
@both_floats
@both_backends
def test_the_formula(inner, k, alpha, dtype, backend):
    params, plain = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    optimizer, alone = optim.Lookahead(inner(params), k, alpha), inner(plain)
    slow = [p.data.astype(np.float64) for p in plain]
    with md.use_backend(backend):
        for step in range(11):
            take(optimizer, params, [step])
            take(alone, plain, [step])
            if (step + 1) % k == 0:
                for i, p in enumerate(plain):
                    slow[i] = slow[i] + alpha * (p.data - slow[i])
                    p.data[...] = slow[i]
            for p, q in zip(params, plain, strict=True):
                close(p.data, q.data, 2)


@every_inner
def test_an_interrupted_training_continues_bit_for_bit(inner, tmp_path):
    params = parameters(SHAPES)
    optimizer = optim.Lookahead(inner(params), k=3)
    take(optimizer, params, range(4))
    weights = [p.data.copy() for p in params]
    state = optimizer.state_dict()
    md.save(tmp_path / "state", state)
    kept = copy.deepcopy(state)
    take(optimizer, params, range(4, 9))
    assert repr(state) == repr(kept)
    again = [nn.Parameter(w) for w in weights]
    other = optim.Lookahead(inner(again), k=9, alpha=1)
    other.load_state_dict(md.load(tmp_path / "state"))
    take(other, again, range(4, 9))
    assert [p.data.tobytes() for p in again] == [p.data.tobytes() for p in params]


def test_a_state_from_before_the_first_step():
    params, again = parameters(SHAPES), parameters(SHAPES)
    first = optim.Lookahead(INNER[0](params))
    state = first.state_dict()
    assert state["slow"] is None and state["count"] == 0
    other = optim.Lookahead(INNER[0](again))
    take(other, again, range(3))
    other.load_state_dict(state)
    for p, q in zip(params, again, strict=True):
        q.data[...] = p.data
    for optimizer, given in ((first, params), (other, again)):
        take(optimizer, given, range(7))
    assert [p.data.tobytes() for p in again] == [p.data.tobytes() for p in params]


def test_it_takes_the_place_of_its_optimizer():
    params = parameters(SHAPES)
    inner = optim.SGD([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], lr=1.0)
    optimizer = optim.Lookahead(inner)
    assert isinstance(optimizer, optim.Optimizer) and optimizer.groups is inner.groups
    schedule = optim.StepLR(optimizer, 1, gamma=0.5)
    schedule.step()
    assert [group["lr"] for group in inner.groups] == [0.5, 0.25]
    optimizer.lr = 0.125
    assert inner.lr == 0.125
    for p in params:
        p.grad = np.ones(p.shape, p.dtype)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)
    assert repr(optimizer).startswith("Lookahead(SGD(3 parameters")
    assert optimizer.state is inner.state


def test_parameters_without_gradient_are_left_alone():
    moving, still = parameters(SHAPES)[:2]
    still.requires_grad = False
    still.data.flags.writeable = False  # as in a folded model
    start = still.data.copy()
    optimizer = optim.Lookahead(optim.SGD([moving, still], lr=0.1), k=2)
    take(optimizer, [moving], range(4))
    assert np.array_equal(still.data, start)


def test_weights_loaded_before_the_first_step_are_where_it_starts():
    p = nn.Parameter(np.zeros(2))
    optimizer = optim.Lookahead(optim.SGD([p], lr=1), k=1, alpha=0.5)
    p.data[...] = 8
    p.grad = np.full(2, -2.0)
    optimizer.step()
    assert np.array_equal(p.data, [9, 9])


def test_a_pull_is_a_change_that_backward_sees():
    p = nn.Parameter(np.ones((2, 2)))
    loss = (p * p).sum()
    optimizer = optim.Lookahead(optim.SGD([p], lr=1), k=1)
    p.grad = np.ones((2, 2))
    optimizer.step()
    with pytest.raises(RuntimeError, match="has changed them since"):
        loss.backward()


def test_bad_arguments_are_refused():
    params = parameters(SHAPES)
    inner = INNER[0](params)
    with refuses(TypeError, "Lookahead: optimizer must be an optimizer"):
        optim.Lookahead(params)
    for k in (0, -1):
        with refuses(ValueError, "Lookahead: k", repr(k)):
            optim.Lookahead(inner, k)
    for alpha in (-0.1, 1.5, np.nan):
        with refuses(ValueError, "Lookahead: alpha", repr(alpha)):
            optim.Lookahead(inner, alpha=alpha)
    with refuses(TypeError, "Lookahead: k", "2.5"):
        optim.Lookahead(inner, 2.5)


def test_a_step_that_fails_changes_nothing():
    params = parameters(SHAPES)
    optimizer = optim.Lookahead(INNER[0](params), k=1)
    optimizer.groups[0]["lr"] = np.nan
    before = [p.data.tobytes() for p in params]
    with refuses(ValueError, "SGD: lr"):
        take(optimizer, params, [0])
    assert optimizer.count == 0 and optimizer.slow is None
    assert [p.data.tobytes() for p in params] == before


@pytest.mark.parametrize(
    "entries",
    [
        {"k": 0},
        {"alpha": 2},
        {"count": -1},
        {"slow": [np.ones(2)]},
        {"slow": 3},
        {"slow": [np.zeros((3, 4)), np.zeros(4), np.zeros((200, 150))]},
        {"optimizer": None},
        {"other": 1},
    ],
    ids=lambda entries: " ".join(entries),
)
def test_a_state_that_does_not_fit_changes_nothing(entries):
    params = parameters(SHAPES)
    optimizer = optim.Lookahead(INNER[0](params), k=2)
    take(optimizer, params, range(3))
    before = repr(optimizer.state_dict())
    state = {**optimizer.state_dict(), "k": 7, **entries}
    with refuses(nn.StateError, "load_state_dict of"):
        optimizer.load_state_dict(state)
    assert repr(optimizer.state_dict()) == before
