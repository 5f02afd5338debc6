"""These tests check the modes of a layer: train and eval, freeze and freeze_stats, float32 and
float64.
"""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses


def net():
    md.manual_seed(0)
    return nn.Sequential(nn.Dense(4, 6, bias=False), nn.BatchNorm(6), nn.ReLU(), nn.Dense(6, 2))


def buffers(model):
    return {name: np.array(value) for name, value in model.named_buffers()}


def same(a, b):
    assert list(a) == list(b)
    return all(np.array_equal(a[name], b[name]) for name in a)


def modes(model):
    return {layer.training for _, layer in model.named_layers()}


def train_once(model, x=None):
    """Run one backward and one step on what may learn, and return the output."""
    y = model(uniform(8, 4) if x is None else x)
    model.zero_grad()
    (y * y).sum().backward()
    optim.SGD(model.parameters(), lr=0.1).step()
    return y


def test_train_and_eval_reach_every_layer_and_return_the_model():
    model = nn.Sequential(net(), nn.Dropout())
    assert modes(model) == {True}
    assert model.eval() is model and modes(model) == {False}
    assert model.train() is model and modes(model) == {True}
    model.train(False)
    assert modes(model) == {False}
    model[0].train()
    assert not model.training and modes(model[0]) == {True}


def test_eval_changes_no_statistics():
    model = net().eval()
    before = buffers(model)
    model(uniform(8, 4))
    assert same(before, buffers(model))
    model.train()(uniform(8, 4))
    assert not same(before, buffers(model))


def test_freeze_stops_parameters_and_statistics():
    model = net()
    train_once(model)
    expected = model.eval()(uniform(8, 4)).data
    model.train()
    state = model.state_dict()
    assert model.freeze() is model
    assert model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for p in model.parameters())
    y = model(uniform(8, 4))
    assert not y.requires_grad
    np.testing.assert_array_equal(y.data, expected)  # the running statistics are used
    model.train()
    model(uniform(8, 4, seed=1))
    assert same(state, model.state_dict())


def test_a_frozen_part_passes_gradients_on():
    model = net()
    train_once(model)
    model[1].freeze()
    model[3].freeze()
    before = model.state_dict()
    train_once(model)
    after = model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"0.weight"}


def test_freeze_stats_stops_the_statistics_only():
    model = net()
    train_once(model)
    assert model[1].freeze_stats() is model[1]
    before = model.state_dict()
    x = uniform(8, 4, seed=2)
    h = model[0](x).data
    expected = (h - before["1.running_mean"]) / np.sqrt(before["1.running_var"] + 1e-5) * before[
        "1.gamma"
    ] + before["1.beta"]
    close(model[1](md.tensor(h)).data, expected)
    train_once(model, x)
    after = model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"0.weight", "1.gamma", "1.beta", "3.weight", "3.bias"}


@pytest.mark.parametrize("stop", ["freeze", "freeze_stats"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_copy_stays_frozen(stop, copied):
    layer = nn.BatchNorm(4)
    getattr(layer, stop)()
    twin = copied(layer)
    before = buffers(twin)
    twin(uniform(8, 4))
    assert same(before, buffers(twin))
    assert all(p.requires_grad == (stop == "freeze_stats") for p in twin.parameters())


def test_astype_converts_parameters_and_float_buffers():
    model = net()
    train_once(model)
    before = model.state_dict()
    objects = model.parameters()
    assert model.astype(np.float64) is model
    assert all(p is q for p, q in zip(model.parameters(), objects, strict=True))
    assert all(p.grad is None and p.requires_grad for p in objects)
    after = model.state_dict()
    assert after["1.num_batches"].dtype == np.int64
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])
        if name != "1.num_batches":
            assert value.dtype == np.float64
    y = model(uniform(8, 4, dtype=np.float64))
    assert y.dtype == np.float64
    y.sum().backward()
    assert {p.grad.dtype for p in objects} == {np.dtype(np.float64)}
    assert model.astype("float32")(uniform(8, 4)).dtype == np.float32


def test_astype_keeps_shared_parameters_shared():
    model = nn.Sequential(nn.Dense(3, 3, bias=False), nn.Dense(3, 3, bias=False))
    model[1].weight = model[0].weight
    model.astype(np.float64)
    assert model[1].weight is model[0].weight
    assert model[0].weight.dtype == np.float64


