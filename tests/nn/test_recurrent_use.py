"""These tests use recurrent layers as layers: names, copies, files, text, hooks, initial values,
learning.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.recurrent import KINDS, each, each_norm, made


def names(layer):
    return {name: value.shape for name, value in layer.state_dict().items()}


def test_names_and_shapes_of_the_state():
    assert names(nn.LSTM(2, 3, 2)) == {
        "cells.0.weight_x": (2, 12),
        "cells.0.weight_h": (3, 12),
        "cells.0.bias": (12,),
        "cells.1.weight_x": (3, 12),
        "cells.1.weight_h": (3, 12),
        "cells.1.bias": (12,),
    }
    assert names(nn.GRU(2, 3, bidirectional=True)) == {
        f"cells.{k}.{name}": shape
        for k in range(2)
        for name, shape in (
            ("weight_x", (2, 9)),
            ("weight_h", (3, 9)),
            ("bias", (9,)),
            ("bias_h", (3,)),
        )
    }
    assert names(nn.RNN(2, 3, bias=False)) == {
        "cells.0.weight_x": (2, 3),
        "cells.0.weight_h": (3, 3),
    }
    layered = names(nn.LSTM(2, 3, norm="layer"))
    assert {name: shape for name, shape in layered.items() if "norm" in name} == {
        "cells.0.norm_x.gamma": (12,),
        "cells.0.norm_h.gamma": (12,),
        "cells.0.norm_c.gamma": (3,),
        "cells.0.norm_c.beta": (3,),
    }
    batched = names(nn.LSTM(2, 3, norm="batch", max_steps=5))
    assert batched["cells.0.norm_x.running_mean"] == (5, 12)
    assert batched["cells.0.norm_c.running_var"] == (5, 3)
    assert batched["cells.0.norm_h.num_batches"] == (5,)
    assert "cells.0.norm_x.beta" not in batched and "cells.0.norm_c.beta" in batched


@each
@each_norm
def test_states_copies_and_files(name, norm, tmp_path):
    layer = made(name, 2, 3, 2, bidirectional=True, norm=norm, max_steps=4, dtype=np.float32)
    layer(uniform(4, 3, 2))  # changes the statistics
    layer.eval()
    x = uniform(3, 5, 2, seed=1)
    expected = layer(x)[0].data
    md.manual_seed(1)
    other = KINDS[name](2, 3, 2, bidirectional=True, norm=norm, max_steps=4).eval()
    assert not np.array_equal(other(x)[0].data, expected)
    md.save(tmp_path / "state", layer.state_dict())
    other.load_state_dict(md.load(tmp_path / "state"))
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(x)[0].data, expected)
        assert repr(twin) == repr(layer)


def test_astype_converts_parameters_and_statistics():
    layer = nn.LSTM(2, 3, norm="batch").astype(np.float64)
    dtypes = {name.rpartition(".")[2]: value.dtype for name, value in layer.state_dict().items()}
    assert dtypes.pop("num_batches") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float64)}
    assert layer(uniform(4, 3, 2, dtype=np.float64))[0].dtype == np.float64


def test_repr():
    assert repr(nn.RNN(2, 3)) == "RNN(2, 3\n  (cells.0): RNNCell(2, 3, bias=True)\n)"
    text = repr(nn.RNN(2, 3, 2, dropout=0.5, bidirectional=True, nonlinearity="relu"))
    assert text.startswith(
        "RNN(2, 3, num_layers=2, dropout=0.5, bidirectional=True, nonlinearity='relu'\n"
    )
    assert "(cells.2): RNNCell(6, 3, bias=True)" in text
    text = repr(nn.LSTM(2, 3, bias=False, norm="batch", max_steps=7))
    assert text.startswith("LSTM(2, 3, norm='batch'\n  (cells.0): LSTMCell(2, 3, bias=False\n")
    assert "(norm_c): StepNorm(3, max_steps=7, shift=True, eps=1e-05, momentum=0.1)" in text


def test_hooks_see_the_pair():
    layer, seen = nn.LSTM(2, 3), []
    handle = layer.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    layer.register_forward_hook(lambda layer, inputs, output: output[0])
    y = layer(uniform(4, 5, 2))
    assert y.shape == (4, 5, 3) and seen[0][0] is y and seen[0][1][1].shape == (1, 4, 3)
    handle.remove()


def test_predict_of_a_pair_is_refused_and_summary_shows_its_first():
    with refuses(TypeError, "GRU", "tuple", "not a tensor"):
        nn.GRU(2, 3).predict(uniform(4, 5, 2))
    rows = LastStep(nn.GRU, None).summary((5, 1)).splitlines()
    row = next(row for row in rows if row.startswith("recurrent "))
    assert " GRU " in row and "(5, " in row and ", ..." in row
    # The cell takes arrays whose first axis is time.
    assert [row.split()[2] for row in rows if "GRUCell" in row] == ["-"]


@each
def test_first_values_are_uniform_and_follow_the_seed(name):
    md.manual_seed(3)
    layer = KINDS[name](40, 64, 2)
    for p in layer.parameters():
        assert np.abs(p.data).max() <= 0.125 * (1 + 1e-6)
        assert np.abs(p.data).max() > 0.115
        np.testing.assert_allclose(p.data.std(), 0.125 / np.sqrt(3), rtol=0.25)
    md.manual_seed(3)
    again = KINDS[name](40, 64, 2)
    for p, q in zip(layer.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


class LastStep(nn.Layer):
    def __init__(self, make, norm):
        super().__init__()
        self.recurrent = make(1, 24, norm=norm)
        self.dense = nn.Dense(24, 2)

    def forward(self, x):
        return self.dense(self.recurrent(x)[0][:, -1])


@each
@each_norm
def test_it_learns_to_remember(name, norm):
    """The class is the sign of the first of 4 numbers, and the others are noise."""
    md.manual_seed(0)
    rng = np.random.default_rng(0)

    def batch(n):
        x = rng.standard_normal((n, 4, 1)).astype(np.float32)
        return x, (x[:, 0, 0] > 0).astype(np.int64)

    model = LastStep(KINDS[name], norm)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        x, labels = batch(64)
        loss = md.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    with md.no_grad():  # running statistics lag behind weights that learn this fast
        for _ in range(40):
            model(batch(64)[0])
    x, labels = batch(400)
    assert (model.predict(x).argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "options", [{}, {"norm": "layer"}, {"num_layers": 2, "bidirectional": True}], ids=str
)
@pytest.mark.parametrize("steps", [1, 3, 2**40])
def test_an_empty_batch_has_no_steps_to_compute(kind, options, steps):
    layer = kind(3, 4, **options)
    x = md.Tensor(np.zeros((0, steps, 3), np.float32), requires_grad=True)
    y, state = layer(x)
    directions = 2 if layer.bidirectional else 1
    assert y.shape == (0, steps, 4 * directions)
    for part in state if isinstance(state, tuple) else (state,):
        assert part.shape == (layer.num_layers * directions, 0, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape
    for name, p in layer.named_parameters():
        assert p.grad is not None and not p.grad.any(), name
