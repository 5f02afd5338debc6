"""These tests compare Grad-CAM with its formula, where that can be written down."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.train.report.grad_cam import grad_cam
from tests.support.reports import small_network

IMAGES = np.random.default_rng(0).random((5, 12, 12, 1), dtype=np.float32)
CLASSES = np.array([0, 1, 2, 1, 0])


def by_formula(maps, dense, classes):
    """Compute the map by the formula: before a mean over all positions and a dense layer, dy/dA is
    the weight / positions everywhere.
    """
    places = maps.shape[1] * maps.shape[2]
    weights = dense.weight.data[:, classes].T / places
    return np.maximum((weights[:, None, None] * maps).sum(axis=3), 0)


def test_conv_mean_dense():
    model = nn.Sequential(nn.Conv(1, 4, 3), nn.GlobalAvgPool(), nn.Dense(4, 3))
    conv, _, dense = model.children()
    np.testing.assert_allclose(
        grad_cam(model, IMAGES, CLASSES), by_formula(conv(IMAGES).data, dense, CLASSES), atol=1e-7
    )


def test_the_maps_are_taken_after_normalization_and_activation():
    """It is evaluated whatever mode the model is in, and leaves no trace in the model."""
    model = small_network()
    for _ in range(3):
        model(IMAGES)
    before = model.state_dict()
    found = grad_cam(model, IMAGES, CLASSES)
    assert model.training and all(p.grad is None for p in model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    model.eval()
    conv, norm, relu, _, dense = model.children()
    np.testing.assert_allclose(
        found, by_formula(relu(norm(conv(IMAGES))).data, dense, CLASSES), atol=1e-7
    )
    np.testing.assert_array_equal(found, grad_cam(model.freeze(), IMAGES, CLASSES))
    np.testing.assert_array_equal(found, grad_cam(nn.Sequential(model), IMAGES, CLASSES))


def test_one_picture_at_a_time_or_all_together():
    model = small_network().eval()
    whole = grad_cam(model, IMAGES, CLASSES)
    for i in range(len(IMAGES)):
        np.testing.assert_allclose(
            grad_cam(model, IMAGES[i : i + 1], CLASSES[i : i + 1])[0], whole[i], atol=1e-6
        )


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet20", (8, 8)),
        ("mnist-cnn", (14, 14)),
        ("cifar-fast", (3, 3)),
        ("mobile", None),
        ("vgg8", None),
        ("lenet", None),
    ],
)
def test_the_models(name, size):
    model = models.create(name)
    x = np.random.default_rng(0).random((2, *model.input_shape), dtype=np.float32)
    found = grad_cam(model, x, np.array([0, 1]))
    assert found.shape[0] == 2 and (found >= 0).all() and np.isfinite(found).all()
    assert found.shape[1:] == size or (size is None and found.shape[1] > 1)


def test_several_views_of_a_picture():
    """The map is that of the picture as it is, and not of its mirror image or of a shifted one."""
    md.manual_seed(0)
    one = models.create("cifar-fast")
    several = models.create("cifar-fast", views=True)
    several.load_state_dict(one.state_dict())
    x = np.random.default_rng(0).random((2, *one.input_shape), dtype=np.float32)
    x[:, :, :16] /= 4  # the left is dark, so that the mirror image differs
    wanted, found = (grad_cam(model, x, np.array([0, 1])) for model in (one, several))
    assert wanted.any(axis=(1, 2)).all()
    # The picture itself contributes a quarter of the logits.
    np.testing.assert_allclose(found, wanted / 4, rtol=1e-5, atol=1e-7)
    assert not np.allclose(found[:, :, ::-1], wanted / 4, rtol=0.1)


@pytest.mark.parametrize("kind", ["layer", "weights of each call", "function"])
def test_a_layer_that_is_called_again_counts_the_first_time(kind):
    conv, dense = nn.Conv(1, 4, 3), nn.Dense(4, 3)
    if kind == "weights of each call":
        nn.weight_standardization(conv)

    class Both(nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv, self.dense = conv, dense

        def maps(self, x):
            return md.conv(x, conv.weight, conv.bias) if kind == "function" else conv(x)

        def forward(self, x):
            return sum(self.dense(self.maps(view).mean(axis=(1, 2))) for view in (x, md.flip(x, 2)))

    np.testing.assert_allclose(
        grad_cam(Both(), IMAGES, CLASSES), by_formula(conv(IMAGES).data, dense, CLASSES), atol=1e-7
    )


def test_after_the_activation():
    """A normalization after the ReLU belongs to it, too, and so does a shortcut."""
    model = models.create("resnet20", norm_position="after")
    x = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    assert grad_cam(model, x, np.array([0, 1])).shape == (2, 8, 8)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Dense(144, 3)),
        nn.Sequential(nn.Conv(1, 4, 12), nn.Flatten(), nn.Dense(4, 3)),
    ],
    ids=["dense", "one place"],
)
def test_no_maps(model):
    assert grad_cam(model, IMAGES, CLASSES) is None


def test_it_lies_where_the_thing_is():
    """There is a bright spot on black. The convolution passes the brightness on, and one class
    depends on it.
    """
    conv, dense = nn.Conv(1, 1, 1, bias=False), nn.Dense(1, 2, bias=False)
    conv.weight.data[...], dense.weight.data[...] = 1, [[1, -1]]
    model = nn.Sequential(conv, md.relu, nn.GlobalAvgPool(), dense)
    x = np.zeros((1, 6, 6, 1), np.float32)
    x[0, 4, 1] = 1
    for_it, against_it = (grad_cam(model, x, np.array([k])) for k in (0, 1))
    assert for_it.argmax() == 4 * 6 + 1 and np.count_nonzero(for_it) == 1
    assert not against_it.any()
