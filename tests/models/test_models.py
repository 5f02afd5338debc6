"""These tests check the networks: shapes, sizes, names, what they accept, and the seed."""

import copy
from itertools import pairwise

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.models import registry
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches

pytestmark = small_batches


def residual_stage(before, out, blocks):
    """Return the shapes of the weights of a row of residual blocks."""
    shortcut = [(1, 1, before, out)] if before != out else []
    return [
        (3, 3, before, out),
        (3, 3, out, out),
        *shortcut,
        *2 * (blocks - 1) * [(3, 3, out, out)],
    ]


def residual(blocks):
    """Return the shapes of the weights of a residual network with so many blocks in each stage."""
    return [
        (3, 3, 3, 16),
        *residual_stage(16, 16, blocks),
        *residual_stage(16, 32, blocks),
        *residual_stage(32, 64, blocks),
        (64, 10),
    ]


def vgg(*channels):
    return [(3, 3, *sizes) for sizes in pairwise((3, *channels))]


def wide(before, out):
    """Return the shapes of two blocks in which normalization and ReLU come before the
    convolutions.
    """
    return [(3, 3, before, out), (3, 3, out, out), (1, 1, before, out), *2 * [(3, 3, out, out)]]


def separable(before, out):
    return [(3, 3, 1, before), (1, 1, before, out)]


# Each model has the shape of an input, the number of parameters, the shapes of the weights, and the
# number of normalization layers.
MODELS = {
    models.MLP: ((28, 28, 1), 203_786, [(784, 256), (256, 10)], 1),
    models.MnistCNN: (
        (28, 28, 1),
        421_866,
        [(3, 3, 1, 32), (3, 3, 32, 64), (3136, 128), (128, 10)],
        3,
    ),
    models.LeNet: (
        (28, 28, 1),
        61_932,
        [(5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)],
        4,
    ),
    models.ResNet20: ((32, 32, 3), 272_474, residual(3), 21),
    models.ResNet32: ((32, 32, 3), 466_906, residual(5), 33),
    models.ResNet56: ((32, 32, 3), 855_770, residual(9), 57),
    models.VGG8: ((32, 32, 3), 1_187_274, [*vgg(64, 64, 128, 128, 256, 256), (4096, 10)], 6),
    models.VGG16: (
        (32, 32, 3),
        14_724_042,
        [*vgg(64, 64, 128, 128, 256, 256, 256, *6 * [512]), (512, 10)],
        13,
    ),
    models.WRN16x4: (
        (32, 32, 3),
        2_748_890,
        [(3, 3, 3, 16), *wide(16, 64), *wide(64, 128), *wide(128, 256), (256, 10)],
        13,
    ),
    models.CifarFast: (
        (32, 32, 3),
        1_972_792,
        [
            (2, 2, 3, 24),
            (3, 3, 24, 64),
            (3, 3, 64, 64),
            (3, 3, 64, 256),
            *3 * [(3, 3, 256, 256)],
            (256, 10),
        ],
        6,
    ),
    models.Mobile: (
        (32, 32, 3),
        136_778,
        [
            (3, 3, 3, 32),
            *separable(32, 64),
            *separable(64, 128),
            *separable(128, 128),
            *separable(128, 256),
            *separable(256, 256),
            (256, 10),
        ],
        11,
    ),
}
every_model = pytest.mark.parametrize("make", MODELS)


def test_the_table_has_every_model():
    assert set(registry.MODELS.values()) == set(MODELS)
    assert {cls.__name__ for cls in MODELS} < set(models.__all__)


@every_model
def test_shapes_and_sizes(make):
    shape, count, weights, norms = MODELS[make]
    model = make()
    assert sum(p.size for p in model.parameters()) == count
    assert [p.shape for name, p in model.named_parameters() if name.endswith("weight")] == weights
    assert sum(isinstance(layer, nn.BatchNorm) for _, layer in model.named_layers()) == norms
    assert len(list(model.named_buffers())) == 3 * norms
    assert model(uniform(3, *shape)).shape == (3, 10)
    assert f"{count:,} parameters" in model.summary(shape)


@every_model
def test_only_the_last_layer_has_a_bias(make):
    model = make()
    biases = [p.shape for name, p in model.named_parameters() if name.endswith("bias")]
    assert biases == [(24,) if make is models.CifarFast else (10,)]  # the bias of the whitening


@every_model
def test_every_parameter_learns(make):
    """Two steps are needed: while beta is 0, the gamma before a depthwise layer with BatchNorm has
    no effect, since that layer does not depend on the scale of a channel.
    """
    shape = MODELS[make][0]
    md.manual_seed(0)
    model = make()
    before = model.state_dict()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.zero_grad()
        md.cross_entropy(model(uniform(8, *shape)), np.arange(8)).backward()
        optimizer.step()
    fixed = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert (make is models.CifarFast) == bool(fixed)
    for name, value in model.state_dict().items():
        assert np.array_equal(value, before[name]) == (name in fixed), name
        assert np.isfinite(value).all(), name


@every_model
def test_gradients_are_those_of_central_differences(make):
    """They are compared along a random direction in the space of all parameters, in float64."""
    shape = MODELS[make][0]
    md.manual_seed(0)
    model = make().astype(np.float64)
    x, labels = uniform(6, *shape, dtype=np.float64), np.arange(6)
    md.cross_entropy(model(x), labels).backward()
    rng = np.random.default_rng(0)
    learned = [p for p in model.parameters() if p.requires_grad]
    directions = [rng.normal(size=p.shape) / np.sqrt(p.size) for p in learned]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(learned, directions, strict=True))
    losses = []
    for step in (1e-7, -2e-7):
        for p, d in zip(learned, directions, strict=True):
            p.data += step * d
        losses.append(md.cross_entropy(model(x), labels).item())
    np.testing.assert_allclose((losses[0] - losses[1]) / 2e-7, slope, rtol=1e-4, atol=1e-8)


