"""These tests use layers: hooks, predict, repr and summary."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses


class Failing(nn.Layer):
    def forward(self, x):
        raise RuntimeError("no answer")


def net():
    md.manual_seed(0)
    return nn.Sequential(
        nn.Dense(4, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.5), nn.Dense(6, 2)
    )


# -------------------------------------------------------------------------------------- hooks


def test_hooks_see_every_call_and_may_replace_the_output():
    layer, calls = nn.Dense(3, 2), []

    def note(*arguments):
        calls.append(arguments)

    noting = layer.register_forward_hook(note)
    doubling = layer.register_forward_hook(lambda layer, inputs, output: output * 2)
    layer.register_forward_hook(note)
    x = md.tensor(uniform(4, 3))
    plain = layer.forward(x)
    y = layer(x)
    np.testing.assert_array_equal(y.data, 2 * plain.data)
    assert [call[:2] for call in calls] == [(layer, (x,)), (layer, (x,))]
    np.testing.assert_array_equal(calls[0][2].data, plain.data)
    assert calls[1][2] is y  # hooks run in order, each on the result of the one before
    y.sum().backward()
    close(layer.bias.grad, np.full(2, 8.0))
    doubling.remove()
    doubling.remove()  # a second call does nothing
    np.testing.assert_array_equal(layer(x).data, plain.data)
    assert len(calls) == 4
    noting.remove()
    layer(x)
    assert len(calls) == 5


def test_a_hook_may_remove_itself():
    layer, count = nn.Identity(), []

    def once(layer, inputs, output):
        count.append(output)
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer(uniform(2))
    layer(uniform(2))
    assert len(count) == 1


def test_a_copy_has_hooks_of_its_own():
    layer, calls = nn.Identity(), []
    handle = layer.register_forward_hook(lambda *arguments: calls.append(arguments[0]))
    twin = copy.deepcopy(layer)
    handle.remove()
    twin(uniform(2))
    layer(uniform(2))
    assert calls == [twin]


def test_a_hook_inside_a_fused_chain_sees_exact_values():
    x, seen = uniform(16, 3), []
    plain = nn.Sequential(nn.BatchNorm(3), nn.ReLU())(x).data
    model = nn.Sequential(nn.BatchNorm(3), nn.ReLU())
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    np.testing.assert_array_equal(model(x).data, plain)
    close(seen[0].data, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5))
    assert (seen[0].data < 0).any()


# ------------------------------------------------------------------------------------ predict


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 256])
def test_predict_gives_every_row_in_eval_mode(batch_size):
    model = net()
    for seed in range(3):
        model(uniform(8, 4, seed=seed))
    sizes = []
    model.register_forward_hook(
        lambda layer, inputs, output: sizes.append(
            (len(inputs[0]), layer.training, output.requires_grad)
        )
    )
    x = uniform(10, 4)
    before = model.state_dict()
    result = model.predict(x, batch_size)
    assert [size for size, *_ in sizes] == [
        min(batch_size, 10 - k) for k in range(0, 10, batch_size)
    ]
    assert {mode for _, *mode in sizes for mode in mode} == {False}
    assert type(result) is np.ndarray
    close(result, model.eval()(x).data)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_predict_restores_the_mode_of_each_layer():
    model = nn.Sequential(net(), nn.Identity())
    model[0][1].eval()
    before = [layer.training for _, layer in model.named_layers()]
    assert True in before and False in before
    model.predict(uniform(2, 4))
    assert [layer.training for _, layer in model.named_layers()] == before


def test_predict_restores_modes_after_an_exception():
    model = nn.Sequential(net(), Failing())
    model[0][1].eval()
    before = [layer.training for _, layer in model.named_layers()]
    with pytest.raises(RuntimeError, match="no answer"):
        model.predict(uniform(2, 4))
    assert [layer.training for _, layer in model.named_layers()] == before
    assert model[0](uniform(8, 4)).requires_grad  # graphs are recorded again


def test_predict_divides_bytes_by_255():
    images = np.arange(256, dtype=np.uint8).reshape(2, 8, 16, 1)
    result = nn.Identity().predict(images)
    assert result.dtype == np.float32
    close(result, images / 255)
    model = models.MLP(128)
    expected = model.predict((images / 255).astype(np.float32))
    close(model.predict(images), expected)
    assert model.predict(images[:0]).shape == (0, 10)


def test_predict_takes_tensors_and_arrays_of_any_order():
    layer, x = nn.Dense(3, 2), uniform(4, 3)
    expected = layer(x).data
    for given in (md.tensor(x), np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(layer.predict(given), expected)


@pytest.mark.parametrize(
    "x, batch_size, error, words",
    [
        ((2, 4), 0, ValueError, ["batch_size", "0"]),
        ((2, 4), 2.5, TypeError, ["batch_size", "2.5"]),
        ((2, 4), True, TypeError, ["batch_size", "True"]),
        ((), 1, ValueError, ["batch axis"]),
        ((2, 5), 1, ValueError, ["Dense", "(1, 5)"]),
    ],
)
def test_predict_refuses_bad_arguments(x, batch_size, error, words):
    model = net()
    with refuses(error, *words):
        model.predict(uniform(*x), batch_size)
    assert model.training


# ----------------------------------------------------------------------------- repr, summary


def test_repr_shows_the_tree():
    model = nn.Sequential(nn.Conv(1, 8, 3, padding="same", bias=False), nn.BatchNorm(8))
    model.append(nn.Sequential(nn.ReLU(), nn.Dropout(0.25)))
    assert (
        repr(model)
        == """\
