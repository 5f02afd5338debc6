"""These tests check the program of a compiled model: batches of any size, constants, and what is
refused.
"""

import itertools
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.compiled_models import (
    assert_equal,
    check,
    conv,
    draw,
    evaluated,
    module,
    settled,
    steps,
)
from tests.support.errors import refuses

X = draw(4, 8)


# ------------------------------------------------------------------------------- the batch


@pytest.mark.parametrize("size", [1, 2, 3, 9, 40])
def test_an_example_of_any_size(size):
    """The example may have the size of another axis as its batch size."""
    model = settled(
        nn.Sequential(conv(3, 8), nn.BatchNorm(8), nn.ReLU(), nn.Flatten(), nn.Dense(9 * 9 * 8, 9))
    )
    compiled = md.compile(model, draw(size, 9, 9, 3))
    for batch in (1, 2, 7, 50):
        x = draw(batch, 9, 9, 3, seed=batch)
        assert_equal(compiled(x), evaluated(model, x))


def test_no_images():
    model = settled(nn.Sequential(conv(3, 8), nn.MaxPool(2), nn.Flatten(), nn.Dense(128, 5)))
    compiled = md.compile(model, draw(1, 8, 8, 3))
    assert_equal(compiled(draw(0, 8, 8, 3)), evaluated(model, draw(0, 8, 8, 3)))


def test_one_image_is_not_one_channel():
    check(lambda x: md.relu(x) * 2, draw(2, 2, 2, 2))
    check(lambda x: x.reshape(len(x) * 3, -1) + x.shape[0], draw(3, 3, 4))


def fixed(model, example, *words):
    """Return the compiled model. A warning says that its batch size is fixed to that of the
    example.
    """
    with pytest.warns(UserWarning, match="compile: .*batch axis is fixed"):
        compiled = md.compile(model, example)
    assert_equal(compiled(example), evaluated(model, example))
    with refuses(ValueError, "Compiled: input 0 must have shape", str(example.shape)):
        compiled(np.concatenate([example, example]))
    return compiled


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x.reshape(4, 2, 4) * 2,  # fails for other batch sizes
        lambda x: x * 2 if len(x) < 5 else x * 3,  # computes something else for other batch sizes
        lambda x: x * len(x) ** 2,  # depends on the batch size in a nonlinear way
        lambda x: x[: len(x) // 2 + 1] * 2,
        lambda x: x + min(len(x), 5),
        lambda x: md.squeeze(x[:, :1]) * 2,  # of another rank for a batch of 1
    ],
)
def test_a_model_of_one_batch(model):
    fixed(model, X)


def test_a_number_that_is_another_one_at_each_call():
    calls = itertools.count()
    with (
        pytest.warns(UserWarning, match="depends on the size of the batch"),
        refuses(NotImplementedError, "compile: a number that the model returns", "at each call"),
    ):
        md.compile(lambda x: {"y": x * 2, "calls": next(calls)}, X)


def test_an_error_of_the_model_is_raised_as_it_is():
    def model(x):
        raise KeyError("of the model")

    with pytest.raises(KeyError, match="of the model"):
        md.compile(model, X)
    with pytest.raises(ValueError, match="matmul"):
        md.compile(lambda x: x @ np.ones((3, 2), np.float32), X)


# -------------------------------------------------------------------------------- constants


def test_arrays_as_long_as_the_batch():
    """These arrays are the same for every image, as the initial state of a recurrent layer."""
    check(lambda x: md.relu(x + md.ones(len(x), 8) * 2), X)
    check(lambda x: md.concatenate([x, md.zeros(len(x), 1)], axis=-1), X)
    check(lambda x: md.ones(len(x), 3), X)
    check(lambda x: md.concatenate([x[:1], md.ones(len(x) - 1, 8)]), X)  # of one for a batch of 2
    check(lambda x: md.concatenate([x[:2], md.ones(len(x) - 2, 8)]), X, sizes=(2, 3, 7))
    check(lambda x: x + np.resize(np.arange(8, dtype=np.float32), (len(x), 8)), X)
    for model in (
        lambda x: x + md.tensor(np.arange(len(x), dtype=np.float32).reshape(-1, 1)),
        lambda x: x[np.arange(len(x)), 0],
        lambda x: x + md.randn(*x.shape),
    ):
        with refuses(NotImplementedError, "compile:", "makes anew for each size of the batch"):
            md.compile(model, X)


