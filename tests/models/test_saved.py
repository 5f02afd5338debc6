"""These tests check the predictions of a model from a file, for arrays and for pictures: classes
and probabilities.
"""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.data.pictures import read
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches

pytestmark = small_batches


class Echo(nn.Layer):
    """Returns the first values of the image as outputs, which show what the model gets."""

    def __init__(self, outputs=3):
        super().__init__()
        self.outputs = outputs
        self.weight = nn.Parameter(np.zeros(1))

    def forward(self, x):
        return md.flatten(x, 1)[:, : self.outputs]


def model_of(classes=3, shape=(6, 6, 3)):
    md.manual_seed(0)
    return models.MnistCNN(classes=classes, input_shape=shape).eval()


def pictures(n=5, shape=(6, 6, 3)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)


def expected(outputs, names, top):
    """Return (class, probability) by the plain formula, in double."""
    powers = np.exp(outputs.astype(np.float64))
    p = powers / powers.sum(axis=1, keepdims=True)
    return [
        [(names[k], row[k]) for k in sorted(range(len(names)), key=lambda k: -row[k])[:top]]
        for row in p
    ]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert [name for name, _ in one] == [name for name, _ in other]
        np.testing.assert_allclose([p for _, p in one], [p for _, p in other], rtol=1e-12)
        assert all(type(p) is float for _, p in one)


@pytest.mark.parametrize("top", [1, 2, 3, 9])
def test_classes_and_probabilities(top):
    model, x = model_of(), pictures()
    saved = models.Saved(model, ["cat", "dog", "eel"])
    same(saved.predict(x, top), expected(model.predict(x), ["cat", "dog", "eel"], top))
    same(models.Saved(model).predict(x, top=top), expected(model.predict(x), [0, 1, 2], top))


def test_what_images_may_be():
    x = pictures()
    saved = models.Saved(model_of())
    expected = saved.predict(x)
    as_floats = x.astype(np.float32) / 255
    for given in (
        as_floats,
        as_floats.astype(np.float64),
        md.tensor(as_floats),
        list(x),
        np.repeat(x, 2, axis=0)[::2],
        np.asfortranarray(x),
    ):
        same(saved.predict(given), expected)
    for given in (x[0], as_floats[0], md.tensor(as_floats[0])):
        same(saved.predict(given), expected[:1])
    assert saved.predict(x[:0]) == saved.predict([]) == []


def test_grey_images_need_no_axis_of_channels():
    x = pictures(shape=(6, 7, 1))
    saved = models.Saved(model_of(shape=(6, 7, 1)))
    expected = saved.predict(x)
    same(saved.predict(x[..., 0]), expected)
    same(saved.predict(x[0, ..., 0]), expected[:1])
    same(saved.predict(x[0]), expected[:1])
    rows = models.Saved(models.MLP(input_shape=(6, 7, 1)))
    same(rows.predict(x.reshape(5, 42)), rows.predict(x))
    flat = models.Saved(models.MLP(42))
    same(flat.predict(x.reshape(5, 42)), flat.predict(x))


def test_mean_and_standard_deviation():
    x = pictures()
    mean, std = [0.25, 0.5, 0.75], [0.5, 0.25, 2.0]
    for given, m, s in ((mean, mean, std), (0.5, 0.5, 0.125)):
        saved = models.Saved(Echo(), preprocess={"mean": given, "std": s})
        first = ((x / 255 - m) / s)[:, 0, 0]
        for images in (x, (x / 255).astype(np.float32)):
            found = saved.predict(images, top=3)
            for one, other in zip(found, expected(first, [0, 1, 2], 3), strict=True):
                np.testing.assert_allclose([p for _, p in one], [p for _, p in other], rtol=1e-5)
    only = models.Saved(Echo(), preprocess={"std": 2}).predict(x, 3)
    same(only, models.Saved(Echo(), preprocess={"mean": 0.0, "std": [2, 2, 2]}).predict(x, 3))


