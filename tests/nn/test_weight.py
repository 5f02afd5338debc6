"""These tests check weight normalization and standardization as parts of layers: state, training,
and what they refuse.

Values and gradients of the layers are in `test_layers`, those of the functions in
`tests/ops/test_weight.py`.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends
from tests.support.reference.norm import weight_norm, weight_standardization

MAKE = {
    "Dense": (lambda: nn.Dense(6, 4), (3, 6)),
    "Conv": (lambda: nn.Conv(6, 4, 3), (2, 5, 5, 6)),
    "Conv1d": (lambda: nn.Conv1d(6, 4, 3), (2, 5, 6)),
    "ConvTranspose": (lambda: nn.ConvTranspose(6, 4, 2, 2), (2, 3, 3, 6)),
}
KINDS = {"norm": nn.weight_norm, "standardization": nn.weight_standardization}
each_layer = pytest.mark.parametrize("make, shape", MAKE.values(), ids=MAKE)
each_kind = pytest.mark.parametrize("wrap", KINDS.values(), ids=KINDS)


def same(layer, other, shape):
    x = uniform(*shape, seed=9)
    np.testing.assert_array_equal(layer(x).data, other(x).data)


@each_layer
def test_weight_norm_starts_as_the_layer_was(make, shape):
    layer, x = make(), uniform(*shape)
    before = layer(x).data.copy()
    assert nn.weight_norm(layer) is layer
    close(layer(x).data, before)
    close(layer.effective_weight().data, layer.weight.data)
    w = layer.weight.data
    close(layer.transform.gain.data, np.sqrt((w * w).sum(tuple(range(w.ndim - 1)))))


@each_layer
def test_the_effective_weight(make, shape):
    layer = make()
    assert layer.effective_weight() is layer.weight
    standard = nn.weight_standardization(copy.deepcopy(layer), 0.01)
    close(standard.effective_weight().data, weight_standardization(layer.weight.data, 0.01))
    normed = nn.weight_norm(copy.deepcopy(layer))
    normed.transform.gain.data = gain = uniform(4)
    # The layer uses the new weight at its next call.
    normed.weight.data = v = uniform(*layer.weight.shape, seed=1)
    close(normed.effective_weight().data, weight_norm(v, gain))


@each_layer
def test_a_plain_layer_has_no_trace_of_it(make, shape):
    layer = make()
    assert layer.transform is None and "transform" not in vars(layer)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert "transform" not in repr(layer)


# ------------------------------------------------------------------------------------- state


@each_layer
@each_kind
def test_state_dict_files_copies_and_pickles(make, shape, wrap, tmp_path):
    layer = wrap(make())
    names = ["weight", "bias"] + ["transform.gain"] * (wrap is nn.weight_norm)
    assert [name for name, _ in layer.named_parameters()] == list(layer.state_dict()) == names
    for p in layer.parameters():
        p.data = p.data * 1.5
    md.save(tmp_path / "layer", layer.state_dict())
    again = wrap(make())
    assert not np.array_equal(again(uniform(*shape)).data, layer(uniform(*shape)).data)
    again.load_state_dict(md.load(tmp_path / "layer"))
    for other in (again, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(layer, other, shape)
        assert repr(other) == repr(layer)
        before = layer(uniform(*shape)).data.copy()
        for p in other.parameters():
            p.data = p.data - 1
        np.testing.assert_array_equal(layer(uniform(*shape)).data, before)
    if wrap is nn.weight_norm:
        with refuses(nn.StateError, "missing: transform.gain"):
            layer.load_state_dict(make().state_dict())
        with refuses(nn.StateError, "unexpected: transform.gain"):
            make().load_state_dict(layer.state_dict())


@each_layer
@each_kind
def test_astype_freeze_and_modes(make, shape, wrap):
    layer = wrap(make()).astype(np.float64)
    assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float64)}
    assert layer(uniform(*shape, dtype=np.float64)).dtype == np.float64
    assert not layer.eval().transform.training
    layer.freeze()
    assert layer.transform.frozen
    assert not layer(uniform(*shape, dtype=np.float64)).requires_grad
    for p in layer.parameters():
        assert not p.requires_grad


@each_kind
def test_a_frozen_layer_stays_frozen(wrap):
    layer = wrap(nn.Dense(4, 3).freeze().eval())
    assert layer.transform.frozen and not layer.transform.training
    assert not layer(uniform(2, 4)).requires_grad
    assert not wrap(nn.Dense(4, 3)).transform.frozen


def test_weights_in_any_memory_order():
    layer = nn.Dense(4, 3)
    layer.weight.data = np.asfortranarray(uniform(4, 3))
    for wrapped in (
        nn.weight_norm(copy.deepcopy(layer)),
        nn.weight_standardization(copy.deepcopy(layer)),
    ):
        expected = wrapped.effective_weight().data
        wrapped.weight.data = np.ascontiguousarray(wrapped.weight.data)
        np.testing.assert_array_equal(wrapped.effective_weight().data, expected)


def test_a_weight_that_is_made_float64():
    layer = nn.weight_norm(nn.Dense(4, 3).astype(np.float64))
    assert layer.transform.gain.dtype == np.float64


# --------------------------------------------------------------------------------------- use


def test_summary_and_predict():
    model = nn.Sequential(
        nn.weight_norm(nn.Conv(1, 2, 3)), nn.Flatten(), nn.weight_standardization(nn.Dense(32, 5))
    )
    rows = [line.split() for line in model.summary((6, 6, 1)).splitlines()]
    assert ["0.transform", "WeightNorm", "-", "2"] in rows
    assert ["2.transform", "WeightStandardization", "-", "0"] in rows
    assert ["2", "Dense", "(5,)", "165"] in rows
    x = uniform(3, 6, 6, 1)
    close(model.predict(x), model(x).data)


@both_backends
@pytest.mark.parametrize(
    "options", [{"kernel_size": 1}, {"kernel_size": 3, "groups": 16}, {"kernel_size": 3}]
)
@each_kind
def test_between_normalizations(options, wrap, backend):
    """Convolutions read through a normalization here, or use Winograd's algorithm."""

    def net(convolution):
        return nn.Sequential(nn.BatchNorm(16), nn.ReLU(), convolution, nn.BatchNorm(16), nn.ReLU())

    x, dy = uniform(3, 6, 6, 16), uniform(3, 6, 6, 16, seed=1)
    wrapped = wrap(nn.Conv(16, 16, **options, padding="same", bias=False))
    plain = nn.Conv(16, 16, **options, padding="same", bias=False)
    plain.weight.data = wrapped.effective_weight().data
    results = []
    with md.use_backend(backend):
        for convolution in (plain, wrapped):
            model, images = net(convolution), md.tensor(x, requires_grad=True)
            y = model(images)
            y.backward(dy)
            results.append((y.data, images.grad))
        through = copy.deepcopy(wrapped)
        through.zero_grad()
        through.effective_weight().backward(plain.weight.grad)
    for got, expected in zip(results[1], results[0], strict=True):
        close(got, expected)
    close(wrapped.weight.grad, through.weight.grad, 10)


