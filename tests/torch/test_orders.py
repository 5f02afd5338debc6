"""These tests check the order of features that come from images or become images: (H, W, C) here,
and (C, H, W) in PyTorch.
"""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.nn.linear import Weighted
from tests.support.arrays import uniform
from tests.support.errors import refuses


def theirs_of(model, **options):
    for k, p in enumerate(model.parameters()):
        p.data = uniform(*p.shape, dtype=p.dtype, seed=k)
    return md.torch.state_dict(model, arrays=True, **options)


def channels_first(a, height, width, channels):
    """Reorder features (H, W, C) of the first axis as (C, H, W)."""
    parts = a.reshape(height, width, channels, *a.shape[1:])
    return np.moveaxis(parts, 2, 0).reshape(a.shape)


class Net(nn.Layer):
    """Has a convolution, and calls `between` on its result before a dense layer."""

    def __init__(self, features, between):
        super().__init__()
        self.conv, self.fc = nn.Conv(3, 4, 3, padding=1), nn.Dense(features, 5)
        self.between = between

    def forward(self, x):
        return self.fc(self.between(self.conv(x)))


def check_rows(between, features=2 * 3 * 4, example=None, same=False):
    model = Net(features, between)
    theirs = theirs_of(model, example=example)["fc.weight"]
    ours = model.fc.weight.data
    assert np.array_equal(theirs.T, ours if same else channels_first(ours, 2, 3, 4))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.flatten(1),
        lambda x: md.relu(x).reshape(len(x), -1),
        lambda x: md.softmax(x.flatten(1)),
        lambda x: (x * x.mean(axis=(1, 2), keepdims=True)).flatten(1),
        lambda x: md.concatenate([x[..., :2], x[..., 2:]], axis=3).flatten(1),
        lambda x: (
            x.reshape(-1, 2, 3, 2, 2).transpose(0, 1, 2, 4, 3).reshape(-1, 2, 3, 4).flatten(1)
        ),
    ],
)
def test_flattened_images(between):
    check_rows(between, example=np.zeros((1, 2, 3, 3), np.float32))


@pytest.mark.parametrize(
    ("between", "features"),
    [
        (lambda x: x.mean(axis=(1, 2)), 4),
        (lambda x: x.transpose(0, 3, 1, 2).flatten(1), 24),
        (lambda x: md.relu(x.transpose(0, 3, 1, 2)).flatten(1), 24),
        (lambda x: x, 4),
        (lambda x: x.reshape(len(x), 6, 4), 4),
        (lambda x: md.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=1), 8),
    ],
)
def test_what_is_in_the_same_order(between, features):
    check_rows(between, features, np.zeros((1, 2, 3, 3), np.float32), same=True)


def test_features_beside_others():
    model = Net(28, lambda x: md.concatenate([x.mean(axis=(1, 2)), x.flatten(1)], axis=1))
    theirs = theirs_of(model, example=np.zeros((1, 2, 3, 3), np.float32))["fc.weight"].T
    assert np.array_equal(theirs[:4], model.fc.weight.data[:4])
    assert np.array_equal(theirs[4:], channels_first(model.fc.weight.data[4:], 2, 3, 4))


