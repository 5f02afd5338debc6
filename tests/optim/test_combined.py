"""These tests check several optimizers that are combined into one."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.errors import refuses
from tests.support.optimizers import parameters

SHAPES = [(3, 4), (5,), (2, 6)]


def parts(params):
    return (
        optim.Muon([params[0]], lr=0.1),
        optim.Adam(params[1:2], lr=0.05),
        optim.Lookahead(optim.SGD(params[2:], lr=0.2, momentum=0.9), k=2),
    )


def take(optimizers, params, steps):
    for step in steps:
        rng = np.random.default_rng(step)
        for p in params:
            p.grad = rng.normal(size=p.shape).astype(p.dtype)
        for optimizer in optimizers:
            optimizer.step()


def test_a_step_is_a_step_of_each():
    params, apart = parameters(SHAPES), parameters(SHAPES)
    take([optim.Combined(*parts(params))], params, range(5))
    take(parts(apart), apart, range(5))
    assert [p.data.tobytes() for p in params] == [p.data.tobytes() for p in apart]


def test_it_is_an_optimizer():
    params = parameters(SHAPES)
    inside = parts(params)
    optimizer = optim.Combined(*inside)
    assert [group["lr"] for group in optimizer.groups] == [0.1, 0.05, 0.2]
    assert optimizer.lr == 0.1
    schedule = optim.StepLR(optimizer, 1, gamma=0.5)
    schedule.step()
    assert [inner.lr for inner in inside] == [0.05, 0.025, 0.1]
    optimizer.lr = 0.3
    assert [inner.lr for inner in inside] == [0.3, 0.3, 0.3]
    assert optimizer.state == {}
    take([optimizer], params, [0])
    assert set(optimizer.state) == set(params)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)
    assert repr(optimizer).startswith("Combined(Muon(1 parameters")


def test_an_interrupted_training_continues_bit_for_bit(tmp_path):
    params = parameters(SHAPES)
    optimizer = optim.Combined(*parts(params))
    take([optimizer], params, range(3))
    md.save(tmp_path / "state", optimizer.state_dict())
    again = [nn.Parameter(p.data.copy()) for p in params]
    take([optimizer], params, range(3, 7))
    other = optim.Combined(*parts(again))
    other.load_state_dict(md.load(tmp_path / "state"))
    take([other], again, range(3, 7))
    assert [p.data.tobytes() for p in again] == [p.data.tobytes() for p in params]


def test_where_one_refuses_a_step_none_is_taken():
    params = parameters(SHAPES)
    optimizer = optim.Combined(*parts(params))
    for wrong in ({"lr": np.nan}, {"momentum": -1}):
        before = [p.data.tobytes() for p in params], repr(optimizer.state_dict())
        last = optimizer.groups[-1]
        kept = dict(last)
        last.update(wrong)
        with refuses(ValueError, "SGD: "):
            take([optimizer], params, [0])
        last.update(kept)
        assert before == ([p.data.tobytes() for p in params], repr(optimizer.state_dict()))


def test_a_state_that_does_not_fit_changes_nothing():
    params = parameters(SHAPES)
    optimizer = optim.Combined(*parts(params))
    take([optimizer], params, range(3))
    optimizer.load_state_dict(optimizer.state_dict())
    before = repr(optimizer.state_dict())
    state = copy.deepcopy(optimizer.state_dict())
    state["optimizers"][0]["groups"][0]["lr"] = 7.0
    state["optimizers"][2]["k"] = 0
    for wrong in (state, {"optimizers": state["optimizers"][:2]}, {}, None):
        with refuses(nn.StateError, "load_state_dict of"):
            optimizer.load_state_dict(wrong)
        assert repr(optimizer.state_dict()) == before


def test_bad_arguments_are_refused():
    params = parameters(SHAPES)
    with refuses(TypeError, "Combined: needs at least one"):
        optim.Combined()
    with refuses(TypeError, "Combined: optimizers must be optimizers"):
        optim.Combined(parts(params))
    with refuses(ValueError, "Combined: two optimizers have the same parameter"):
        optim.Combined(optim.SGD(params, lr=1), optim.SGD(params[2:], lr=1))
    memory = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="Combined: two parameters share memory"):
        optim.Combined(
            optim.SGD([nn.Parameter(memory)], lr=1), optim.SGD([nn.Parameter(memory[1:])], lr=1)
        )
