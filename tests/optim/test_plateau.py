"""These tests check ReduceOnPlateau: when it reduces and by how much, its state and its errors."""

import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.errors import refuses
from tests.support.schedules import RATES, optimizer


def run(schedule, metrics):
    """Return the rates of the first group, relative to its first rate."""
    rates = []
    for metric in metrics:
        schedule.step(metric)
        rates.append(schedule.lr[0] / RATES[0])
    return rates


CASES = {
    # Each entry has options, metrics, and the rates after each metric.
    "improving": ({"patience": 0}, [3, 2, 1, 0.5], [1, 1, 1, 1]),
    "patience": ({"patience": 2}, [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
    "an improvement in between": ({"patience": 1}, [3, 3, 2, 2, 2], [1, 1, 1, 1, 0.5]),
    "max": ({"patience": 0, "mode": "max"}, [1, 2, 3, 3, 2], [1, 1, 1, 0.5, 0.25]),
    "a threshold": ({"patience": 0, "threshold": 0.1}, [10, 9.5, 8.9], [1, 0.5, 0.5]),
    "a threshold, max": (
        {"patience": 0, "threshold": 0.1, "mode": "max"},
        [10, 10.5, 11.5],
        [1, 0.5, 0.5],
    ),
    "no threshold": ({"patience": 0, "threshold": 0}, [10, 9.999999, 9.999999], [1, 1, 0.5]),
    "a cooldown": ({"patience": 0, "cooldown": 2}, [1] * 7, [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    "a smallest rate": ({"patience": 0, "min_lr": 0.15}, [1] * 4, [1, 0.5, 0.3, 0.3]),
    "NaN": ({"patience": 0}, [1, math.nan, 0.5], [1, 0.5, 0.5]),
    "NaN first": ({"patience": 1}, [math.nan, math.nan, 1, 1, 1], [1, 0.5, 0.5, 0.5, 0.25]),
    "below 0": ({"patience": 0}, [-1, -1.1, -1.1, -1.09, -2], [1, 1, 0.5, 0.25, 0.25]),
    "below 0, max": (
        {"patience": 0, "mode": "max"},
        [-1, -0.9, -0.9, -0.91, -0.5],
        [1, 1, 0.5, 0.25, 0.25],
    ),
    "below 0, a threshold": (
        {"patience": 0, "threshold": 0.1},
        [-10, -10.5, -11.5, -11.5, 0],
        [1, 0.5, 0.5, 0.25, 0.125],
    ),
    "below 0, a threshold, max": (
        {"patience": 0, "threshold": 0.1, "mode": "max"},
        [-10, -9.5, -8.5, 0, 0],
        [1, 0.5, 0.5, 0.5, 0.25],
    ),
    "through 0": ({"patience": 0, "threshold": 0.5}, [1, 0.4, 0, -0.1], [1, 1, 1, 1]),
    "a threshold above 1": (
        {"patience": 0, "threshold": 3},
        [10, 1, -19, -21, -80],
        [1, 0.5, 0.25, 0.25, 0.125],
    ),
    "infinity": ({"patience": 0}, [math.inf, 1e300], [0.5, 0.5]),
}


@pytest.mark.parametrize("options, metrics, rates", CASES.values(), ids=CASES)
def test_when_it_reduces(options, metrics, rates):
    schedule = optim.ReduceOnPlateau(optimizer(), factor=0.5, **options)
    assert run(schedule, metrics) == rates


def test_all_groups_are_reduced_and_none_is_raised():
    o = optimizer([0.5, 2.0, 0.01])
    schedule = optim.ReduceOnPlateau(o, factor=0.1, patience=0, min_lr=0.1)
    for _ in range(3):
        schedule.step(1.0)
    np.testing.assert_allclose(schedule.lr, [0.1, 0.1, 0.01], rtol=1e-15)


def test_defaults():
    schedule = optim.ReduceOnPlateau(optimizer())
    assert schedule.options == {
        "factor": 0.1,
        "patience": 10,
        "threshold": 1e-4,
        "mode": "min",
        "min_lr": 0.0,
        "cooldown": 0,
    }
    assert schedule.lr == RATES


@pytest.mark.parametrize("metric", [2, np.float32(2), np.array(2.0), md.tensor(2.0)])
def test_metrics_of_any_kind(metric):
    schedule = optim.ReduceOnPlateau(optimizer())
    schedule.step(metric)
    assert schedule.best == 2.0 and type(schedule.best) is float


def test_it_reduces_what_there_is():
    o = optimizer()
    schedule = optim.ReduceOnPlateau(o, factor=0.5, patience=0)
    schedule.step(1)
    o.lr = 8.0
    schedule.step(1)
    assert schedule.lr == [4.0, 4.0]


METRICS = [5, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("taken", [0, 3, 4, 9, 12])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_interrupted_run_continues_with_the_same_rates(taken, mode, tmp_path):
    schedule = optim.ReduceOnPlateau(optimizer(), 0.5, 1, cooldown=1, mode=mode)
    run(schedule, METRICS[:taken])
    state = schedule.state_dict()
    kept = copy.deepcopy(state)
    md.save(tmp_path / "state", state)
    expected = run(schedule, METRICS[taken:])
    assert expected[-1] < expected[0]
    for source in (state, md.load(tmp_path / "state")):
        other = optim.ReduceOnPlateau(optimizer([3.0, 4.0]))
        other.load_state_dict(source)
        assert other.state_dict() == kept
        assert run(other, METRICS[taken:]) == expected
    assert state == kept


@pytest.mark.parametrize(
    "entries",
    [
        {"best": None},
        {"best": "low"},
        {"bad": -1},
        {"bad": 1.5},
        {"cooling": None},
        {"lr": [1.0]},
        {"lr": 1.0},
        {"lr": [1.0, -1.0]},
        {"factor": 1.0},
        {"mode": "most"},
        {"extra": 1},
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(entries):
    schedule = optim.ReduceOnPlateau(optimizer(), 0.5, 1)
    run(schedule, [2, 2])
    before = schedule.state_dict()
    other = optim.ReduceOnPlateau(optimizer([1.0, 1.0]), 0.25, 3).state_dict()
    for state in ({**other, **entries}, None, optim.StepLR(optimizer(), 3).state_dict()):
        with refuses(nn.StateError, "load_state_dict of ReduceOnPlateau"):
            schedule.load_state_dict(state)
    assert schedule.state_dict() == before


def test_repr():
    schedule = optim.ReduceOnPlateau(optimizer([1.0]), factor=0.5, patience=0)
    schedule.step(2)
    assert repr(schedule) == (
        "ReduceOnPlateau(factor=0.5, patience=0, threshold=0.0001, "
        "mode='min', min_lr=0.0, cooldown=0, best=2.0, bad=0, lr=[1.0])"
    )


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"factor": 1.0}, ValueError, ["factor", "> 0 and < 1", "1.0"]),
        ({"factor": 0}, ValueError, ["factor", "0"]),
        ({"factor": None}, TypeError, ["factor", "None"]),
        ({"patience": -1}, ValueError, ["patience", ">= 0", "-1"]),
        ({"patience": 1.5}, TypeError, ["patience", "an int", "1.5"]),
        ({"threshold": -1e-4}, ValueError, ["threshold", "-0.0001"]),
        ({"mode": "most"}, ValueError, ["mode", '"min"', "'most'"]),
        ({"min_lr": -1}, ValueError, ["min_lr", "-1"]),
        ({"cooldown": -1}, ValueError, ["cooldown", "-1"]),
        ({"optimizer": None}, TypeError, ["optimizer", "None"]),
    ],
    ids=str,
)
def test_errors_name_the_argument(options, error, words):
    with refuses(error, "ReduceOnPlateau", *words):
        optim.ReduceOnPlateau(**{"optimizer": optimizer(), **options})


@pytest.mark.parametrize("metric", ["low", None, [1.0], np.ones(2)])
def test_metrics_that_are_no_numbers(metric):
    schedule = optim.ReduceOnPlateau(optimizer())
    with refuses(TypeError, "ReduceOnPlateau", "metric"):
        schedule.step(metric)
    assert schedule.bad == 0
