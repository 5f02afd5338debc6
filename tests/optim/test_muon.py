"""These tests compare Muon with its formula in NumPy in float64, and check what it refuses,
interruption and threads.
"""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.optim.muon import orthogonalized
from tests.support.arrays import close
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.optimizers import give_gradients, parameters, trained
from tests.support.threads import threads

SHAPES = [(40, 30), (30, 40), (3, 3, 8, 16), (1, 1, 4, 32), (1, 7), (7, 1), (0, 4)]
OPTIONS = [
    {},
    {"lr": 0.2, "nesterov": False},
    {"momentum": 0, "steps": 3},
    {"weight_decay": 0.1, "momentum": 0.5},
    {"normalize": True, "steps": 3, "momentum": 0.6},
    {"normalize": True, "weight_decay": 0.3},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def newton_schulz(m, steps):
    """Orthogonalize (C_out, rest) as Jordan (2024) writes it."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m / max(np.sqrt((m * m).sum()), 1e-7)
    x = x.T if m.shape[0] > m.shape[1] else x
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if m.shape[0] > m.shape[1] else x


def muon(p, g, state, lr, momentum=0.95, nesterov=True, weight_decay=0, steps=5, normalize=False):
    if not p.size:
        return p
    v = state["v"] = momentum * state.get("v", 0) + g
    u = g + momentum * v if nesterov else v
    rows, columns = p.shape[-1], p.size // p.shape[-1]
    o = newton_schulz(u.reshape(columns, rows).T, steps).T.reshape(p.shape)
    if normalize:
        p = p * np.sqrt(rows) / np.sqrt((p * p).sum())
    return p - lr * weight_decay * p - lr * np.sqrt(max(1, rows / columns)) * o


def run(options, dtype=np.float32, steps=10):
    return trained(
        lambda params: optim.Muon(params, **{"lr": 0.02, **options}), SHAPES, dtype, steps
    )


@every_option
@both_floats
@both_backends
def test_ten_steps_by_the_formula(options, dtype, backend):
    with md.use_backend(backend):
        found = run(options, dtype)
    given = parameters(SHAPES, dtype)
    expected = [p.data.astype(np.float64) for p in given]
    states = [{} for _ in given]
    for step in range(10):
        give_gradients(given, step)
        expected = [
            muon(p, g.grad.astype(np.float64), state, **{"lr": 0.02, **options})
            for p, g, state in zip(expected, given, states, strict=True)
        ]
    for p, value, start in zip(found, expected, given, strict=True):
        assert p.dtype == dtype
        close(p.data, value, 10)
        assert not p.size or np.abs(p.data - start.data).max() > 0.01


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (30, 30)])
def test_singular_values_are_about_one(shape):
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    values = np.geomspace(1, 0.02, min(shape))
    found = np.linalg.svd(orthogonalized((u * values) @ vt, 5), compute_uv=False)
    assert found.min() > 0.65 and found.max() < 1.25


@every_option
def test_same_bits_on_any_number_of_threads(options):
    bits = []
    for n in (1, 2, 3):
        with threads(n):
            bits.append([p.data.tobytes() for p in run(options, steps=3)])
    assert bits[0] == bits[1] == bits[2]


@every_option
def test_an_interrupted_training_continues_bit_for_bit(options, tmp_path):
    params = parameters(SHAPES, np.float32)
    optimizer = optim.Muon(params, **{"lr": 0.02, **options})
    for step in range(6):
        if step == 3:
            state = copy.deepcopy(optimizer.state_dict())
            weights = [p.data.copy() for p in params]
            md.save(tmp_path / "state", state)
        give_gradients(params, step)
        optimizer.step()
    again = [nn.Parameter(w) for w in weights]
    other = optim.Muon(again, lr=9)
    other.load_state_dict(md.load(tmp_path / "state"))
    for step in range(3, 6):
        give_gradients(again, step)
        other.step()
    assert [p.data.tobytes() for p in again] == [p.data.tobytes() for p in params]


def test_the_scale_of_a_gradient_does_not_matter():
    found = []
    for scale in (1e-4, 1.0, 1e6):
        (p,) = parameters([(20, 30)], np.float64)
        optimizer = optim.Muon([p], lr=0.1)
        for step in range(3):
            give_gradients([p], step)
            p.grad = p.grad * scale
            optimizer.step()
        found.append(p.data)
    close(found[0], found[1])
    close(found[2], found[1])


def test_no_gradient_and_a_gradient_of_zeros():
    first, second = parameters([(4, 5), (5, 4)], np.float32)
    starts = first.data.copy(), second.data.copy()
    optimizer = optim.Muon([first, second], lr=0.1)
    first.grad = np.zeros((4, 5), np.float32)
    optimizer.step()
    assert np.array_equal(first.data, starts[0]) and np.array_equal(second.data, starts[1])


def test_normalized_zeros_stay_zeros():
    p = nn.Parameter(np.zeros((4, 5), np.float32))
    p.grad = np.zeros((4, 5), np.float32)
    optim.Muon([p], lr=0.1, normalize=True).step()
    assert not p.data.any()


def test_what_is_no_matrix_is_refused():
    for shape in ((), (64,)):
        with refuses(
            ValueError, "Muon: params must be matrices or filters", str(shape), "optim.groups(model"
        ):
            optim.Muon([nn.Parameter(np.ones((2, 2))), nn.Parameter(np.ones(shape))], lr=0.1)


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("steps", 0, ValueError),
        ("steps", 101, ValueError),
        ("steps", 2.5, TypeError),
        ("lr", -1, ValueError),
        ("momentum", -0.1, ValueError),
        ("weight_decay", -1, ValueError),
        ("normalize", "yes", TypeError),
        ("nesterov", 2, TypeError),
    ],
)
def test_options(name, wrong, error):
    with refuses(error, f"Muon: {name} must be", repr(wrong)):
        optim.Muon(parameters([(2, 2)]), **{"lr": 0.1, name: wrong})


def test_options_and_a_state_that_do_not_fit_change_nothing():
    params = parameters([(2, 3)], np.float32)
    optimizer = optim.Muon(params, lr=0.1)
    give_gradients(params, 0)
    optimizer.step()
    before, weights = copy.deepcopy(optimizer.state_dict()), params[0].data.copy()
    other = optim.SGD(params, lr=0.1, momentum=0.9).state_dict()
    wrong = copy.deepcopy(before)
    wrong["groups"][0]["steps"] = 0
    for state in (other, wrong):
        with refuses(nn.StateError, "load_state_dict of Muon"):
            optimizer.load_state_dict(state)
    optimizer.groups[0]["steps"] = 0
    with refuses(ValueError, "Muon: steps"):
        optimizer.step()
    optimizer.groups[0]["steps"] = 5
    assert repr(optimizer.state_dict()) == repr(before)
    assert np.array_equal(params[0].data, weights)
