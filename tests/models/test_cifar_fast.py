"""These tests check the network of `cifar-fast`: its forward, its initial weights, its whitening,
its normalizations.
"""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.models.cifar_fast import second_moment
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.threads import threads

pytestmark = small_batches


def images(n=8, channels=3, seed=0):
    """Return smooth images, whose neighbouring pixels are similar."""
    x = np.random.default_rng(seed).normal(size=(n, 16, 16, channels))
    return x.cumsum(axis=1).cumsum(axis=2).astype(np.float32) / 16


ACTIVATIONS = {"gelu": md.gelu, "silu": md.silu, "relu": md.relu}


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_forward(position, activation):
    md.manual_seed(0)
    model = models.CifarFast(norm_position=position, activation=activation, widths=(8, 12, 20))
    model.astype(np.float64)
    f = ACTIVATIONS[activation]

    def activated(norm, x):
        return f(norm(x)) if position == "before" else norm(f(x))

    x = uniform(3, 32, 32, 3, dtype=np.float64)
    y = f(md.conv(x, model.whitening.weight, model.whitening.bias))
    assert y.shape == (3, 31, 31, 24)
    for group, size in zip(model.groups, (15, 7, 3), strict=True):
        y = activated(group.bn1, md.max_pool(group.conv1(y), 2))
        y = activated(group.bn2, group.conv2(y))
        assert y.shape[1:3] == (size, size)
    expected = md.max_pool(y, 3).reshape(3, 20) @ model.fc.weight / 20
    close(model(x).data, expected.data, 10)


def test_options():
    model = models.CifarFast(widths=(8, 12, 20), logit_scale=0.5)
    assert model.config()["logit_scale"] == 0.5 and model.config()["widths"] == (8, 12, 20)
    for options, kind, words in (
        ({"activation": "tanh"}, ValueError, ["activation", '"gelu"', "'tanh'"]),
        ({"widths": (8, 8)}, ValueError, ["widths", "three sizes", "(8, 8)"]),
        ({"widths": (8, 0, 8)}, ValueError, ["widths", "(8, 0, 8)"]),
        ({"widths": 8}, TypeError, ["widths", "8"]),
        ({"logit_scale": 0}, ValueError, ["logit_scale", "> 0"]),
    ):
        with refuses(kind, "CifarFast", *words):
            models.CifarFast(**options)


def test_the_start():
    model = models.CifarFast()
    assert abs(model.fc.weight.data.std() - 1) < 1e-5 and model.fc.bias is None
    assert not model.whitening.bias.data.any()
    for group in model.groups:
        for conv in (group.conv1, group.conv2):
            weight = conv.weight.data
            inside, out = weight.shape[2:]
            x = uniform(2, 5, 6, inside)
            same = min(inside, out)
            # Dirac filters pass the channels on unchanged.
            close(conv(x).data[..., :same], x[..., :same])
            rest = weight[..., same:]
            if rest.size:
                assert abs(rest.std() * np.sqrt(3 * 9 * inside) - 1) < 0.05
                assert np.abs(rest).max() <= 1 / np.sqrt(9 * inside)


def test_its_batch_normalization():
    model = models.CifarFast(widths=(8, 8, 8))
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, nn.BatchNorm)]
    assert len(norms) == 6
    assert {(norm.eps, norm.momentum, norm.gamma.requires_grad) for norm in norms} == {
        (1e-12, 0.4, False)
    }
    other = models.CifarFast(widths=(8, 8, 8), norm="group")
    assert all(
        layer.gamma.requires_grad
        for _, layer in other.named_layers()
        if isinstance(layer, nn.GroupNorm)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches(channels):
    """The second moment of what the filters return is the identity, up to eps."""
    x = images(16, channels)
    model = models.CifarFast(input_shape=(16, 16, channels))
    model.whiten(x, eps=1e-9)
    filters = 4 * channels
    y = model.whitening(x).data.astype(np.float64)
    assert y.shape[-1] == 2 * filters
    moment = np.einsum("nhwi,nhwj->ij", y, y) / (16 * 15 * 15)
    np.testing.assert_allclose(moment[:filters, :filters], np.eye(filters), atol=1e-2)
    np.testing.assert_array_equal(
        model.whitening.weight.data[..., filters:], -model.whitening.weight.data[..., :filters]
    )


def test_the_filters_by_their_formula():
    x = images(300)  # more images than are processed at a time
    patches = (
        np.stack(
            [x[:, i : i + 2, j : j + 2].reshape(300, 12) for i in range(15) for j in range(15)], 1
        )
        .reshape(-1, 12)
        .astype(np.float64)
    )
    moment = patches.T @ patches / len(patches)
    close(second_moment(x), moment, 1e4)
    model = models.CifarFast(input_shape=(16, 16, 3))
    model.whiten(x)
    filters = model.whitening.weight.data.reshape(12, 24)[:, :12].astype(np.float64)
    values = np.linalg.eigvalsh(moment)[::-1]
    np.testing.assert_allclose(moment @ filters, filters * values, atol=1e-5)
    np.testing.assert_allclose((filters**2).sum(axis=0), 1 / (values + 5e-4), rtol=1e-3)
    assert (filters[np.abs(filters).argmax(axis=0), range(12)] > 0).all()


def test_bytes_are_divided_by_255():
    x = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 3), np.uint8)
    found = []
    for given in (x, x.astype(np.float32) / 255, md.tensor(x.astype(np.float32) / 255)):
        model = models.CifarFast(input_shape=(9, 9, 3))
        model.whiten(given)
        found.append(model.whitening.weight.data)
    close(found[1], found[0], 100)
    assert np.array_equal(found[2], found[1])


