"""These tests check that options and states without sensible numbers are refused, and change
nothing.
"""

import copy

import numpy as np
import pytest

from minidl import nn, optim
from tests.support.errors import refuses

KINDS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "LARS": lambda p: optim.LARS(p, lr=0.1),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def two_groups(kind, taken=2):
    """Return an optimizer with two groups that has taken some steps."""
    optimizer = kind(
        [
            {"params": [nn.Parameter(np.ones((2, 2), np.float32))]},
            {"params": [nn.Parameter(np.ones(3, np.float32))]},
        ]
    )
    for _ in range(taken):
        step(optimizer)
    return optimizer


def step(optimizer):
    for group in optimizer.groups:
        for p in group["params"]:
            p.grad = np.full(p.shape, 0.5, p.dtype)
    optimizer.step()


def everything(optimizer):
    return [p.data.tobytes() for group in optimizer.groups for p in group["params"]] + [
        repr(optimizer.state_dict())
    ]


@every_kind
@pytest.mark.parametrize(
    "rate", [np.nan, np.inf, -0.1, np.float32("nan"), "0.1", None, True], ids=repr
)
def test_a_rate_set_later(kind, rate):
    optimizer = two_groups(kind)
    before = everything(optimizer)
    with refuses((TypeError, ValueError), type(optimizer).__name__, "lr", repr(rate)):
        optimizer.lr = rate
    assert everything(optimizer) == before
    # A rate of the last group is bad, and the first group must not move either.
    optimizer.groups[1]["lr"] = rate
    before = everything(optimizer)
    with refuses((TypeError, ValueError), type(optimizer).__name__, "lr", repr(rate)):
        step(optimizer)
    assert everything(optimizer) == before
    optimizer.lr = np.float32(0.5)
    step(optimizer)
    assert everything(optimizer) != before


@every_kind
def test_other_options_set_later(kind):
    optimizer = two_groups(kind)
    for name, value in optimizer.groups[1].items():
        if name == "params":
            continue
        wrong = (0.9, np.nan) if name == "betas" else "no" if isinstance(value, bool) else np.nan
        optimizer.groups[1][name] = wrong
        before = everything(optimizer)
        with refuses((TypeError, ValueError), name, "nan" if wrong != "no" else "no"):
            step(optimizer)
        assert everything(optimizer) == before
        optimizer.groups[1][name] = value
    step(optimizer)


@every_kind
@pytest.mark.parametrize("count", [-1, 2**53 + 1, 10**30, True, 1.5, "3", None, np.nan], ids=repr)
def test_step_counts(kind, count):
    optimizer = two_groups(kind)
    state = two_groups(kind, 3).state_dict()
    state["state"]["1"]["step"] = count
    before = everything(optimizer)
    with refuses(
        nn.StateError,
        f"load_state_dict of {type(optimizer).__name__}",
        "step of parameter 1",
        repr(count),
    ):
        optimizer.load_state_dict(state)
    assert everything(optimizer) == before
    for expected in (0, np.int64(7), 2**53):
        state["state"]["1"]["step"] = expected
        optimizer.load_state_dict(state)
        assert optimizer.state_dict()["state"]["1"]["step"] == expected


@every_kind
def test_arrays_of_a_state(kind):
    optimizer = two_groups(kind)
    state = two_groups(kind, 3).state_dict()
    before = everything(optimizer)
    for name in optimizer.state_names:
        expected = state["state"]["1"][name]
        wrong = [
            np.array([0, np.nan, 0]),
            expected.astype(complex),
            expected.astype(str),
            expected[:2],
        ]
        if name in ("square", "sum"):
            wrong.append(-1 - expected)
        else:
            wrong += [np.array([0, 1, -np.inf]), np.full(3, 1e300)]  # these are beyond float32
        for value in wrong:
            state["state"]["1"][name] = value
            with refuses(nn.StateError, f"{name} of parameter 1"):
                optimizer.load_state_dict(state)
            assert everything(optimizer) == before
        state["state"]["1"][name] = expected.tolist()
    optimizer.load_state_dict(state)  # a list of numbers is as good as an array


@every_kind
def test_options_of_a_state(kind):
    optimizer = two_groups(kind)
    before = everything(optimizer)
    for name, value in optimizer.groups[0].items():
        if name != "params":
            state = copy.deepcopy(two_groups(kind, 3).state_dict())
            state["groups"][1][name] = (
                (np.nan, 0.9) if name == "betas" else "no" if isinstance(value, bool) else np.nan
            )
            with refuses(nn.StateError, name):
                optimizer.load_state_dict(state)
            assert everything(optimizer) == before


# Schedules


class Made(optim.Schedule):
    """A schedule that returns the given rate at its third step."""

    third = 0.5

    def _rate(self, base, count):
        return self.third if count == 3 else base