def test_equal_probabilities_keep_the_order_of_classes():
    zeros = np.zeros((2, 1, 1, 3), np.float32)
    assert (
        models.Saved(Echo(), ["a", "b", "c"]).predict(zeros, 2)
        == [[("a", 1 / 3), ("b", 1 / 3)]] * 2
    )


def test_large_outputs_do_not_overflow():
    x = np.array([[1e30, -1e30, 0.0]], np.float32).reshape(1, 1, 1, 3)
    assert models.Saved(Echo()).predict(x, 3) == [[(0, 1.0), (1, 0.0), (2, 0.0)]] or models.Saved(
        Echo()
    ).predict(x, 1) == [[(0, 1.0)]]


def test_more_than_a_batch():
    x = uniform(300, 1, 1, 3)
    saved = models.Saved(Echo())
    same(saved.predict(x, 3), [saved.predict(one, 3)[0] for one in x])


def test_the_mode_of_the_model_does_not_matter():
    model, x = model_of(), pictures()
    saved = models.Saved(model)
    expected = saved.predict(x)
    before = model.train().state_dict()
    same(saved.predict(x), expected)
    assert model.training
    assert all(np.array_equal(value, before[n]) for n, value in model.state_dict().items())


def test_several_threads():
    saved, x = models.Saved(model_of()), pictures(40)
    expected, found = saved.predict(x, 3), {}

    def work(k):
        found[k] = [saved.predict(x[k::4], 3) for _ in range(5)]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(again == expected[k::4] for k in range(4) for again in found[k])


ERRORS = [
    (lambda s: s.predict(None), TypeError, ["images_or_paths must be", "None"]),
    (lambda s: s.predict({"a": 1}), TypeError, ["images_or_paths must be"]),
    (lambda s: s.predict(np.zeros((2, 6, 6, 3), int)), TypeError, ["uint8", "int64"]),
    (lambda s: s.predict(np.array([b"a"])), TypeError, ["uint8"]),
    (lambda s: s.predict(["a.png", np.zeros((6, 6, 3))]), ValueError, ["one shape"]),
    (lambda s: s.predict(iter([1, 2])), TypeError, ["images_or_paths must be"]),
    (lambda s: s.predict([np.zeros((6, 6, 3)), np.zeros((5, 6, 3))]), ValueError, ["one shape"]),
    (lambda s: s.predict(np.zeros(3)), ValueError, ["(H, W, C)", "(3,)"]),
    (lambda s: s.predict(np.zeros((2, 7, 6, 3))), ValueError, ["6 x 6", "7 x 6"]),
    (lambda s: s.predict(np.zeros((2, 6, 6, 2))), ValueError, ["2 channels", "3 numbers"]),
    (lambda s: s.predict(pictures(), 0), ValueError, ["top", "0"]),
    (lambda s: s.predict(pictures(), 1.5), TypeError, ["top", "1.5"]),
    (lambda s: s.predict(np.full((2, 6, 6, 3), np.nan)), ValueError, ["picture 0", "not finite"]),
]


@pytest.mark.parametrize(("call", "error", "words"), ERRORS)
def test_bad_arguments_are_refused(call, error, words):
    saved = models.Saved(model_of(), preprocess={"size": 6, "mean": [0, 0, 0]})
    with refuses(error, "predict: ", *words):
        call(saved)


def test_outputs_that_are_no_classes():
    with refuses(ValueError, "outputs must be (N, 2)", "(5, 3)"):
        models.Saved(Echo(), ["a", "b"]).predict(pictures())
    with refuses(ValueError, "outputs must be (N, classes)"):
        models.Saved(nn.ReLU()).predict(pictures())
    with refuses(TypeError, "Saved: model must be a layer"):
        models.Saved(None)


# --------------------------------------------------------------------------------------- pictures

Image = pytest.importorskip("PIL.Image")


