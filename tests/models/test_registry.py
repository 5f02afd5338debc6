"""These tests make models by name."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches

pytestmark = small_batches

NAMES = [
    "mlp",
    "mnist-cnn",
    "lenet",
    "resnet20",
    "resnet32",
    "resnet56",
    "vgg8",
    "vgg16",
    "mobile",
    "wrn-16-4",
    "cifar-fast",
]
OF_MNIST = {"mlp", "mnist-cnn", "lenet"}


def test_names():
    assert models.names() == NAMES
    models.names().clear()
    assert models.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_model(name):
    model = models.create(name)
    assert model.training and model.classes == 10
    assert model.input_shape == ((28, 28, 1) if name in OF_MNIST else (32, 32, 3))
    other = models.create(
        name, classes=3, input_shape=(40, 36, 2), norm="none", norm_position="after"
    )
    assert type(other) is type(model)
    assert other(uniform(2, 40, 36, 2)).shape == (2, 3)
    assert not any(isinstance(layer, nn.BatchNorm) for _, layer in other.named_layers())


def test_options_of_one_model():
    assert models.create("mlp", hidden=7).fc1.out_features == 7
    assert not models.create("resnet20", zero_gamma=True).blocks[0].bn2.gamma.data.any()
    assert models.create("cifar-fast", widths=[8, 8, 8]).widths == (8, 8, 8)


def test_the_seed_decides_the_weights():
    found = []
    for make in (lambda: models.create("lenet"), models.LeNet):
        md.manual_seed(3)
        found.append(make().fc1.weight.data)
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnet-20", "did you mean resnet20"),
        ("ResNet56", "did you mean resnet56"),
        ("wrn", "did you mean wrn-16-4"),
        ("MNIST_CNN", "did you mean mnist-cnn"),
        ("", "; the names"),
        ("transformer", "there is no model 'transformer'; the names"),
    ],
)
def test_unknown_names(name, close):
    with refuses(ValueError, "create: there is no model", repr(name), close, ", ".join(NAMES)):
        models.create(name)


def test_what_is_no_name():
    for wrong in (3, None, models.MLP):
        with refuses(TypeError, "create: name must be"):
            models.create(wrong)


def test_unknown_options():
    with refuses(TypeError, "LeNet()", "num_classes", "here: classes"):
        models.create("lenet", num_classes=3)
    with refuses(TypeError, "LeNet()", "'hidden'", "classes, norm, norm_position, input_shape"):
        models.create("lenet", hidden=3)