def test_a_sequence_of_images():
    class Frames(nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = nn.Conv(3, 4, 1), nn.GRU(24, 5)

        def forward(self, x, y):
            rows = [self.conv(image).flatten(1) for image in (x, y)]
            return self.rnn(md.stack(rows, axis=1))[0]

    model, image = Frames(), np.zeros((2, 2, 3, 3), np.float32)
    theirs = theirs_of(model, example=(image, image))["rnn.weight_ih_l0"]
    assert np.array_equal(theirs.T, channels_first(model.rnn.cells[0].weight_x.data, 2, 3, 4))


def test_normalizations_of_flattened_images():
    model = nn.Sequential(nn.Conv(3, 4, 1), nn.Flatten(), nn.BatchNorm(36), nn.Dense(36, 2))
    model[2].running_mean[:] = np.arange(36)
    theirs = theirs_of(model)
    for ours, name in ((model[2].gamma.data, "weight"), (model[2].running_mean, "running_mean")):
        assert np.array_equal(theirs[f"2.{name}"], channels_first(ours, 3, 3, 4))
    assert np.array_equal(theirs["3.weight"].T, channels_first(model[3].weight.data, 3, 3, 4))


def test_a_transformed_weight():
    model = nn.Sequential(nn.Conv(3, 4, 1), nn.Flatten(), nn.weight_norm(nn.Dense(36, 2)))
    theirs = theirs_of(model)["2.parametrizations.weight.original1"]
    assert np.array_equal(theirs.T, channels_first(model[2].weight.data, 3, 3, 4))


def test_features_that_become_images():
    model = nn.Sequential(
        nn.Dense(5, 24),
        nn.BatchNorm(24),
        nn.ReLU(),
        nn.Lambda(lambda x: x.reshape(-1, 2, 3, 4)),
        nn.BatchNorm(4),
        nn.ConvTranspose(4, 3, 2),
    )
    theirs = theirs_of(model)
    assert np.array_equal(theirs["0.weight"], channels_first(model[0].weight.data.T, 2, 3, 4))
    assert np.array_equal(theirs["0.bias"], channels_first(model[0].bias.data, 2, 3, 4))
    assert np.array_equal(theirs["1.bias"], channels_first(model[1].beta.data, 2, 3, 4))
    assert np.array_equal(theirs["4.weight"], model[4].gamma.data)


def test_images_that_a_model_of_rows_takes():
    model = nn.Sequential(nn.Flatten(), nn.Dense(18, 2))
    ours = model[1].weight
    assert np.array_equal(theirs_of(model)["1.weight"].T, ours.data)
    theirs = theirs_of(model, example=np.zeros((1, 2, 3, 3), np.float32))["1.weight"]
    assert np.array_equal(theirs.T, channels_first(ours.data, 2, 3, 3))


def test_a_model_of_the_registry_says_what_it_takes():
    model = models.create("mlp", input_shape=(4, 5, 3))
    theirs = theirs_of(model)["fc1.weight"]
    assert np.array_equal(theirs.T, channels_first(model.fc1.weight.data, 4, 5, 3))


@pytest.mark.parametrize("size", [(28, 28), (9, 9), (14, 10), (5, 20)])
def test_an_input_is_found(size):
    height, width = (n // 2 for n in size)
    model = nn.Sequential(
        nn.Conv(1, 4, 3, padding=1), nn.MaxPool(2), nn.Flatten(), nn.Dense(height * width * 4, 2)
    )
    theirs = theirs_of(model)["3.weight"]
    assert np.array_equal(theirs.T, channels_first(model[3].weight.data, height, width, 4))


def test_ids_are_found():
    model = nn.Sequential(
        nn.Embedding(9, 3),
        nn.Lambda(lambda x: md.expand_dims(x, 1)),
        nn.Conv(3, 4, (1, 3)),
        nn.Flatten(),
        nn.Dense(20, 2),
    )
    theirs = theirs_of(model)["4.weight"]
    assert np.array_equal(theirs.T, channels_first(model[4].weight.data, 1, 5, 4))


class OfSequences(Weighted):
    """A convolution along one axis, as a user might write it."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.in_channels = in_channels
        self.weight = nn.Parameter(np.zeros((3, in_channels, out_channels), np.float32))
        self.bias = None

    def forward(self, x):
        images, weight = md.expand_dims(x, 1), md.expand_dims(self.weight, 0)
        return md.squeeze(md.conv(images, weight), 1)


def test_sequences():
    model = nn.Sequential(OfSequences(3, 4), md.relu, nn.Flatten(), nn.Dense(20, 2))
    theirs = theirs_of(model)
    assert theirs["0.weight"].shape == (4, 3, 3)
    assert np.array_equal(theirs["3.weight"].T, channels_first(model[3].weight.data, 1, 5, 4))


def test_statistics_of_the_batch():
    model = nn.Sequential(
        nn.Conv(3, 4, 1), nn.Flatten(), nn.Dense(36, 5), nn.BatchNorm(5, track_stats=False)
    )
    theirs = theirs_of(model)["2.weight"]
    assert np.array_equal(theirs.T, channels_first(model[2].weight.data, 3, 3, 4))


class TwoInputs(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv(3, 4, 1), nn.Dense(40, 2)

    def forward(self, x, y):
        return self.fc(md.concatenate([self.conv(x).flatten(1), y], axis=1))


def test_an_example_is_asked_for():
    model = TwoInputs()
    with refuses(ValueError, "TwoInputs", "give example="):
        md.torch.state_dict(model, arrays=True)
    example = np.zeros((1, 3, 3, 3), np.float32), np.zeros((1, 4), np.float32)
    assert md.torch.state_dict(model, example=example, arrays=True)["fc.weight"].shape == (2, 40)


def test_one_layer_for_features_in_two_orders():
    class Twice(Net):
        def forward(self, x):
            y = self.conv(x)
            return self.fc(y.flatten(1)) + self.fc(y.transpose(0, 3, 1, 2).flatten(1))

    with refuses(ValueError, "fc.weight", "different orders"):
        theirs_of(Twice(24, None), example=np.zeros((1, 2, 3, 3), np.float32))


def test_the_trace_leaves_the_model_as_it_is():
    model = nn.Sequential(nn.Conv(3, 4, 1), nn.BatchNorm(4), nn.Flatten(), nn.Dense(36, 2))
    md.torch.state_dict(model, arrays=True)
    assert model.training and model[1].num_batches == 0