def test_the_whitening_does_not_learn_but_its_bias():
    model = models.CifarFast(widths=(8, 8, 8))
    x = images()
    model.whiten(x)
    before = model.state_dict()
    loss = model(md.tensor(x, requires_grad=True)).sum()
    model.whiten(x)
    with pytest.raises(RuntimeError, match="whiten has changed them since"):
        loss.backward()
    md.cross_entropy(model(x), np.arange(8)).backward()
    optim.SGD(model.parameters(), lr=1).step()
    assert np.array_equal(model.whitening.weight.data, before["whitening.weight"])
    assert not np.array_equal(model.whitening.bias.data, before["whitening.bias"])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 8, 8, 1), np.float32),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 8, 3), np.float32),
        np.zeros((4, 1, 8, 3), np.float32),
    ],
    ids=lambda x: str(x.shape),
)
def test_images_that_have_no_patches(wrong):
    model = models.CifarFast()
    before = model.whitening.weight.data.copy()
    with refuses(ValueError, "whiten: images must be (N, H, W, 3)", str(wrong.shape)):
        model.whiten(wrong)
    assert np.array_equal(model.whitening.weight.data, before)


def test_images_that_are_not_finite():
    model = models.CifarFast()
    x = images()
    x[0, 0, 0, 0] = np.nan
    with refuses(ValueError, "whiten: images must be finite"):
        model.whiten(x)


# ----------------------------------------------------------------------------------------- views


def with_views(**options):
    md.manual_seed(0)
    model = models.CifarFast(widths=(8, 12, 20), input_shape=(16, 16, 3), **options)
    model.whiten(images())
    return model.astype(np.float64)


def test_six_views_by_their_formula():
    model, plain = with_views(views=True).eval(), with_views().eval()
    x = images(3).astype(np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [padded[:, :-2, :-2], padded[:, 2:, 2:]]  # shifted down and right, and up and left

    def mirrored(images):
        return (plain(images).data + plain(np.ascontiguousarray(images[:, :, ::-1])).data) / 2

    expected = mirrored(x) / 2 + (mirrored(shifted[0]) + mirrored(shifted[1])) / 4
    close(model(x).data, expected, 10)
    close(model.predict(x), expected, 10)


def test_views_are_not_for_training():
    model, plain = with_views(views=True), with_views()
    x = images(8).astype(np.float64)
    assert np.array_equal(model.train()(x).data, plain.train()(x).data)


def test_views_have_gradients():
    """Gradients of images, in evaluation mode, show what the model looks at."""
    model = with_views(views=True).eval()
    x = md.tensor(images(2).astype(np.float64), requires_grad=True)
    model(x)[:, 0].sum().backward()
    delta = np.random.default_rng(0).normal(size=x.shape) * 1e-6
    change = (model(x.data + delta).data - model(x.data - delta).data)[:, 0].sum() / 2
    np.testing.assert_allclose((x.grad * delta).sum(), change, rtol=1e-4)


def test_views_are_kept_in_a_file(tmp_path):
    model = models.CifarFast(widths=(8, 8, 8), views=True)
    assert model.config()["views"] is True and models.CifarFast().config()["views"] is False
    models.save(tmp_path / "model.safetensors", model)
    again = models.load(tmp_path / "model.safetensors").model
    x = uniform(2, 32, 32, 3)
    assert again.views and np.array_equal(again(x).data, model.eval()(x).data)
    with refuses(TypeError, "CifarFast", "views"):
        models.CifarFast(views=1.5)


def test_views_have_the_same_bits_on_any_number_of_threads():
    model = models.CifarFast(widths=(8, 8, 8), views=True).eval()
    x = uniform(9, 32, 32, 3)
    outputs = []
    for n in (1, 2, 3):
        with threads(n):
            outputs.append(model(x).data.tobytes())
    assert len(set(outputs)) == 1