def test_sizes_among_constants():
    """An array that is made of constants alone, but is as long as the batch, is no constant. The
    number of images is a number, for any number of channels.
    """
    w = md.tensor(np.arange(1.0, 4.0))
    check(lambda x: (x * 2, md.broadcast_to(w, (len(x), 3)) + 1), X)
    for channels in (1, 2, 3):
        x = draw(4, channels)
        for f in (
            lambda x: x * len(x),
            lambda x: x + len(x),
            lambda x: x + md.tensor(2.0) * len(x),
        ):
            check(f, x)


def test_chance_in_a_model_of_one_batch():
    with (
        pytest.warns(UserWarning, match="batch axis is fixed"),
        refuses(NotImplementedError, "makes anew"),
    ):
        md.compile(lambda x: x.reshape(4, 2, 4) + md.randn(4), X)


def test_a_model_of_one_batch_has_plans():
    model = nn.Sequential(nn.Dense(8, 4), nn.ReLU(), lambda x: x.reshape(8, 4) * 2)
    assert steps(fixed(model, draw(8, 8))) == ["conv 1x1, relu", "map, scale and shift"]


def test_what_depends_on_no_input_is_computed_once():
    model = nn.weight_norm(nn.Dense(8, 3))
    compiled = check(module(lambda x, d: md.relu(d(x)), model), X)
    assert steps(compiled) == ["conv 1x1, relu"]


def test_constants_that_are_returned():
    compiled = md.compile(lambda x: (x * 2, md.tensor(np.arange(3.0))), X)
    compiled(X)[1][...] = 7
    np.testing.assert_array_equal(compiled(X)[1], np.arange(3))


# ---------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x * x.mean().item(), "Python takes values out of mean"),
        (lambda x: x if x.sum() > 0 else -x, "Python takes values out of compare"),
        (lambda x: x * float(x.data.max()), "Python takes values out of input"),
        (lambda x: md.batch_norm(x, None, None, training=True), "BatchNorm) is in training mode"),
        (lambda x: md.dropout(x, 0.5, training=True), "dropout draws a dropout mask"),
        (lambda x: x / float(len(x)), "2.0 for 2 images"),
    ],
)
def test_what_cannot_be_compiled_is_refused(model, words):
    with refuses(NotImplementedError, "compile: ", words):
        md.compile(model, X)


def test_norms_and_dropout_of_a_model_in_training_mode_are_in_evaluation_mode():
    model = settled(nn.Sequential(nn.Dense(8, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.ReLU()))
    assert model.training
    state = {name: array.copy() for name, array in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = check(model, X)
    assert model.training and all(part.training for _, part in model.named_layers())
    assert steps(compiled) == ["conv 1x1, relu"]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_a_norm_without_running_statistics_is_refused():
    model = nn.Sequential(nn.Dense(8, 8), nn.BatchNorm(8, track_stats=False))
    with refuses(NotImplementedError, "in training mode"):
        md.compile(model, X)


def test_wrong_arguments_are_refused():
    with refuses(TypeError, "compile: model must be a layer or a function, got int"):
        md.compile(3, X)
    with refuses(TypeError, "compile: an example", "md.compile(model, images[:1])"):
        md.compile(nn.Dense(8, 3))
    for example in (3, None, "x", (X, X), {"x": X}):
        with refuses(TypeError, "compile: examples[1] must be an array or a tensor"):
            md.compile(lambda x, y: x, X, example)
    with refuses(ValueError, "at least one entry"):
        md.compile(nn.Dense(8, 3), X[:0])