Sequential(
  (0): Conv(1, 8, kernel_size=(3, 3), padding='same', bias=False)
  (1): BatchNorm(8, eps=1e-05, momentum=0.1)
  (2): Sequential(
    (0): ReLU()
    (1): Dropout(p=0.25)
  )
)"""
    )


def test_summary_lists_layers_shapes_and_parameters():
    model = models.MnistCNN()
    model.fc2.freeze()
    lines = model.summary((28, 28, 1)).splitlines()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert rows["conv1"] == "Conv (28, 28, 32) 288"
    assert rows["bn2"] == "BatchNorm (14, 14, 64) 128"
    assert rows["fc1"] == "Dense (128,) 401,408"
    assert rows["fc2"] == "Dense (10,) 1,290"
    assert lines[-1] == "421,866 parameters, 420,576 of them trained"
    assert len({len(line) for line in lines[:-1]}) == 1  # all lines have the same width


def test_summary_leaves_the_model_alone():
    model = net().astype(np.float64)
    before = model.state_dict()
    text = model.summary((4,))
    assert "BatchNorm" in text and "(6,)" in text
    assert {layer.training for _, layer in model.named_layers()} == {True}
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    pickle.dumps(model)  # the hooks that summary uses could not be pickled


def test_summary_of_one_layer_and_of_a_shared_one():
    assert nn.Dense(3, 2).summary((3,)).splitlines()[-1] == "8 parameters, 8 of them trained"
    layer = nn.Dense(3, 3)
    text = nn.Sequential(layer, nn.Tanh(), layer).summary((3,))
    assert text.splitlines()[-1] == "12 parameters, 12 of them trained"


def test_summary_says_when_the_shape_does_not_fit():
    model = net()
    with refuses(ValueError, "summary", "(5,)", "batch axis", "Dense expected 4 features"):
        model.summary((5,))
    assert model.training
    seen = model(uniform(8, 4))
    assert seen.requires_grad


def test_predict_takes_bytes_and_lists_whatever_the_dtype_of_the_model():
    images = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for dtype in (np.float32, np.float64):
        model = nn.Dense(4, 2).astype(dtype)
        np.testing.assert_allclose(
            model.predict(images), images / 255 @ model.weight.data, rtol=1e-5, atol=1e-7
        )
        assert model.predict(images).dtype == dtype
    assert nn.Dense(2, 2).predict([[1.0, 2.0]]).shape == (1, 2)
    assert nn.Parameter([1.0]).dtype == np.float32