@pytest.mark.parametrize(
    "holder",
    [
        lambda a: a,
        lambda a: [a, None],
        lambda a: (a, None),
        lambda a: {"a": a},
        lambda a: {0: a},
        lambda a: {"a.b": a},
        lambda a: {"a": [(a,)]},
    ],
    ids=["attribute", "list", "tuple", "dict", "number as key", "dot in a key", "nested"],
)
def test_astype_converts_buffers_wherever_they_are(holder):
    layer = nn.Layer()
    layer.held = holder(np.arange(3, dtype=np.float32))
    names = [name for name, _ in layer.named_buffers()]
    layer.astype(np.float64)
    assert [name for name, _ in layer.named_buffers()] == names
    for _, value in layer.named_buffers():
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, [0, 1, 2])


@pytest.mark.parametrize("dtype", [np.float16, np.int64, "complex64"])
def test_astype_refuses_other_types(dtype):
    model = net()
    with refuses(TypeError, "float32", "float64", np.dtype(dtype).name):
        model.astype(dtype)
    assert model[0].weight.dtype == np.float32


def test_mixed_types_are_refused():
    x = uniform(8, 4, dtype=np.float64)
    for layer in (nn.Dense(4, 2), nn.BatchNorm(4)):
        with refuses(TypeError, "float64", "float32"):
            layer(x)
    with refuses(TypeError, "float64", "float32"):
        nn.Conv(4, 2, 1)(x.reshape(8, 1, 1, 4))


def test_unfreeze_undoes_freeze():
    model = net()
    model[3].bias.requires_grad = False
    before = [p.requires_grad for p in model.parameters()]
    assert model.freeze().freeze() is model  # a second call changes nothing
    assert model.unfreeze() is model
    assert [p.requires_grad for p in model.parameters()] == before
    state = model.state_dict()
    train_once(model)
    after = model.state_dict()
    changed = {name for name in state if not np.array_equal(state[name], after[name])}
    assert changed == {name for name in state if name != "3.bias"}


def test_unfreeze_a_part_and_in_stages():
    model = net().freeze()
    model[3].unfreeze()
    assert [p.requires_grad for p in model.parameters()] == [False] * 3 + [True] * 2
    assert model.frozen and not model[3].frozen and model[1].frozen
    model.freeze().unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(layer.frozen for _, layer in model.named_layers())
    model[1].freeze_stats()
    model.freeze().unfreeze()
    assert model[1].stats_frozen  # freeze had not set it, so unfreeze leaves it


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_copy_can_be_unfrozen(copied):
    model = net()
    model[0].weight.requires_grad = False
    twin = copied(model.freeze()).unfreeze()
    assert [p.requires_grad for p in twin.parameters()] == [False] + [True] * 4
    assert not any(p.requires_grad for p in model.parameters())


def test_constants_stay_constants():
    model = net()
    train_once(model)
    for frozen in (model, model.freeze()):
        folded = nn.fold(copy.deepcopy(frozen).eval()).unfreeze()
        assert not any(p.requires_grad for p in folded.parameters())
        folded.freeze().unfreeze()
        assert not any(p.requires_grad for p in folded.parameters())


@pytest.mark.parametrize("stop", ["freeze", "freeze_stats"])
def test_a_frozen_model_that_is_saved_and_loaded(stop, tmp_path):
    """Modes are no part of a state: the outputs in evaluation mode are the same whatever the modes
    are, and those in training mode are if the other model is frozen, too.
    """

    def make():
        model = nn.Sequential(nn.Dense(4, 6), nn.BatchNorm(6), nn.RNN(6, 6, norm="batch"))
        return model, [model[1], model[2].cells[0].norm_x, model[2].cells[0].norm_h]

    def run(model, x):
        return model[2](model[1](model[0](x)).reshape(4, 2, 6))[0]

    def stopped(model, norms):
        for layer in [model] if stop == "freeze" else norms:
            getattr(layer, stop)()

    model, norms = make()
    for seed in range(3):
        run(model, uniform(8, 4, seed=seed))
    stopped(model, norms)
    md.save(tmp_path / "model.safetensors", model.state_dict())
    other, its_norms = make()
    other.load_state_dict(md.load(tmp_path / "model.safetensors"))
    x = uniform(8, 4, seed=9)
    np.testing.assert_array_equal(run(other.eval(), x).data, run(model.eval(), x).data)
    stopped(other.train(), its_norms)
    np.testing.assert_array_equal(run(other, x).data, run(model.train(), x).data)
    assert [p.requires_grad for p in other.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert same(model.state_dict(), other.state_dict())  # nothing has changed
