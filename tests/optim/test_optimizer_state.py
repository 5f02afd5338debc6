"""These tests check the state of optimizers: it is a plain copy, can be loaded, and is refused
where it does not fit.
"""

import copy

import numpy as np
import pytest

from minidl import nn, optim
from tests.support.errors import refuses
from tests.support.optimizers import steps
from tests.support.tensors import parameter


def test_a_state_needs_what_its_options_need():
    source = optim.RMSprop([parameter(3)])
    steps(source)
    state = source.state_dict()
    optimizer = optim.RMSprop([parameter(3)], centered=True, momentum=0.9)
    optimizer.load_state_dict(state)
    assert not optimizer.groups[0]["centered"]
    state["groups"][0]["centered"] = True
    with refuses(nn.StateError, "RMSprop", "another optimizer's"):
        optimizer.load_state_dict(state)


def trained(options=None, count=3):
    optimizer = optim.SGD(
        [{"params": [parameter(2), parameter(3)]}, {"params": [parameter(4)], "lr": 0.5}],
        lr=0.1,
        momentum=0.9,
        **(options or {}),
    )
    steps(optimizer, count)
    return optimizer


def assert_equal(a, b):
    """Compare two states, which are dicts of dicts with arrays in them."""
    assert a["groups"] == b["groups"] and a["state"].keys() == b["state"].keys()
    for number, values in a["state"].items():
        assert values.keys() == b["state"][number].keys()
        for name, value in values.items():
            np.testing.assert_array_equal(value, b["state"][number][name])


def test_a_state_is_plain_and_a_copy():
    optimizer = trained()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["groups"]] == [0.1, 0.5]
    assert sorted(state["state"]) == ["0", "1", "2"]
    np.testing.assert_allclose(state["state"]["2"]["velocity"], np.full(4, 2.71), rtol=1e-6)
    kept = copy.deepcopy(state)
    steps(optimizer)
    assert_equal(state, kept)
    other = trained(count=0)
    other.load_state_dict(state)
    steps(other)
    assert_equal(state, kept)


def test_loading_takes_the_options_over():
    source = trained({"weight_decay": 0.25})
    source.groups[1]["lr"] = 0.75
    optimizer = trained()
    optimizer.load_state_dict(source.state_dict())
    assert_equal(optimizer.state_dict(), source.state_dict())
    assert optimizer.lr == 0.1 and optimizer.groups[1]["lr"] == 0.75


@pytest.mark.parametrize("taken", [0, 3])
def test_a_state_with_momentum_in_an_optimizer_without_is_refused_or_right(taken):
    source = optim.SGD([parameter(3)], lr=0.1, momentum=0.9)
    steps(source, taken)
    plain = nn.Parameter(source.groups[0]["params"][0].data.copy())
    optimizer = optim.SGD([plain], lr=0.1)
    try:
        optimizer.load_state_dict(source.state_dict())
    except nn.StateError:
        assert optimizer.groups[0]["momentum"] == 0
        return
    for each in (source, optimizer):
        steps(each, 3)
    np.testing.assert_array_equal(plain.data, source.groups[0]["params"][0].data)


def changed(**entries):
    """Return the state of the same optimizer, with entries of parameter 0 replaced or removed."""
    state = trained().state_dict()
    for name, value in entries.items():
        state["state"]["0"][name] = value
        if value is None:
            del state["state"]["0"][name]
    return state


def with_number(number):
    state = trained().state_dict()
    state["state"][number] = state["state"].pop("2")
    return state


p, q = parameter(2), parameter(3)
BAD_STATES = {
    "none": lambda: None,
    "a number": lambda: 3,
    "a model's": lambda: nn.Dense(2, 2).state_dict(),
    "fewer groups": lambda: optim.SGD([p, q], lr=0.1, momentum=0.9).state_dict(),
    "other groups": lambda: optim.SGD(
        [{"params": [p]}, {"params": [q, parameter(4)]}], lr=0.1, momentum=0.9
    ).state_dict(),
    "Adam's": lambda: optim.Adam([{"params": [p, q]}, {"params": [parameter(4)]}]).state_dict(),
    "no velocity": lambda: changed(velocity=None),
    "no step": lambda: changed(step=None),
    "another entry": lambda: changed(mean=np.ones(2)),
    "another shape": lambda: changed(velocity=np.ones(3)),
    "a number for an array": lambda: changed(velocity=1.0),
    "a parameter too many": lambda: with_number("3"),
    "a parameter below 0": lambda: with_number("-1"),
    "a name for a number": lambda: with_number("fc1.weight"),
}


@pytest.mark.parametrize("make", BAD_STATES.values(), ids=BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(make):
    optimizer = trained()
    before = optimizer.state_dict()
    with pytest.raises((nn.StateError, TypeError), match="load_state_dict of SGD"):
        optimizer.load_state_dict(make())
    assert_equal(optimizer.state_dict(), before)