@every_model
def test_a_train_step_is_that_in_float64(make):
    """Float32 runs fused and by other algorithms than float64. The values are the same up to
    rounding and, in deeper networks, up to ReLUs and pools that a rounding error decides.
    """
    tolerance = {
        models.ResNet32: 0.2,
        models.ResNet56: 0.2,
        models.WRN16x4: 0.2,
        models.CifarFast: 0.01,
    }.get(make, 1e-4)
    md.manual_seed(0)
    single = make()
    for k, (name, p) in enumerate(single.named_parameters()):
        if name.endswith("beta"):  # with beta at zero, some gradients of gamma would cancel
            p.data = uniform(*p.shape, seed=k)
    double = copy.deepcopy(single).astype(np.float64)
    found = []
    for model in (single, double):
        dtype = model.parameters()[0].dtype
        loss = md.cross_entropy(model(uniform(6, *MODELS[make][0], dtype=dtype)), np.arange(6))
        loss.backward()
        found.append(
            {
                "loss": loss.data,
                **dict(model.named_buffers()),
                **{f"{name}'s": p.grad for name, p in model.named_parameters() if p.requires_grad},
            }
        )
    assert found[0]["loss"].dtype == np.float32 and found[1]["loss"].dtype == np.float64
    for (name, value), expected in zip(found[0].items(), found[1].values(), strict=True):
        assert np.abs(value - expected).max() <= tolerance * np.abs(expected).max(), name


@every_model
def test_the_seed_decides_the_weights(make):
    def weights(seed):
        md.manual_seed(seed)
        return {name: p.data.tobytes() for name, p in make().named_parameters()}

    first, again, other = weights(0), weights(0), weights(1)
    assert first == again
    dirac = make is models.CifarFast  # its filters with as many channels in as out are Dirac's
    assert all(
        first[name] != other[name]
        for name in first
        if name.endswith("weight") and not (dirac and "conv" in name)
    )


@every_model
def test_number_of_classes(make):
    shape = MODELS[make][0]
    assert make(classes=3)(uniform(2, *shape)).shape == (2, 3)


@every_model
def test_images_of_another_size_are_refused(make):
    model = make()
    height, width, channels = MODELS[make][0]
    with refuses(ValueError, "expected"):
        model(uniform(2, height, width, channels + 1))
    if make in (models.MLP, models.MnistCNN, models.LeNet, models.VGG8):
        with refuses(ValueError, "expected"):
            model(uniform(2, height + 8, width + 8, channels))
    # The others take images of any size, but VGG16 pools by a factor of more than 8.
    elif make is not models.VGG16:
        assert model(uniform(2, height + 8, width, channels)).shape == (2, 10)


@every_model
def test_input_shapes(make):
    """The sizes are other ones, with unequal sides and another number of channels, and the smallest
    one; smaller images are refused.
    """
    height, width, channels = MODELS[make][0]
    shape = height + 33, width + 8, channels + 1
    model = make(classes=4, input_shape=shape)
    assert model.input_shape == shape and model.config()["input_shape"] == shape
    assert model(uniform(2, *shape)).shape == (2, 4)
    least = 1 if make is models.MLP else make.smallest
    assert make(input_shape=(least, least, 2)).eval()(uniform(2, least, least, 2)).shape == (2, 10)
    with refuses(ValueError, f"{make.__name__}: input_shape must be", "got (0, 40, 3)"):
        make(input_shape=(0, 40, 3))
    with refuses(TypeError, f"{make.__name__}: input_shape must be", "got 32"):
        make(input_shape=32)
    if make is not models.MLP:
        with refuses(ValueError, f"H and W of at least {least}", f"got (40, {least - 1}, 3)"):
            make(input_shape=(40, least - 1, 3))
        with refuses(ValueError, "(H, W, C)", "got (40, 40)"):
            make(input_shape=(40, 40))


def test_the_values_of_an_mlp():
    assert models.MLP(6).fc1.weight.shape == (6, 256)
    assert models.MLP(input_shape=(2, 3)).fc1.weight.shape == (6, 256)
    assert models.MLP(6, input_shape=(2, 3)).config() == {
        "hidden": 256,
        "classes": 10,
        "input_shape": (2, 3),
        "norm": "batch",
        "norm_position": "before",
    }
    with refuses(ValueError, "MLP: in_features must be 6", "got 7"):
        models.MLP(7, input_shape=(2, 3))


@every_model
def test_the_options_make_the_same_model_again(make):
    model = make(classes=3, norm="group", norm_position="after")
    again = make(**model.config())
    assert again.config() == model.config()
    assert repr(again) == repr(model)
    with refuses(TypeError, f"{make.__name__}: norm must be a name for the model to be saved"):
        make(norm=nn.RMSNorm).config()
    with refuses((TypeError, ValueError), f"{make.__name__}: classes", "0"):
        make(classes=0)


@every_model
def test_predict_takes_bytes(make):
    model = make()
    images = np.random.default_rng(0).integers(0, 256, (5, *MODELS[make][0]), np.uint8)
    result = model.predict(images, batch_size=2)
    assert result.shape == (5, 10) and result.dtype == np.float32
    np.testing.assert_allclose(
        result, model.predict(np.float32(images) / 255), rtol=1e-4, atol=1e-5
    )