def test_a_weight_standardized_block():
    md.manual_seed(0)
    block = nn.Sequential(
        nn.weight_standardization(nn.Conv(3, 16, 3)), nn.GroupNorm(4, 16), nn.ReLU()
    )
    x = uniform(2, 8, 8, 3)
    plain = nn.Conv(3, 16, 3)
    plain.weight.data = weight_standardization(block[0].weight.data)
    plain.bias.data = block[0].bias.data
    close(block(x).data, nn.Sequential(plain, block[1], block[2])(x).data, 10)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_sgd_steps_of_weight_norm_are_those_of_numpy(momentum):
    """The gradients are those of the paper's equation 3, in float64."""
    layer = nn.weight_norm(nn.Dense(5, 3, bias=False)).astype(np.float64)
    x, t = uniform(20, 5, dtype=np.float64), uniform(20, 3, dtype=np.float64, seed=1)
    v, g = layer.weight.data.copy(), layer.transform.gain.data.copy()
    optimizer = optim.SGD(layer.parameters(), lr=0.3, momentum=momentum)
    steps = [np.zeros_like(v), np.zeros_like(g)]
    losses = []
    for _ in range(20):
        loss = md.mse_loss(layer(x), t)
        layer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        norm = np.linalg.norm(v, axis=0)
        error = x @ (g * v / norm) - t
        assert np.isclose(losses[-1], (error**2).mean(), rtol=1e-12)
        dw = x.T @ error * 2 / error.size
        dg = (dw * v).sum(0) / norm
        dv = g / norm * dw - g * dg / norm**2 * v
        steps = [momentum * s + d for s, d in zip(steps, (dv, dg), strict=True)]
        v, g = v - 0.3 * steps[0], g - 0.3 * steps[1]
        close(layer.weight.data, v, 100)
        close(layer.transform.gain.data, g, 100)
    assert losses[-1] < 0.5 * losses[0]


def test_adam_steps_of_weight_standardization():
    """Only v is learned, and the mean over an output's weights gets no gradient."""
    md.manual_seed(0)
    layer = nn.weight_standardization(nn.Conv(2, 4, 3)).astype(np.float64)
    x, t = uniform(4, 6, 6, 2, dtype=np.float64), uniform(4, 4, 4, 4, dtype=np.float64, seed=1)
    optimizer = optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = md.mse_loss(layer(x), t)
        layer.zero_grad()
        loss.backward()
        assert np.abs(layer.weight.grad).max() > 1e-3
        assert np.abs(layer.weight.grad.sum((0, 1, 2))).max() < 1e-12
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# ------------------------------------------------------------------------------------ errors


@each_kind
def test_bad_arguments_are_refused(wrap):
    name = wrap.__name__
    for stranger in (nn.ReLU(), nn.BatchNorm(3), nn.Embedding(4, 3), None, nn.Parameter([1.0])):
        with refuses(
            TypeError,
            name,
            "layer",
            "Dense, Conv, Conv1d or ConvTranspose",
            type(stranger).__name__,
        ):
            wrap(stranger)
    layer = nn.weight_norm(nn.Dense(4, 3))
    with refuses(ValueError, name, "Dense already has a transform", "WeightNorm"):
        wrap(layer)


def test_a_refused_layer_is_as_before():
    for wrap, make, words in (
        (nn.weight_standardization, lambda: nn.Dense(1, 3), ["(1, 3)", "fewer than 2"]),
        (nn.weight_standardization, lambda: nn.Conv(16, 16, 1, groups=16), ["(1, 1, 1, 16)"]),
        (
            lambda layer: nn.weight_standardization(layer, -1),
            lambda: nn.Dense(4, 3),
            ["weight_standardization", "eps", "-1"],
        ),
        (nn.weight_norm, lambda: zeros_in(nn.Dense(4, 3)), ["output 1 of layer Dense", "zeros"]),
    ):
        layer = make()
        with refuses(ValueError, *words):
            wrap(layer)
        assert layer.transform is None
    with refuses(TypeError, "weight_standardization", "eps", "'a'"):
        nn.weight_standardization(nn.Dense(4, 3), "a")


def zeros_in(layer):
    layer.weight.data[:, 1] = 0
    return layer