@pytest.mark.parametrize("rate", [np.nan, np.inf, -1.0, "1", None], ids=repr)
def test_rates_of_a_schedule(rate):
    optimizer = two_groups(KINDS["SGD"])
    schedule = Made(optimizer)
    schedule.third = rate
    schedule.step()
    schedule.step()
    with refuses((TypeError, ValueError), "Made, step 3: lr", repr(rate)):
        schedule.step()
    assert schedule.count == 2 and schedule.lr == [0.1, 0.1]
    schedule.third = 0.25
    schedule.step()
    assert schedule.count == 3 and schedule.lr == [0.25, 0.25]


def test_rates_beyond_all_numbers():
    optimizer = two_groups(KINDS["SGD"])
    schedule = optim.StepLR(optimizer, 1, gamma=1e200)
    schedule.step()
    before = schedule.state_dict()
    with refuses(ValueError, "StepLR, step 2", "too large"):
        schedule.step()
    with refuses(nn.StateError, "load_state_dict of StepLR", "too large"):
        schedule.load_state_dict({**before, "count": 3})
    assert schedule.state_dict() == before
    sequence = optim.SequenceLR(
        [optim.StepLR(optimizer, 1, gamma=1e200), optim.StepLR(optimizer, 2)], [5]
    )
    before = sequence.state_dict()
    with refuses(nn.StateError, "too large"):
        sequence.load_state_dict({**before, "count": 4})
    assert sequence.state_dict() == before


@pytest.mark.parametrize(
    "entries",
    [
        {"count": 2**53 + 1},
        {"count": True},
        {"count": -1},
        {"base": [np.nan, 0.1]},
        {"steps": 10**400},
        {"min_lr": np.nan},
    ],
    ids=str,
)
def test_states_of_schedules(entries):
    schedule = optim.CosineLR(two_groups(KINDS["SGD"]), 10)
    before = schedule.state_dict()
    with refuses(nn.StateError, "load_state_dict of CosineLR", *entries):
        schedule.load_state_dict({**before, **entries})
    assert schedule.state_dict() == before


@pytest.mark.parametrize(
    "entries",
    [{"best": np.nan}, {"best": True}, {"best": "1"}, {"bad": 2**60}, {"lr": [np.inf, 1.0]}],
    ids=str,
)
def test_states_of_plateaus(entries):
    schedule = optim.ReduceOnPlateau(two_groups(KINDS["SGD"]))
    before = schedule.state_dict()
    with refuses(nn.StateError, "load_state_dict of ReduceOnPlateau", *entries):
        schedule.load_state_dict({**before, **entries})
    assert schedule.state_dict() == before


def test_a_metric_must_be_a_number():
    schedule = optim.ReduceOnPlateau(two_groups(KINDS["SGD"]))
    for metric in ("0.5", b"1", None, [1, 2]):
        with refuses(TypeError, "metric must be a number", repr(metric)):
            schedule.step(metric)
    schedule.step(np.float32(0.5))
    assert schedule.best == 0.5


def test_flags_are_flags():
    for value in ("False", None, 2, 0.5):
        with refuses(TypeError, "nesterov must be True or False", repr(value)):
            optim.SGD([nn.Parameter([1.0])], lr=0.1, momentum=0.9, nesterov=value)
    assert optim.SGD([nn.Parameter([1.0])], lr=0.1, momentum=0.9, nesterov=np.True_)


@pytest.mark.parametrize("scalar", [np.float16, np.float32, np.int64, np.uint8])
@pytest.mark.parametrize(
    "kind, options",
    [
        (optim.SGD, {"momentum": 0}),
        (optim.Adam, {"eps": 1}),
        (optim.AdamW, {"eps": 1}),
        (optim.RMSprop, {"eps": 1}),
        (optim.Adagrad, {"lr_decay": 3, "eps": 1}),
        (optim.LARS, {"trust": 1}),
        (optim.Muon, {"momentum": 0}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_numpys_scalars_as_options_compute_as_pythons_numbers(kind, options, scalar):
    """200 times 2 is more than a uint8 holds."""
    found = []
    for make in (float, scalar):
        p = nn.Parameter(np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3))
        optimizer = kind(
            [p],
            lr=make(200),
            weight_decay=make(2),
            **{name: make(value) for name, value in options.items()},
        )
        for _ in range(3):
            p.grad = np.ones((2, 3), np.float32)
            optimizer.step()
        found.append(p.data.tobytes())
    assert found[0] == found[1]


def test_the_largest_rate():
    p = nn.Parameter(np.ones((1, 1), np.float32))
    optimizer = optim.Muon([p], 2**63, weight_decay=np.int64(1))
    p.grad = np.ones((1, 1), np.float32)
    optimizer.step()
    assert np.isfinite(p.data).all()
