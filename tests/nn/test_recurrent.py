"""RNN, GRU, LSTM and StepNorm: by their equations, states, statistics of steps, what they refuse.

Against PyTorch they are in tests/parity.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.kernel_calls import kernels_run
from tests.support.marks import both_backends, both_floats, small_batches
from tests.support.threads import threads

KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
NORMS = (None, "layer", "batch")
each = pytest.mark.parametrize("name", KINDS)
each_norm = pytest.mark.parametrize("norm", NORMS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ------------------------------------------------------------------------------- the equations

def normalized(norm, x):
    """In training: over the row, or over the batch."""
    if norm is None:
        return x
    axis = 0 if isinstance(norm, nn.StepNorm) else 1
    y = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    beta = getattr(norm, "beta", None)
    return norm.gamma.data * y + (0 if beta is None else beta.data)


def one_step(layer, cell, x, h, c):
    """(h, c) of the next step, written from the papers."""
    b = 0 if cell.bias is None else cell.bias.data
    wx = normalized(cell.norm_x, x @ cell.weight_x.data) + b
    wh = normalized(cell.norm_h, h @ cell.weight_h.data)
    size = h.shape[1]
    if isinstance(layer, nn.RNN):
        a = wx + wh
        return np.maximum(a, 0) if layer.nonlinearity == "relu" else np.tanh(a), c
    if isinstance(layer, nn.GRU):
        r = sigmoid(wx[:, :size] + wh[:, :size])
        z = sigmoid(wx[:, size:2 * size] + wh[:, size:2 * size])
        inner = wh[:, 2 * size:] + (0 if cell.bias_h is None else cell.bias_h.data)
        n = np.tanh(wx[:, 2 * size:] + r * inner)
        return (1 - z) * n + z * h, c
    a = wx + wh
    i, f, g, o = (a[:, k * size:(k + 1) * size] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normalized(cell.norm_c, c)), c


def by_loops(layer, x, h=None, c=None):
    """(output, h, c) of the layer, one step after another."""
    n, steps, _ = x.shape
    directions = 2 if layer.bidirectional else 1
    last_h, last_c = [], []
    for first in range(0, len(layer.cells), directions):
        outputs = []
        for k in range(first, first + directions):
            hk = np.zeros((n, layer.hidden)) if h is None else h[k]
            ck = np.zeros((n, layer.hidden)) if c is None else c[k]
            output = np.zeros((n, steps, layer.hidden))
            order = range(steps) if k == first else reversed(range(steps))
            for t in order:
                hk, ck = one_step(layer, layer.cells[k], x[:, t], hk, ck)
                output[:, t] = hk
            outputs.append(output)
            last_h.append(hk)
            last_c.append(ck)
        x = np.concatenate(outputs, axis=2)
    return x, np.stack(last_h), np.stack(last_c)


def made(name, *args, dtype=np.float64, **options):
    """A layer with weights, gammas and betas that are all different."""
    md.manual_seed(0)
    layer = KINDS[name](*args, **options).astype(dtype)
    for k, (label, p) in enumerate(layer.named_parameters()):
        if "norm" in label:
            p.data = uniform(*p.shape, dtype=dtype, seed=k, low=0.3, high=1.2)
    return layer


def flat(result):
    """(output, h) or (output, h, c)."""
    output, state = result
    return (output, *state) if isinstance(state, tuple) else (output, state)


SHAPES = [  # in, hidden, options, (N, T)
    (3, 4, {}, (5, 6)),
    (2, 3, {"num_layers": 2, "bidirectional": True}, (4, 3)),
    (3, 5, {"num_layers": 3, "bias": False}, (2, 4)),
    (1, 2, {"bidirectional": True, "bias": False}, (6, 1)),
]


@each
@each_norm
@both_backends
@pytest.mark.parametrize("shape", SHAPES, ids=[str(s[2:]) for s in SHAPES])
def test_values_by_the_equations(name, norm, shape, backend):
    features, hidden, options, (n, steps) = shape
    layer = made(name, features, hidden, norm=norm, **options)
    x = uniform(n, steps, features, dtype=np.float64)
    count = len(layer.cells)
    h, c = uniform(count, n, hidden, seed=1, dtype=np.float64), uniform(
        count, n, hidden, seed=2, dtype=np.float64)
    with md.use_backend(backend):
        for state in ((), (h, c)):
            given = None if not state else (h, c) if name == "LSTM" else h
            results = flat(layer(x, given))
            for got, expected in zip(results, by_loops(layer, x, *state), strict=False):
                close(got.data, expected)
            assert results[0].shape == (n, steps, hidden * (2 if layer.bidirectional else 1))
            assert [r.shape for r in results[1:]] == [(count, n, hidden)] * (1 + (name == "LSTM"))


def test_rnn_with_relu_by_the_equations():
    layer = made("RNN", 3, 4, 2, nonlinearity="relu")
    x = uniform(5, 6, 3, dtype=np.float64)
    for got, expected in zip(flat(layer(x)), by_loops(layer, x), strict=False):
        close(got.data, expected)


@each
@each_norm
@both_backends
def test_gradients(name, norm, backend):
    layer = made(name, 2, 3, 2, bidirectional=True, norm=norm)
    count = len(layer.cells)
    x = md.tensor(uniform(4, 3, 2, dtype=np.float64), requires_grad=True)
    states = [md.tensor(uniform(count, 4, 3, seed=k, dtype=np.float64), requires_grad=True)
              for k in range(2 if name == "LSTM" else 1)]

    def f(x, *rest):
        return flat(layer(x, tuple(states) if name == "LSTM" else states[0]))

    with md.use_backend(backend):
        assert md.gradcheck(f, [x, *states, *layer.parameters()])


@each
@each_norm
def test_float32_is_close_to_float64(name, norm):
    layer = made(name, 3, 8, 2, norm=norm, dtype=np.float32)
    x = uniform(16, 5, 3)
    single = flat(layer(x))
    exact = flat(layer.astype(np.float64)(x.astype(np.float64)))
    for got, expected in zip(single, exact, strict=True):
        assert got.dtype == np.float32 and expected.dtype == np.float64
        close(got.data, expected.data, 10 if norm is None else 100)


@each
@each_norm
def test_threads_do_not_matter(name, norm):
    layer = made(name, 20, 64, norm=norm, dtype=np.float32)
    x = uniform(65, 4, 20)
    results = []
    for count in (1, 2, 3):
        layer.zero_grad()
        with threads(count):
            y = layer(x)[0]
            y.backward(uniform(*y.shape, seed=1))
        results.append([y.data.tobytes()] + [p.grad.tobytes() for p in layer.parameters()])
    assert results[0] == results[1] == results[2]


@each
def test_a_state_carries_a_sequence_on(name):
    layer = made(name, 3, 4, 2)
    x = uniform(2, 7, 3, dtype=np.float64)
    whole = flat(layer(x))
    first, state = layer(x[:, :3])
    second = flat(layer(x[:, 3:], state))
    close(np.concatenate([first.data, second[0].data], axis=1), whole[0].data)
    for got, expected in zip(second[1:], whole[1:], strict=True):
        close(got.data, expected.data)


@each
@each_norm
def test_an_empty_batch(name, norm):
    layer = made(name, 3, 4, norm=norm).eval()
    results = flat(layer(np.zeros((0, 5, 3))))
    assert [r.shape for r in results] == [(0, 5, 4)] + [(1, 0, 4)] * (len(results) - 1)


def test_inputs_of_any_memory_order_are_read_and_not_written():
    layer, x = made("LSTM", 3, 4, dtype=np.float32), uniform(4, 5, 3)
    expected = layer(x)[0].data
    frozen = x.copy()
    frozen.flags.writeable = False
    for given in (frozen, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], md.tensor(x)):
        np.testing.assert_array_equal(layer(given)[0].data, expected)
        np.testing.assert_array_equal(np.asarray(given), x)


@each
def test_the_inputs_share_is_one_product_for_all_steps(name, monkeypatch):
    layer = made(name, 3, 4)
    calls = kernels_run(monkeypatch, "matmul")
    layer(uniform(2, 9, 3, dtype=np.float64))
    assert len(calls) == 1 + 9


def test_dropout_is_between_layers_in_training():
    layer = made("GRU", 3, 4, 2, dropout=1.0)
    x = uniform(2, 5, 3, dtype=np.float64)
    kept = made("GRU", 3, 4, 2)(x)[0].data
    above = made("GRU", 4, 4)
    above.cells = layer.cells[1:]
    close(layer(x)[0].data, above(np.zeros((2, 5, 4)))[0].data)     # all of the first is dropped
    assert not np.array_equal(layer(x)[0].data, kept)
    close(layer.eval()(x)[0].data, kept)
    # Neither what goes into the first layer nor what the last one gives.
    close(made("GRU", 3, 4, dropout=1.0)(x)[0].data, made("GRU", 3, 4)(x)[0].data)


# --------------------------------------------------------------------------- batch statistics

def test_layer_norm_does_not_see_the_batch_and_batch_norm_does():
    x = uniform(6, 4, 3, dtype=np.float64)
    for norm, alone in (("layer", True), ("batch", False)):
        layer = made("LSTM", 3, 4, norm=norm)
        assert np.allclose(layer(x)[0].data[:2], layer(x[:2])[0].data) == alone


def test_running_statistics_are_those_of_each_step():
    """Of x W_x, known without a recurrence; max_steps 3, in 2 batches of 5 steps and 1 of 2."""
    layer = made("RNN", 2, 3, norm="batch", max_steps=3)
    norm, w = layer.cells[0].norm_x, layer.cells[0].weight_x.data
    mean, var = np.zeros((3, 3)), np.ones((3, 3))
    for k, steps in enumerate((5, 2, 5)):
        x = uniform(8, steps, 2, seed=k, dtype=np.float64) * (k + 1) + np.arange(steps)[:, None]
        layer(x)
        for t in range(steps):
            row = min(t, 2)             # those beyond share the last row, one after another
            values = x[:, t] @ w
            mean[row] = 0.9 * mean[row] + 0.1 * values.mean(0)
            var[row] = 0.9 * var[row] + 0.1 * values.var(0, ddof=1)
        close(norm.running_mean, mean)
        close(norm.running_var, var)
    np.testing.assert_array_equal(norm.num_batches, [3, 3, 6])
    np.testing.assert_array_equal(layer.cells[0].norm_h.num_batches, [3, 3, 6])
    assert np.ptp(layer.cells[0].norm_h.running_mean, axis=0).all()


def test_the_way_back_counts_steps_from_its_own_start():
    layer = made("RNN", 2, 3, bidirectional=True, norm="batch", max_steps=4)
    x = uniform(8, 3, 2, dtype=np.float64)
    layer(x)
    back = layer.cells[1]
    close(back.norm_x.running_mean[0], 0.1 * (x[:, -1] @ back.weight_x.data).mean(0))
    np.testing.assert_array_equal(back.norm_x.num_batches, [1, 1, 1, 0])


@each
def test_eval_uses_running_statistics_and_those_of_the_last_trained_step_beyond(name):
    layer = made(name, 2, 3, norm="batch", max_steps=10)
    for k in range(3):
        layer(uniform(8, 4, 2, seed=k, dtype=np.float64))
    layer.eval()
    before = layer.state_dict()
    x = uniform(5, 12, 2, seed=9, dtype=np.float64)
    y = layer(x)[0].data
    close(layer(x[:, :4])[0].data, y[:, :4])        # does not look ahead
    close(layer(x[1:2])[0].data, y[1:2])            # nor at other examples: one is enough
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    # The rows after the fourth were never used: those of the fourth were.
    for _, inner in layer.named_layers():
        if isinstance(inner, nn.StepNorm):
            np.testing.assert_array_equal(inner.num_batches, [3] * 4 + [0] * 6)
            inner.running_mean[4:] = np.nan
    close(layer(x)[0].data, y)
    for _, inner in layer.named_layers():
        if isinstance(inner, nn.StepNorm):
            inner.running_mean[3] += 1
    changed = layer(x)[0].data
    np.testing.assert_array_equal(changed[:, :3], y[:, :3])
    assert (np.abs(changed[:, 3:] - y[:, 3:]).max((0, 2)) > 1e-6).all()


def test_step_norm_by_its_definition():
    norm = nn.StepNorm(3, 2, gamma_init=0.5, shift=True, eps=0.01, momentum=None)
    norm.beta.data = uniform(3)
    rows = [[], []]
    for k in range(4):
        x = uniform(6, 3, seed=k)
        y = norm(x, k % 2)
        rows[k % 2].append((x.mean(0), x.var(0, ddof=1)))
        close(y.data, 0.5 * (x - x.mean(0)) / np.sqrt(x.var(0) + 0.01) + norm.beta.data)
    for k, seen in enumerate(rows):     # momentum None: the plain average
        close(norm.running_mean[k], np.mean([m for m, _ in seen], axis=0))
        close(norm.running_var[k], np.mean([v for _, v in seen], axis=0))
    norm.eval()
    expected = (x - norm.running_mean[1]) / np.sqrt(norm.running_var[1] + 0.01)
    close(norm(x, 7).data, 0.5 * expected + norm.beta.data)
    assert nn.StepNorm(3, 2).beta is None
    np.testing.assert_array_equal(nn.StepNorm(3, 2).gamma.data, np.full(3, 0.1, np.float32))
    close(nn.StepNorm(3, 2, gamma_init=1.0).eval()(x, 1).data, x / np.sqrt(1 + 1e-5))


@pytest.mark.parametrize("options, parameters, text", [
    ({"affine": False}, [], "affine=False"), ({"affine": False, "shift": True}, [], "affine=False"),
    ({"bias": True}, ["gamma", "beta"], "shift=True"), ({"bias": False}, ["gamma"], "")])
def test_step_norm_with_and_without_parameters(options, parameters, text):
    norm = nn.StepNorm(3, 2, gamma_init=1.0, **options)
    assert [name for name, _ in norm.named_parameters()] == parameters
    assert repr(norm) == (f"StepNorm(3, max_steps=2{text and ', ' + text}, eps=1e-05, "
                          f"momentum=0.1)")
    x = uniform(8, 3)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    close(norm(x, 0).data, expected, 2)
    assert norm.eval()(x, 5).shape == (8, 3)


@small_batches
@pytest.mark.parametrize("stop", ["freeze", "freeze_stats", "eval"])
def test_step_norm_stops_as_batch_norm_does(stop):
    norm, plain = nn.StepNorm(3, 2, gamma_init=1.0), nn.BatchNorm(3)
    for k in range(2):
        norm(uniform(6, 3, seed=k), 0)
        plain(uniform(6, 3, seed=k))
    assert getattr(norm, stop)() is norm
    getattr(plain, stop)()
    x, before = uniform(1, 3, seed=5), norm.state_dict()
    close(norm(x, 0).data, plain(x).data)
    np.testing.assert_array_equal(norm(x, 1).data, norm(x, 0).data)     # a step never trained
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert norm.gamma.requires_grad == (stop != "freeze")


def test_freezing_the_network_stops_statistics_and_gradients():
    layer = made("LSTM", 2, 3, norm="batch")
    layer(uniform(4, 5, 2, dtype=np.float64))
    layer.freeze()
    before = layer.state_dict()
    y, _ = layer(uniform(1, 5, 2, dtype=np.float64))
    assert not y.requires_grad
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


# --------------------------------------------------------------------------- use as a layer

def names(layer):
    return {name: value.shape for name, value in layer.state_dict().items()}


def test_names_and_shapes_of_the_state():
    assert names(nn.LSTM(2, 3, 2)) == {
        "cells.0.weight_x": (2, 12), "cells.0.weight_h": (3, 12), "cells.0.bias": (12,),
        "cells.1.weight_x": (3, 12), "cells.1.weight_h": (3, 12), "cells.1.bias": (12,)}
    assert names(nn.GRU(2, 3, bidirectional=True)) == {
        f"cells.{k}.{name}": shape for k in range(2) for name, shape in (
            ("weight_x", (2, 9)), ("weight_h", (3, 9)), ("bias", (9,)), ("bias_h", (3,)))}
    assert names(nn.RNN(2, 3, bias=False)) == {"cells.0.weight_x": (2, 3),
                                               "cells.0.weight_h": (3, 3)}
    layered = names(nn.LSTM(2, 3, norm="layer"))
    assert {name: shape for name, shape in layered.items() if "norm" in name} == {
        "cells.0.norm_x.gamma": (12,), "cells.0.norm_h.gamma": (12,),
        "cells.0.norm_c.gamma": (3,), "cells.0.norm_c.beta": (3,)}
    batched = names(nn.LSTM(2, 3, norm="batch", max_steps=5))
    assert batched["cells.0.norm_x.running_mean"] == (5, 12)
    assert batched["cells.0.norm_c.running_var"] == (5, 3)
    assert batched["cells.0.norm_h.num_batches"] == (5,)
    assert "cells.0.norm_x.beta" not in batched and "cells.0.norm_c.beta" in batched


@each
@each_norm
def test_states_copies_and_files(name, norm, tmp_path):
    layer = made(name, 2, 3, 2, bidirectional=True, norm=norm, max_steps=4, dtype=np.float32)
    layer(uniform(4, 3, 2))             # moves the statistics
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
    assert text.startswith("RNN(2, 3, num_layers=2, dropout=0.5, bidirectional=True, "
                           "nonlinearity='relu'\n")
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
    assert [row.split()[2] for row in rows if "GRUCell" in row] == ["-"]   # it takes time first


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
    """The class is the sign of the first of 4 numbers; the others are noise."""
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
    with md.no_grad():      # running statistics lag behind weights that learn this fast
        for _ in range(40):
            model(batch(64)[0])
    x, labels = batch(400)
    assert (model.predict(x).argmax(1) == labels).mean() > 0.9


# -------------------------------------------------------------------------------------- errors

SEQUENCE = uniform(4, 5, 3)
ERRORS = [
    (lambda: nn.RNN(0, 3), ["RNN", "in_features", "0"]),
    (lambda: nn.LSTM(3, 4, 0), ["LSTM", "num_layers", "0"]),
    (lambda: nn.LSTM(3, 4, max_steps=-1), ["LSTM", "max_steps", "-1"]),
    (lambda: nn.LSTM(3, 4, dropout=1.5), ["LSTM", "dropout", "1.5", "0 to 1"]),
    (lambda: nn.GRU(3, 4, dropout=np.nan), ["GRU", "dropout", "nan"]),
    (lambda: nn.RNN(3, 4, norm="group"), ["RNN", "norm", "'group'", '"layer"', '"batch"']),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ["RNN", "nonlinearity", "'gelu'", '"relu"']),
    (lambda: nn.StepNorm(0, 3), ["StepNorm", "features", "0"]),
    (lambda: nn.StepNorm(3, 0), ["StepNorm", "max_steps", "0"]),
    (lambda: nn.StepNorm(3, 3, eps=-1), ["StepNorm", "eps", "-1"]),
    (lambda: nn.StepNorm(3, 3, momentum=2), ["StepNorm", "momentum", "2"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 4), 0), ["StepNorm expected (N, 3)", "(2, 4)"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 2, 3), 0), ["StepNorm expected (N, 3)", "(2, 2, 3)"]),
    (lambda: nn.StepNorm(3, 3)(uniform(2, 3), -1), ["StepNorm", "step", "-1"]),
    (lambda: nn.StepNorm(3, 3)(uniform(1, 3), 0),
     ["StepNorm: batch_norm", "1 value", "larger batch", "eval()"]),
    (lambda: nn.LSTM(3, 4)(uniform(4, 5, 2)), ["LSTM expected sequences (N, T, 3)", "(4, 5, 2)"]),
    (lambda: nn.RNN(3, 4)(uniform(5, 3)), ["RNN expected", "(5, 3)", "x[None]"]),
    (lambda: nn.GRU(3, 4)(uniform(2, 4, 5, 3)), ["GRU expected", "(2, 4, 5, 3)"]),
    (lambda: nn.GRU(3, 4)(uniform(2, 0, 3)), ["GRU", "x (2, 0, 3)", "no time steps"]),
    (lambda: nn.GRU(3, 4)(SEQUENCE, uniform(4, 4)), ["GRU", "state h", "(1, 4, 4)", "(4, 4)"]),
    (lambda: nn.RNN(3, 4, 2)(SEQUENCE, uniform(2, 3, 4)), ["RNN", "(2, 4, 4)", "(2, 3, 4)"]),
    (lambda: nn.LSTM(3, 4)(SEQUENCE, (uniform(1, 4, 4), uniform(1, 4, 5))),
     ["LSTM", "state c", "(1, 4, 4)", "(1, 4, 5)"]),
    (lambda: nn.LSTM(3, 4)(SEQUENCE, (uniform(1, 4, 4),)), ["LSTM", "pair (h, c)", "1 of them"]),
    (lambda: nn.LSTM(3, 4, norm="batch")(uniform(1, 5, 3)), ["(1, 16)", "1 value", "eval()"]),
]


@pytest.mark.parametrize("call, words", ERRORS, ids=[" ".join(words) for _, words in ERRORS])
def test_errors_name_the_layer_and_what_is_wrong(call, words):
    with refuses(ValueError, *words):
        call()


@pytest.mark.parametrize("call, words", [
    (lambda: nn.StepNorm(3, 3, gamma_init="a"), ["StepNorm", "gamma_init", "'a'"]),
    (lambda: nn.StepNorm(3, 3)(np.ones((2, 3)), 0), ["StepNorm: batch_norm", "x float64"]),
    (lambda: nn.GRU(3, 2.5), ["GRU", "hidden", "2.5"]),
    (lambda: nn.LSTM(3, 4, norm=1), ["LSTM", "norm", "1"]),
    (lambda: nn.LSTM(3, 4)(SEQUENCE, uniform(1, 4, 4)), ["LSTM", "pair (h, c)", "ndarray"]),
    (lambda: nn.GRU(3, 4, dropout=True), ["GRU", "dropout", "True"]),
    (lambda: nn.RNN(3, 4)(None), ["RNN", "x", "NoneType"]),
    (lambda: nn.RNN(3, 4)(np.ones((2, 3, 3), int)), ["RNN", "int64", "float32"]),
    (lambda: nn.RNN(3, 4)(SEQUENCE.astype(np.float64)), ["float64", "float32"]),
    (lambda: nn.RNN(3, 4)(SEQUENCE, uniform(1, 4, 4, dtype=np.float64)),
     ["RNN", "state", "float64"]),
    (lambda: nn.GRU(3, 4)(SEQUENCE, "x"), ["GRU", "state h", "str"]),
])
def test_arguments_of_a_wrong_type(call, words):
    with refuses(TypeError, *words):
        call()


def test_a_refused_call_leaves_statistics_alone():
    layer = made("RNN", 3, 4, norm="batch")
    before = layer.state_dict()
    with refuses(ValueError, "(4, 4)"):
        layer(uniform(2, 5, 3, dtype=np.float64), uniform(4, 4, dtype=np.float64))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@both_floats
def test_constant_inputs_give_finite_gradients(dtype):
    """Equal examples, as the black rows of images: no variance over the batch."""
    layer = made("LSTM", 3, 4, norm="batch", dtype=dtype)
    y, _ = layer(np.ones((4, 6, 3), dtype))
    (y * uniform(4, 6, 4, dtype=dtype)).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in layer.parameters())


def test_recalibrate_gives_each_time_step_the_statistics_of_the_data():
    """As E30b needs it: running statistics lag, those of the data do not."""
    rnn = nn.LSTM(3, 4, norm="batch", max_steps=4).astype(np.float64)
    batches = [uniform(8, 6, 3, seed=k).astype(np.float64) for k in range(3)]
    rnn.train()
    for x in batches:       # moves the running statistics a little only
        rnn(x)
    norm = rnn.cells[0].norm_x
    lagging = norm.running_mean.copy()
    with pytest.warns(UserWarning, match=r"cells\.0\.norm_x"):
        report = nn.recalibrate(rnn, batches)
    w = rnn.cells[0].weight_x.data
    projected = np.concatenate([x @ w for x in batches])        # (24, 6, 16)
    for step in range(3):
        np.testing.assert_allclose(norm.running_mean[step], projected[:, step].mean(axis=0))
        np.testing.assert_allclose(norm.running_var[step], projected[:, step].var(axis=0))
    shared = projected[:, 3:].reshape(-1, 16)       # steps from max_steps on share the last row
    np.testing.assert_allclose(norm.running_mean[3], shared.mean(axis=0))
    np.testing.assert_allclose(norm.running_var[3], shared.var(axis=0))
    gap = next(gap for gap in report.gaps if gap.layer == "cells.0.norm_x")
    assert gap.values == 24 * 6 and rnn.training
    report.restore()
    np.testing.assert_array_equal(norm.running_mean, lagging)


def test_batch_statistics_of_recurrent_layers():
    rnn = nn.GRU(3, 4, norm="batch").astype(np.float64)
    x = uniform(8, 5, 3).astype(np.float64)
    expected = rnn(x)[0].data
    rnn.eval()
    state = rnn.state_dict()
    with nn.batch_statistics(rnn):
        np.testing.assert_allclose(rnn(x)[0].data, expected, rtol=1e-12)
    assert np.abs(rnn(x)[0].data - expected).max() > 1e-3
    for name, value in rnn.state_dict().items():
        np.testing.assert_array_equal(value, state[name])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("options", [{}, {"norm": "layer"},
                                     {"num_layers": 2, "bidirectional": True}], ids=str)
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
