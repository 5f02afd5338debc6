"""These tests check filter response normalization with its activation: initial values and training
steps.

Values and gradients are in `test_layers` and in `tests/ops/test_layer_norm.py`.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform


def test_what_they_start_with():
    assert nn.FilterResponseNorm(3).eps == 1e-6
    np.testing.assert_array_equal(
        nn.FilterResponseNorm(3, learn_eps=True).eps.data, np.full(3, 1e-4, np.float32)
    )
    np.testing.assert_array_equal(
        nn.FilterResponseNorm(3, 0.5, learn_eps=True).eps.data, np.full(3, 0.5, np.float32)
    )
    np.testing.assert_array_equal(nn.TLU(3).tau.data, np.zeros(3, np.float32))
    x = uniform(4, 5, 3)
    np.testing.assert_array_equal(nn.TLU(3)(x).data, np.maximum(x, 0))


def test_a_threshold_of_each_channel():
    layer = nn.TLU(3).astype(np.float64)
    layer.tau.data = tau = np.float64([-0.5, 0, 0.5])
    x = md.tensor(uniform(4, 5, 3, dtype=np.float64), requires_grad=True)
    y = layer(x)
    close(y.data, np.maximum(x.data, tau))
    dy = uniform(4, 5, 3, dtype=np.float64, seed=1)
    y.backward(dy)
    close(x.grad, dy * (x.data > tau))
    close(layer.tau.grad, (dy * (x.data < tau)).sum((0, 1)))


@pytest.mark.parametrize("learn_eps", [False, True])
def test_training_steps(learn_eps):
    md.manual_seed(0)
    norm = nn.FilterResponseNorm(8, learn_eps=learn_eps)
    model = nn.Sequential(
        nn.Conv(2, 8, 3, bias=False), norm, nn.TLU(8), nn.GlobalAvgPool(), nn.Dense(8, 3)
    )
    before = {name: value.copy() for name, value in model.state_dict().items()}
    assert ("1.eps" in before) == learn_eps
    x, labels = uniform(30, 6, 6, 2), np.arange(30) % 3
    x[np.arange(30), 2, 2, 0] += 3 * labels
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = md.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for name, value in model.state_dict().items():
        assert not np.array_equal(value, before[name]), f"{name} did not learn"


def test_the_state_of_a_learned_eps():
    layer = nn.FilterResponseNorm(3, learn_eps=True)
    layer.eps.data = np.float32([1, -2, 3])
    again = nn.FilterResponseNorm(3, learn_eps=True)
    again.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(again.eps.data, [1, -2, 3])
    assert list(nn.FilterResponseNorm(3).state_dict()) == ["gamma", "beta"]
    assert layer.astype(np.float64)(uniform(2, 4, 3, dtype=np.float64)).dtype == np.float64
    assert not layer.freeze().eps.requires_grad
