"""These tests check schedules by steps, alone and in sequence: values, base rates, state and
errors.
"""

import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.errors import refuses
from tests.support.schedules import RATES, optimizer, run

STEPS = 25


def cosine(start, end, part):
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(count, peak, steps=20, warmup=0.3, start_div=25, final_div=1e4):
    top = warmup * steps - 1
    if count <= top:
        return cosine(peak / start_div, peak, count / top if top else 1)
    last = steps - 1
    return cosine(peak, peak / start_div / final_div, min((count - top) / (last - top), 1))


# Each name has the schedule of an optimizer, and the rate as a function of a count and a base rate.
SCHEDULES = {
    "StepLR": (lambda o: optim.StepLR(o, 3), lambda k, base: base * 0.1 ** (k // 3)),
    "StepLR, gamma": (
        lambda o: optim.StepLR(o, step_size=1, gamma=1.5),
        lambda k, base: base * 1.5**k,
    ),
    "CosineLR": (lambda o: optim.CosineLR(o, 20), lambda k, base: cosine(base, 0, min(k / 20, 1))),
    "CosineLR, min_lr": (
        lambda o: optim.CosineLR(o, steps=7, min_lr=0.01),
        lambda k, base: cosine(base, 0.01, min(k / 7, 1)),
    ),
    "WarmupLR": (lambda o: optim.WarmupLR(o, 10), lambda k, base: base * min(k / 10, 1)),
    "WarmupLR, start": (
        lambda o: optim.WarmupLR(o, steps=4, start=0.25),
        lambda k, base: base * min(0.25 + 0.75 * k / 4, 1),
    ),
    "MultiStepLR": (
        lambda o: optim.MultiStepLR(o, [3, 10, 12]),
        lambda k, base: base * 0.1 ** ((k >= 3) + (k >= 10) + (k >= 12)),
    ),
    "MultiStepLR, gamma": (
        lambda o: optim.MultiStepLR(o, milestones=[5, 5, 2, 9], gamma=0.5),
        lambda k, base: base * 0.5 ** ((k >= 2) + 2 * (k >= 5) + (k >= 9)),
    ),
    "LinearLR": (lambda o: optim.LinearLR(o, 20), lambda k, base: base * max(0, 1 - k / 20)),
    "LinearLR, end": (
        lambda o: optim.LinearLR(o, steps=[6, 20], end=0.25),
        lambda k, base: base * max(0.25, 1 - 0.75 * k / (6 if base == RATES[0] else 20)),
    ),
    "OneCycleLR": (lambda o: optim.OneCycleLR(o, 3.0, 20), lambda k, base: one_cycle(k, 3.0)),
    "OneCycleLR, options": (
        lambda o: optim.OneCycleLR(o, RATES, 24, warmup=0.5, start_div=10, final_div=5),
        lambda k, base: one_cycle(k, base, 24, 0.5, 10, 5),
    ),
    "OneCycleLR, down only": (
        lambda o: optim.OneCycleLR(o, 3.0, 20, warmup=0),
        lambda k, base: one_cycle(k, 3.0, warmup=0),
    ),
    "OneCycleLR, top at once": (
        lambda o: optim.OneCycleLR(o, 3.0, 20, warmup=1 / 20),
        lambda k, base: one_cycle(k, 3.0, warmup=1 / 20),
    ),
    "SequenceLR": (
        lambda o: optim.SequenceLR(
            [optim.WarmupLR(o, 5), optim.CosineLR(o, 10), optim.StepLR(o, 2)], [5, 15]
        ),
        lambda k, base: (
            base * k / 5
            if k < 5
            else cosine(base, 0, (k - 5) / 10)
            if k < 15
            else base * 0.1 ** ((k - 15) // 2)
        ),
    ),
    "SequenceLR of a sequence": (
        lambda o: optim.SequenceLR(
            [
                optim.StepLR(o, 1, 0.5),
                optim.SequenceLR([optim.WarmupLR(o, 4), optim.StepLR(o, 2)], [4]),
            ],
            [3],
        ),
        lambda k, base: (
            base * 0.5**k
            if k < 3
            else base * (k - 3) / 4
            if k < 7
            else base * 0.1 ** ((k - 7) // 2)
        ),
    ),
}
every_schedule = pytest.mark.parametrize("make, rate", SCHEDULES.values(), ids=SCHEDULES)


@every_schedule
def test_the_rates_by_the_formula(make, rate):
    o = optimizer()
    found = run(make(o), STEPS)
    expected = [[rate(k, base) for base in RATES] for k in range(STEPS + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-17)
    assert len({tuple(row) for row in found}) > 3


@every_schedule
def test_the_optimizer_uses_them(make, rate):
    o = optimizer()
    schedule = make(o)
    schedule.step()
    for group in o.groups:
        group["params"][0].grad = np.ones(1)
    o.step()
    assert [group["params"][0].item() for group in o.groups] == [-lr for lr in schedule.lr]
    assert all(type(lr) is float for lr in schedule.lr)


@every_schedule
def test_what_else_sets_a_rate_does_not_last(make, rate):
    o = optimizer()
    schedule = make(o)
    o.lr = 77.0
    assert schedule.lr == [77.0, 77.0]
    schedule.step()
    np.testing.assert_allclose(schedule.lr, [rate(1, base) for base in RATES], rtol=1e-13)


def test_the_schedule_after_a_used_one_starts_from_the_rates_there_are():
    o = optimizer()
    run(optim.StepLR(o, 1, gamma=0.5), 2)
    assert optim.CosineLR(o, 10).base == [rate / 4 for rate in RATES]


@pytest.mark.parametrize("load", [False, True])
def test_a_used_schedule_that_is_back_at_its_first_rates_is_still_used(load):
    o = optimizer()
    schedule = optim.OneCycleLR(o, 4.0, 9, start_div=8, final_div=1)
    if load:
        used = optim.OneCycleLR(optimizer(), 4.0, 9, start_div=8, final_div=1)
        run(used, 9)
        schedule.load_state_dict(used.state_dict())
    else:
        run(schedule, 9)
    assert schedule.lr == optim.StepLR(o, 2).base == [0.5, 0.5]


def test_schedules_made_one_after_another_have_one_base():
    o = optimizer()
    made = [optim.WarmupLR(o, 3), optim.OneCycleLR(o, 7.0, 10), optim.StepLR(o, 3)]
    assert [schedule.base for schedule in made] == [RATES] * 3
    o.lr = 0.125
    assert optim.CosineLR(o, 3).base == [0.125, 0.125]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_sequence_may_be_made_in_any_order(order):
    def rates(order):
        o = optimizer()
        makers = [
            lambda: optim.WarmupLR(o, 2),
            lambda: optim.CosineLR(o, 5, 0.25),
            lambda: optim.OneCycleLR(o, 3.0, 8),
        ]
        made = {i: makers[i]() for i in order}
        return run(optim.SequenceLR([made[i] for i in range(3)], [2, 6]), 15)

    np.testing.assert_array_equal(rates(order), rates([0, 1, 2]))


# -------------------------------------------------------------------------------------- state


@every_schedule
@pytest.mark.parametrize("taken", [0, 1, 6, 24])
def test_an_interrupted_run_continues_with_the_same_rates(make, rate, taken, tmp_path):
    schedule = make(optimizer())
    run(schedule, taken)
    state = schedule.state_dict()
    kept = copy.deepcopy(state)
    md.save(tmp_path / "state", state)
    expected = run(schedule, 10)
    assert state == kept
    for source in (state, md.load(tmp_path / "state")):
        other = make(optimizer([0.01, 0.02]) if "max_lr" not in state else optimizer())
        run(other, 3)
        other.load_state_dict(source)
        assert other.state_dict() == kept
        np.testing.assert_array_equal(run(other, 10), expected)
    assert state == kept


def test_loading_takes_the_options_over():
    o = optimizer()
    schedule = optim.StepLR(o, 3)
    other = optim.StepLR(optimizer(), 2, gamma=0.25)
    run(other, 2)
    schedule.load_state_dict(other.state_dict())
    assert repr(schedule) == repr(other)
    assert schedule.lr == [rate / 4 for rate in RATES]


def changed(**entries):
    state = optim.StepLR(optimizer(), 3).state_dict()
    state.update(entries)
    return {name: value for name, value in state.items() if value is not None}


BAD_STATES = {
    "none": lambda: None,
    "a list": lambda: [1, 2],
    "an optimizer's": lambda: optimizer().state_dict(),
    "another schedule's": lambda: optim.CosineLR(optimizer(), 3).state_dict(),
    "a plateau's": lambda: optim.ReduceOnPlateau(optimizer()).state_dict(),
    "one group": lambda: optim.StepLR(optimizer([1.0]), 3).state_dict(),
    "no count": lambda: changed(count=None),
    "an entry too many": lambda: changed(steps=3),
    "a count below 0": lambda: changed(count=-1),
    "half a count": lambda: changed(count=1.5),
    "a base below 0": lambda: changed(base=[1.0, -1.0]),
    "a base that is a number": lambda: changed(base=1.0),
    "an option out of range": lambda: changed(step_size=0),
    "an option of another type": lambda: changed(gamma="0.1"),
}


@pytest.mark.parametrize("make", BAD_STATES.values(), ids=BAD_STATES)
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "in a sequence"])
def test_a_state_that_does_not_fit_changes_nothing(make, nested):
    o = optimizer()
    schedule = optim.StepLR(o, 3, gamma=0.5)
    state = make()
    if nested:
        schedule = optim.SequenceLR([optim.WarmupLR(o, 2), schedule], [2])
        first = optim.WarmupLR(optimizer([7.0, 8.0]), 5).state_dict()
        state = {**schedule.state_dict(), "count": 9, "schedules": [first, state]}
    run(schedule, 4)
    before = schedule.state_dict(), schedule.lr
    with refuses(nn.StateError, "load_state_dict of StepLR"):
        schedule.load_state_dict(state)
    assert (schedule.state_dict(), schedule.lr) == before


@pytest.mark.parametrize(
    "entries",
    [
        {"schedules": []},
        {"schedules": None},
        {"schedules": 3},
        {"milestones": [2, 4]},
        {"milestones": 2},
        {"milestones": []},
        {"milestones": [0]},
        {"milestones": [1.5]},
        {"count": "a"},
        {"extra": 1},
    ],
)
def test_a_sequence_refuses_other_states(entries):
    o = optimizer()
    schedule = optim.SequenceLR([optim.WarmupLR(o, 2), optim.StepLR(o, 2)], [2])
    run(schedule, 5)
    before = schedule.state_dict(), schedule.lr
    with refuses(nn.StateError, "load_state_dict of SequenceLR"):
        schedule.load_state_dict({**before[0], **entries})
    with refuses(nn.StateError, "load_state_dict of SequenceLR"):
        schedule.load_state_dict(optim.StepLR(o, 2).state_dict())
    assert schedule.state_dict() == before[0]


# ------------------------------------------------------------------------- repr, other errors


def test_repr():
    o = optimizer([1.0])
    step = optim.StepLR(o, 2)
    assert repr(step) == "StepLR(step_size=2, gamma=0.1, count=0, lr=[1.0])"
    warm = optim.WarmupLR(o, 4)
    sequence = optim.SequenceLR([warm, step], [4])
    sequence.step()
    assert repr(sequence) == (
        "SequenceLR([WarmupLR(steps=4, start=0.0, count=0, lr=[0.25]), "
        "StepLR(step_size=2, gamma=0.1, count=0, lr=[0.25])], [4], count=1, lr=[0.25])"
    )


def two(o):
    return [optim.StepLR(o, 1), optim.StepLR(o, 2)]


ERRORS = [
    ("StepLR", lambda o: optim.StepLR(o, 0), ValueError, ["step_size", ">= 1", "got 0"]),
    ("StepLR", lambda o: optim.StepLR(o, 1.5), TypeError, ["step_size", "an int", "1.5"]),
    ("StepLR", lambda o: optim.StepLR(o, True), TypeError, ["step_size", "True"]),
    ("StepLR", lambda o: optim.StepLR(o, 1, gamma=0), ValueError, ["gamma", "> 0", "0"]),
    ("StepLR", lambda o: optim.StepLR(o, 1, gamma="a"), TypeError, ["gamma", "number", "'a'"]),
    ("StepLR", lambda o: optim.StepLR(o.groups, 1), TypeError, ["optimizer", "list"]),
    ("MultiStepLR", lambda o: optim.MultiStepLR(o, 3), TypeError, ["milestones", "3"]),
    ("MultiStepLR", lambda o: optim.MultiStepLR(o, [0]), ValueError, ["milestones", "0"]),
    ("LinearLR", lambda o: optim.LinearLR(o, 0), ValueError, ["steps", "0"]),
    ("LinearLR", lambda o: optim.LinearLR(o, [1]), ValueError, ["steps", "list of 2"]),
    ("LinearLR", lambda o: optim.LinearLR(o, 3, -1), ValueError, ["end", ">= 0", "-1"]),
    ("CosineLR", lambda o: optim.CosineLR(o, 0), ValueError, ["steps", "0"]),
    ("CosineLR", lambda o: optim.CosineLR(o, None), TypeError, ["steps", "None"]),
    ("CosineLR", lambda o: optim.CosineLR(o, 3, -1), ValueError, ["min_lr", ">= 0", "-1"]),
    ("CosineLR", lambda o: optim.CosineLR(o, 3, math.nan), ValueError, ["min_lr", "nan"]),
    ("WarmupLR", lambda o: optim.WarmupLR(o, -3), ValueError, ["steps", "-3"]),
    ("WarmupLR", lambda o: optim.WarmupLR(o, 3, 1.5), ValueError, ["start", "0 to 1", "1.5"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, -1, 9), ValueError, ["max_lr", "-1"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, [1.0], 9), ValueError, ["max_lr", "list of 2"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, [1.0, None], 9), TypeError, ["max_lr[1]"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, None, 9), TypeError, ["max_lr", "None"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, 1, 0), ValueError, ["steps", "0"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, 1, 9, warmup=2), ValueError, ["warmup", "2"]),
    ("OneCycleLR", lambda o: optim.OneCycleLR(o, 1, 9, start_div=0), ValueError, ["start_div"]),
    (
        "OneCycleLR",
        lambda o: optim.OneCycleLR(o, 1, 9, final_div=math.inf),
        ValueError,
        ["final_div", "inf"],
    ),
    ("OneCycleLR", lambda o: optim.OneCycleLR(None, 1, 9), TypeError, ["optimizer", "None"]),
    ("SequenceLR", lambda o: optim.SequenceLR([], []), ValueError, ["schedules", "empty"]),
    ("SequenceLR", lambda o: optim.SequenceLR(two(o), []), ValueError, ["milestones", "1", "[]"]),
    ("SequenceLR", lambda o: optim.SequenceLR(two(o), [1, 2]), ValueError, ["milestones"]),
    (
        "SequenceLR",
        lambda o: optim.SequenceLR([*two(o), *two(o)], [1, 3, 3]),
        ValueError,
        ["milestones", "increasing", "[1, 3, 3]"],
    ),
    ("SequenceLR", lambda o: optim.SequenceLR(two(o), [0]), ValueError, ["milestones[0]", ">= 1"]),
    ("SequenceLR", lambda o: optim.SequenceLR(two(o), 3), TypeError, ["milestones", "list", "3"]),
    ("SequenceLR", lambda o: optim.SequenceLR([o], []), TypeError, ["schedules", "SGD"]),
    (
        "SequenceLR",
        lambda o: optim.SequenceLR([optim.ReduceOnPlateau(o)], []),
        TypeError,
        ["schedules", "ReduceOnPlateau"],
    ),
    (
        "SequenceLR",
        lambda o: optim.SequenceLR([*two(o)[:1], *two(optimizer())[:1]], [1]),
        ValueError,
        ["one optimizer"],
    ),
]


@pytest.mark.parametrize(
    "name, call, error, words",
    ERRORS,
    ids=[f"{name} {' '.join(words)}" for name, *_, words in ERRORS],
)
def test_errors_name_the_schedule_and_the_argument(name, call, error, words):
    o = optimizer()
    with refuses(error, name, *words):
        call(o)
    assert [group["lr"] for group in o.groups] == RATES
