"""These tests check effective learning rates: at such a rate, weights of norm 1 turn by the angle
by which each optimizer turns weights of any norm.
"""

import math

import numpy as np
import pytest

from minidl import nn, optim
from minidl.lab.rates import EXPONENTS, effective_rate

RULES = {
    "SGD": optim.SGD,
    "Adam": optim.Adam,
    "AdamW": lambda p, lr: optim.AdamW(p, lr, weight_decay=0),
    "RMSprop": optim.RMSprop,
    "Adagrad": optim.Adagrad,
    "Muon": optim.Muon,
    "LARS": lambda p, lr: optim.LARS(p, lr, trust=0.1),
    "Lookahead": lambda p, lr: optim.Lookahead(optim.Adam(p, lr)),
    "Combined": lambda p, lr: optim.Combined(
        optim.SGD([nn.Parameter(np.ones(2))], lr=7), optim.SGD(p, lr)
    ),
}


def turned(make, rate, length):
    """Return the angle by which a step turns weights of a given norm, where the loss depends on
    their direction alone, and the effective learning rate before the step."""
    rng = np.random.default_rng(0)
    direction, gradient = (rng.standard_normal((5, 4)) for _ in range(2))
    direction /= np.linalg.norm(direction)
    gradient -= (
        direction * (gradient * direction).sum()
    )  # the gradient is orthogonal to the weights
    w = nn.Parameter(length * direction)
    optimizer = make([w], rate)
    found = effective_rate(optimizer, [w])
    w.grad = gradient / length
    optimizer.step()
    now = w.data / np.linalg.norm(w.data)
    return np.linalg.norm(now - direction), found


@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
@pytest.mark.parametrize("length", [0.2, 5.0])
def test_unit_weights_turn_as_far_at_the_effective_rate(make, length):
    far, rate = turned(make, 1e-5, length)
    unit, own = turned(make, rate if make is not RULES["LARS"] else rate / 0.1, 1.0)
    assert far == pytest.approx(unit, rel=1e-3)
    assert rate == pytest.approx(own)


def test_effective_rates_by_hand():
    w = nn.Parameter(np.array([[3.0, 4.0]]))
    assert effective_rate(optim.SGD([w], lr=0.5), [w]) == pytest.approx(0.02)
    assert effective_rate(optim.Adam([w], lr=0.5), [w]) == pytest.approx(0.1)
    assert effective_rate(optim.LARS([w], lr=0.5, trust=0.1), [w]) == pytest.approx(0.05)
    other = nn.Parameter(np.ones((1, 2)))
    optimizer = optim.SGD([{"params": [other]}, {"params": [w], "lr": 5.0}], lr=0.5)
    assert effective_rate(optimizer, [w]) == pytest.approx(0.2)
    assert effective_rate(optim.SGD([w, other], lr=0.5), [w, other]) == pytest.approx(0.5 / 27)


def test_weights_without_an_effective_rate_have_nan():
    class Own(optim.Optimizer):
        pass

    w, zero = nn.Parameter(np.ones((1, 2))), nn.Parameter(np.zeros((1, 2)))
    assert math.isnan(effective_rate(None, [w]))
    assert math.isnan(effective_rate(optim.SGD([zero], lr=0.5), [w]))
    assert math.isnan(effective_rate(optim.SGD([zero], lr=0.5), [zero]))
    assert math.isnan(effective_rate(Own([w], {"lr": 0.5}), [w]))
    w.requires_grad = False
    assert math.isnan(effective_rate(optim.SGD([w], lr=0.5), [w]))


def test_every_optimizer_has_a_rule():
    kinds = {getattr(optim, name) for name in optim.__all__}
    rules = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, optim.Optimizer)}
    own = tuple(kind for kind, _ in EXPONENTS)
    assert {kind for kind in rules if not issubclass(kind, own)} == {
        optim.Optimizer,
        optim.Lookahead,
        optim.Combined,
    }
