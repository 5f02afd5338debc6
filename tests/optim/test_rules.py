"""These tests compare what each optimizer does to parameters with its formula, written again in
NumPy in float64.
"""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close
from tests.support.marks import both_backends, both_floats
from tests.support.optimizers import give_gradients, parameters, trained
from tests.support.threads import threads

SHAPES = [(), (1,), (7,), (3, 3, 4, 5), (150, 130), (0, 4)]


def sgd(p, g, state, lr, momentum=0, nesterov=False, weight_decay=0):
    g = g + weight_decay * p
    v = state["v"] = momentum * state.get("v", 0) + g
    return p - lr * (g + momentum * v if nesterov else v)


def adam(p, g, state, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False):
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    k = state["k"] = state.get("k", 0) + 1
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    s = state["s"] = betas[1] * state.get("s", 0) + (1 - betas[1]) * g * g
    return p - lr * (m / (1 - betas[0] ** k)) / (np.sqrt(s / (1 - betas[1] ** k)) + eps)


def adamw(p, g, state, weight_decay=1e-2, **options):
    return adam(p, g, state, weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(p, g, state, lr=0.01, alpha=0.99, eps=1e-8, momentum=0, centered=False, weight_decay=0):
    g = g + weight_decay * p
    s = state["s"] = alpha * state.get("s", 0) + (1 - alpha) * g * g
    m = state["m"] = alpha * state.get("m", 0) + (1 - alpha) * g
    v = state["v"] = momentum * state.get("v", 0) + g / (
        np.sqrt(s - m * m if centered else s) + eps
    )
    return p - lr * v


def adagrad(p, g, state, lr=0.01, eps=1e-10, initial=0.0, lr_decay=0, weight_decay=0):
    g = g + weight_decay * p
    k = state["k"] = state.get("k", 0) + 1
    s = state["s"] = state.get("s", initial) + g * g
    return p - lr / (1 + (k - 1) * lr_decay) * g / (np.sqrt(s) + eps)


def lars(p, g, state, lr, momentum=0.9, trust=0.001, eps=1e-8, weight_decay=0):
    rate = 1
    if p.ndim > 1:
        norms = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
        if all(norms):
            rate = trust * norms[0] / (norms[1] + weight_decay * norms[0] + eps)
        g = g + weight_decay * p
    v = state["v"] = momentum * state.get("v", 0) + rate * g
    return p - lr * v


RULES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.01}),
    (optim.SGD, sgd, {"lr": 0.05, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    (optim.SGD, sgd, {"lr": 0.05, "momentum": 0.5, "nesterov": True}),
    (optim.SGD, sgd, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3}),
    (optim.Adam, adam, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.Adam, adam, {"betas": (0, 0.5)}),
    (optim.AdamW, adamw, {}),
    (optim.AdamW, adamw, {"lr": 0.01, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    (optim.AdamW, adamw, {"lr": 0.01, "weight_decay": 0}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"momentum": 0.9}),
    (optim.RMSprop, rmsprop, {"centered": True}),
    (
        optim.RMSprop,
        rmsprop,
        {"centered": True, "momentum": 0.5, "weight_decay": 0.01, "alpha": 0.5},
    ),
    (optim.Adagrad, adagrad, {}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial": 0.5}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
    (optim.LARS, lars, {"lr": 5.0}),
    (optim.LARS, lars, {"lr": 0.5, "trust": 0.1, "weight_decay": 0.1, "eps": 0.1}),
    (optim.LARS, lars, {"lr": 5.0, "momentum": 0, "weight_decay": 1e-3}),
]
every_rule = pytest.mark.parametrize(
    "kind, rule, options", RULES, ids=[f"{row[0].__name__}({row[2]})" for row in RULES]
)


def run(kind, options, dtype=np.float64, steps=30):
    return trained(lambda params: kind(params, **{"lr": 1e-3, **options}), SHAPES, dtype, steps)


@every_rule
@both_floats
@both_backends
def test_thirty_steps_by_the_formula(kind, rule, options, dtype, backend):
    options = {"lr": 1e-3, **options}
    with md.use_backend(backend):
        found = run(kind, options, dtype)
    given = parameters(SHAPES, dtype)
    expected = [p.data.astype(np.float64) for p in given]
    states = [{} for _ in given]
    for step in range(30):
        give_gradients(given, step)
        expected = [
            rule(p, g.grad.astype(np.float64), state, **options)
            for p, g, state in zip(expected, given, states, strict=True)
        ]
    for p, value, start in zip(found, expected, given, strict=True):
        assert p.dtype == dtype
        close(p.data, value, tolerance=2)
        if p.size and options["lr"]:
            assert (p.data != start.data).mean() > 0.9


@every_rule
@both_floats
def test_same_bits_on_any_number_of_threads(kind, rule, options, dtype):
    bits = []
    for n in (1, 2, 3, 4):
        with threads(n):
            bits.append([p.data.tobytes() for p in run(kind, options, dtype, 5)])
    assert bits[0] == bits[1] == bits[2] == bits[3]


@every_rule
def test_parameters_without_gradient_are_left_alone(kind, rule, options):
    """Weight decay and momentum leave them alone, too. If a gradient comes later, its own count
    starts then.
    """
    options = {"lr": 1e-3, **options}
    first, late = parameters([(4,), (5,)], np.float64)
    start = late.data.copy()
    optimizer = kind([first, late], **options)
    for step in range(3):
        give_gradients([first], step)
        optimizer.step()
        np.testing.assert_array_equal(late.data, start)
    expected, state = start, {}
    for step in range(3, 6):
        give_gradients([first, late], step)
        optimizer.step()
        expected = rule(expected, late.grad, state, **options)
        close(late.data, expected)
    before = first.data.copy()
    optimizer.zero_grad()
    optimizer.step()
    np.testing.assert_array_equal(first.data, before)


@every_rule
def test_an_interrupted_training_continues_bit_for_bit(kind, rule, options, tmp_path):
    options = {"lr": 1e-3, **options}
    params = parameters(SHAPES, np.float32)
    optimizer = kind(params, **options)
    for step in range(10):
        if step == 5:
            state = optimizer.state_dict()
            weights = {str(k): p.data.copy() for k, p in enumerate(params)}
            snapshot = copy.deepcopy(state)
            md.save(tmp_path / "state", {"optimizer": state, "weights": weights})
        give_gradients(params, step)
        optimizer.step()
    for source in (snapshot, state, md.load(tmp_path / "state")["optimizer"]):
        again = [nn.Parameter(w.copy()) for w in weights.values()]
        other = kind(again, **{**options, "lr": 9})
        other.load_state_dict(source)
        for step in range(5, 10):
            give_gradients(again, step)
            other.step()
        # The order is the same, too.
        assert repr(other.state_dict()) == repr(optimizer.state_dict())
        for p, q in zip(params, again, strict=True):
            assert p.data.tobytes() == q.data.tobytes()


@every_rule
def test_a_gradient_in_any_memory_order_is_read_and_not_written(kind, rule, options):
    options = {"lr": 1e-3, **options}
    values = np.random.default_rng(0).normal(size=(40, 30))
    results = []
    for gradient in (values, np.asfortranarray(values), np.repeat(values, 2, 0)[::2]):
        (p,) = parameters([(40, 30)], np.float64)
        gradient.flags.writeable = False
        optimizer = kind(p, **options)
        for _ in range(3):
            p.grad = gradient
            optimizer.step()
            assert p.grad is gradient
        results.append(p.data)
    np.testing.assert_array_equal(gradient, values)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@every_rule
@both_backends
def test_nan_stays_where_it_is(kind, rule, options, backend):
    (p,) = parameters([(50,)], np.float32)
    optimizer = kind(p, **{"lr": 1e-3, **options})
    with md.use_backend(backend):
        for step in range(3):
            give_gradients([p], step)
            if step == 1:
                p.grad[17] = np.nan
            optimizer.step()
    np.testing.assert_array_equal(np.isnan(p.data), np.arange(50) == 17)


def test_a_step_writes_into_the_parameters_own_array():
    (p,) = parameters([(6,)], np.float32)
    array, before = p.data, p.data.copy()
    p.grad = np.ones(6, np.float32)
    optim.SGD([p], lr=1).step()
    assert p.data is array
    close(array, before - 1)
