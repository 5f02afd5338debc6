"""These tests check that every model of `minidl.models` computes, when compiled, what it does in
evaluation mode.
"""

import numpy as np
import pytest

import minidl as md
from minidl import models
from tests.support.compiled_models import assert_equal, check, draw, evaluated, settled, steps

SHAPES = {"mlp": (28, 28, 1), "mnist-cnn": (28, 28, 1), "lenet": (28, 28, 1)}


def made(name, **options):
    md.manual_seed(0)
    return settled(models.create(name, **options))


@pytest.mark.parametrize("name", models.names())
def test_a_model(name):
    """All of its layers become steps, so that none has to be called."""
    compiled = check(
        made(name), draw(2, *SHAPES.get(name, (32, 32, 3))), sizes=(1, 3), teams=(1, 2)
    )
    assert not [step for step in compiled.steps if step.startswith("call")]


@pytest.mark.parametrize("norm", ["layer", "group", "instance", "none"])
def test_other_normalizations(norm):
    check(
        made("resnet20", norm=norm, input_shape=(16, 16, 3)),
        draw(2, 16, 16, 3),
        sizes=(1, 3),
        teams=(1, 2),
    )


def test_other_sizes_of_images():
    check(made("mobile", input_shape=(33, 47, 3)), draw(1, 33, 47, 3), sizes=(2,), teams=(1, 2))


def test_bytes_are_divided_as_predict_does():
    model = made("mnist-cnn")
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)
    compiled = md.compile(model, images[:1])
    assert_equal(compiled(images), model.predict(images))
    assert_equal(compiled(images), compiled((images / 255).astype(np.float32)))


def test_steps_of_a_network():
    """A convolution is one step with everything that follows it."""
    compiled = md.compile(made("mnist-cnn"), draw(1, 28, 28, 1))
    assert not [step for step in steps(compiled) if step.startswith(("scale", "relu"))]


def test_precision_high_takes_no_winograd():
    model, x = made("vgg8"), draw(2, 32, 32, 3)
    assert any("winograd" in step for step in md.compile(model, x).steps)
    md.set_precision("high")
    try:
        compiled = md.compile(model, x)
        expected = evaluated(model, x)
    finally:
        md.set_precision("default")
    assert not any("winograd" in step for step in compiled.steps)
    assert np.abs(compiled(x) - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["mnist-cnn", "resnet20", "mobile", "vgg8"])
def test_an_image_has_the_same_bits_in_any_batch(name):
    x = draw(23, *SHAPES.get(name, (32, 32, 3)))
    compiled = md.compile(made(name), x[:1])
    expected = compiled(x)
    for first, after in ((0, 1), (1, 3), (3, 10), (10, 23)):
        np.testing.assert_array_equal(compiled(x[first:after]), expected[first:after])