def written(folder, x, name="{}.png"):
    paths = []
    for k, image in enumerate(x):
        paths.append(folder / name.format(k))
        Image.fromarray(image.squeeze()).save(paths[-1])
    return paths


def test_pictures_are_read(tmp_path):
    x = pictures()
    paths = written(tmp_path, x)
    saved = models.Saved(model_of())
    expected = saved.predict(x)
    same(saved.predict(paths), expected)
    same(saved.predict(tuple(map(str, paths))), expected)
    same(saved.predict(paths[2]), expected[2:3])
    same(saved.predict(np.array(list(map(str, paths)))), expected)
    same(saved.predict(np.array(paths, object)), expected)
    same(saved.predict(path for path in paths), expected)
    same(saved.predict([Image.open(path) for path in paths]), expected)


def test_pictures_are_scaled_to_the_size_of_the_model(tmp_path):
    """They are scaled as `ImageFolder` scales them: first the shorter side, and then the centre is
    cut out. A pair of sizes is taken as it is.
    """
    paths = [
        *written(tmp_path, pictures(3, (24, 24, 3))),
        *written(tmp_path, pictures(3, (30, 48, 3)), "wide{}.png"),
    ]

    def expected(saved, size, channels):
        return saved.predict(np.stack([read(str(path), size, channels) for path in paths]), 3)

    for preprocess, size in (
        (None, 6),
        ({"size": 6}, 6),
        ({"size": (6, 6), "channels": 3}, (6, 6)),
        ({"mean": 0.5}, 6),
    ):
        saved = models.Saved(model_of(), preprocess=preprocess)
        same(saved.predict(paths, 3), expected(saved, size, 3))
    grey = models.Saved(model_of(shape=(6, 9, 1)))
    same(grey.predict(paths, 3), expected(grey, (6, 9), 1))
    small = models.Saved(models.ResNet20(), preprocess={"size": (8, 16)})
    same(small.predict(paths, 3), expected(small, (8, 16), 3))


def test_a_turned_and_a_transparent_picture(tmp_path):
    x = pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned to the right
    Image.fromarray(np.rot90(x).copy()).save(tmp_path / "turned.png", exif=exif)
    saved = models.Saved(model_of())
    same(saved.predict(tmp_path / "turned.png", 3), saved.predict(x, 3))
    transparent = np.concatenate([x, np.zeros((6, 6, 1), np.uint8)], axis=2)
    Image.fromarray(transparent).save(tmp_path / "transparent.png")
    same(saved.predict(tmp_path / "transparent.png", 3), saved.predict(np.full_like(x, 255), 3))


def test_pictures_of_several_sizes_need_one(tmp_path):
    paths = [*written(tmp_path, pictures(1)), *written(tmp_path, pictures(1, (8, 8, 3)), "b{}.png")]
    with refuses(ValueError, "predict: pictures must be of one size", "(6, 6, 3)", "(8, 8, 3)"):
        models.Saved(Echo()).predict(paths)


def test_pictures_that_cannot_be_read(tmp_path):
    (good,) = written(tmp_path, pictures(1))
    saved = models.Saved(model_of())
    broken = tmp_path / "broken.png"
    for content in (b"", b"no picture", good.read_bytes()[:40]):
        broken.write_bytes(content)
        with refuses(ValueError, f"predict: {broken} cannot be read as a picture"):
            saved.predict([good, broken])
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        saved.predict(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        saved.predict(tmp_path)


def test_pictures_through_a_file(tmp_path):
    paths = written(tmp_path, pictures())
    models.save(tmp_path / "m", model_of(), ["a", "b", "c"], {"mean": [0.5] * 3, "std": [0.2] * 3})
    saved = models.load(tmp_path / "m")
    model = models.Saved(model_of(), ["a", "b", "c"], {"mean": 0.5, "std": 0.2})
    same(saved.predict(paths, 2), model.predict(pictures(), 2))
