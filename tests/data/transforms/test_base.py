"""These tests check how transforms are called: by a loader, directly, with labels, with rng; and
functions as transforms.
"""

import numpy as np
import pytest

import minidl as md
from minidl.data import ArrayDataset, DataLoader
from minidl.data import transforms as T
from tests.support.transforms import applied, epoch_of, images_of

IMAGES = images_of(30, 8, 8, 3)
PLACES = [
    T.RandomCrop(8, 2),
    T.RandomFlip(),
    T.RandomFlip(alternate=True),
    T.Cutout(3),
    T.RandomTranslate(2),
    T.RandomRotation(20),
    T.RandomResizedCrop(6),
    T.Resize(5),
    T.CenterCrop(4),
    T.Normalize(0.5, 0.2),
    T.ColorJitter(0.2, 0.2, 0.2, 0.1),
]
ALL = [*PLACES, T.Compose(PLACES), T.Compose(T.RandomFlip(), T.RandomCrop(8, 1), T.RandomFlip())]
MIXES = [T.Mixup(), T.CutMix(), T.Compose(T.RandomFlip(), T.Mixup(0.4), T.Cutout(2))]


def name(transform):
    return repr(transform)[:30]


# By a loader: each item separately


@pytest.mark.parametrize("transform", ALL, ids=name)
def test_an_item_does_not_depend_on_its_batch(transform):
    expected = epoch_of(transform, IMAGES, 30)
    for options in (
        {"batch_size": 4},
        {"batch_size": 7, "prefetch": 2},
        {"batch_size": 1, "shuffle": False},
        {"batch_size": 11, "skip": 1},
    ):
        found = epoch_of(transform, IMAGES, **options)
        assert len(found) == 30 - options.get("skip", 0) * options["batch_size"]
        for item, (image, label) in found.items():
            assert image.dtype == np.float32 and label == item
            assert np.array_equal(image, expected[item][0]), options


RANDOM = [t for t in ALL if not isinstance(t, (T.Resize, T.CenterCrop, T.Normalize))]


@pytest.mark.parametrize("transform", [*RANDOM, *MIXES], ids=name)
def test_epochs_and_items_differ(transform):
    mixes = isinstance(transform, (T.Mixup, T.CutMix))
    images = IMAGES if mixes else np.tile(IMAGES[:1], (30, 1, 1, 1))
    first, second = (epoch_of(transform, images, 30, epoch=e) for e in (0, 1))
    assert any(not np.array_equal(first[i][0], second[i][0]) for i in first)
    if not mixes:
        assert len({image.tobytes() for image, _ in first.values()}) > 1


@pytest.mark.parametrize("transform", MIXES, ids=name)
def test_mixes_depend_on_the_batch_alone(transform):
    whole = epoch_of(transform, IMAGES, 8)
    rest = epoch_of(transform, IMAGES, 8, skip=2, prefetch=2)
    assert len(rest) == 14
    for item, (image, label) in rest.items():
        assert np.array_equal(image, whole[item][0]) and np.array_equal(label, whole[item][1])


@pytest.mark.parametrize("transform", [*ALL, *MIXES], ids=name)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_dtypes_and_kernels(transform, dtype):
    images = (IMAGES * 255).astype(dtype)
    with md.use_backend("numpy"):
        expected = epoch_of(transform, images, 8)
    for item, (image, _) in epoch_of(transform, images, 8).items():
        assert image.dtype == (np.float32 if dtype == np.uint8 else dtype)
        np.testing.assert_allclose(image, expected[item][0], atol=1e-5 * images.max())


@pytest.mark.parametrize("transform", [*ALL, *MIXES], ids=name)
def test_no_images(transform):
    labels = np.zeros(0, np.int64)
    images, _ = applied(transform, IMAGES[:0], labels, classes=3)
    assert len(images) == 0 and images.ndim == 4


# Direct calls


@pytest.mark.parametrize("transform", ALL, ids=name)
def test_called_by_hand(transform):
    before = IMAGES.copy()
    found = transform(IMAGES, np.random.default_rng(3))
    assert found.dtype == np.float32 and np.array_equal(IMAGES, before)
    assert not np.shares_memory(found, IMAGES)
    assert np.array_equal(found, transform(IMAGES, rng=np.random.default_rng(3)))
    as_bytes = (IMAGES * 255).astype(np.uint8)
    np.testing.assert_array_equal(
        transform(as_bytes, np.random.default_rng(3)),
        transform(as_bytes / np.float32(255), np.random.default_rng(3)),
    )
    md.manual_seed(4)
    found = transform(IMAGES)
    md.manual_seed(4)
    assert np.array_equal(found, transform(IMAGES))


def test_other_arrays():
    assert T.CenterCrop(2)(IMAGES.astype(np.float16)).dtype == np.float16
    for transform in (T.RandomCrop(8, 1), T.Compose(T.RandomFlip(), T.Resize(3))):
        loader = DataLoader(IMAGES.astype(np.float16), 4, transform=transform)
        assert next(iter(loader)).dtype == np.float16
    assert T.Compose(lambda x: x * 2)(np.ones((3, 2))).shape == (3, 2)
    assert T.Resize(3)(IMAGES.astype(">f4")).dtype == np.float32
    assert T.RandomFlip(1)(IMAGES.tolist()).dtype == np.float32
    assert T.RandomFlip(1)(md.tensor(IMAGES)).shape == IMAGES.shape
    assert T.RandomFlip(1)(IMAGES[::2, :, ::-1]).shape == (15, 8, 8, 3)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: T.RandomFlip()(IMAGES[0]),
            ValueError,
            r"RandomFlip: images must have the shape "
            r"\(B, H, W, C\), got \(8, 8, 3\)",
        ),
        (lambda: T.RandomFlip()(3), ValueError, "RandomFlip: images must be an array"),
        (lambda: T.RandomFlip()([[1], [2, 3]]), ValueError, "RandomFlip: images must be an array"),
        (lambda: T.Mixup()(IMAGES, [[1], [2, 3]]), ValueError, "Mixup: labels must be an array"),
        (lambda: T.RandomFlip()(IMAGES > 0), TypeError, "images must be floats or uint8, not bool"),
        (lambda: T.RandomFlip()(IMAGES, 3), TypeError, "rng must be a generator of NumPy's, got 3"),
        (lambda: T.RandomFlip()(IMAGES, None, 3), TypeError, "from 2 to 3 positional arguments"),
        (
            lambda: T.RandomFlip()(IMAGES, labels=3),
            TypeError,
            "unexpected keyword argument 'labels'",
        ),
        (lambda: T.Mixup()(IMAGES), TypeError, "missing 1 required positional argument: 'labels'"),
        (lambda: T.Mixup()(IMAGES, None), TypeError, "Mixup takes images and labels"),
        (lambda: T.Compose(T.Mixup())(IMAGES), TypeError, "missing 1 required .*: 'labels'"),
        (lambda: T.Mixup()(IMAGES, np.zeros(30, int)), ValueError, "classes must be given"),
        (lambda: T.Transform()(IMAGES), NotImplementedError, "Transform has no apply_batch"),
    ],
)
def test_calls_that_do_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_repr_names_the_options():
    assert repr(T.RandomCrop(8, 2)) == (
        "RandomCrop(size=(8, 8), padding=(2, 2), mode='reflect', value=0.0)"
    )
    assert repr(T.Compose(T.RandomFlip())) == "Compose(RandomFlip(p=0.5, alternate=False))"


# Functions, as before: with rng, with labels


def first(transform, **options):
    data = ArrayDataset(np.full((4, 2, 2, 1), 255, np.uint8), np.arange(4))
    return next(iter(DataLoader(data, 4, transform=transform, seed=0, **options)))


def with_both(images, labels):
    return images * 2, labels + 1


class Callable:
    def __call__(self, images, labels, rng):
        assert isinstance(rng, np.random.Generator)
        return images + 1, np.eye(4, dtype=np.float32)[labels]


def optional(images, labels=None, rng=None, factor=2):
    return images * factor, labels + (1 if isinstance(rng, np.random.Generator) else 100)


@pytest.mark.parametrize(
    "function, value, labels",
    [
        (with_both, 2, [1, 2, 3, 4]),
        (Callable(), 2, np.eye(4).tolist()),
        (optional, 2, [1, 2, 3, 4]),
        (lambda images, labels: [images, labels.tolist()], 1, [0, 1, 2, 3]),
        (lambda images, labels, more=7: (images, labels * more), 1, [0, 7, 14, 21]),
    ],
)
@pytest.mark.parametrize("composed", [False, True])
def test_functions_of_labels(function, value, labels, composed):
    images, found = first(T.Compose(function) if composed else function)
    assert (images.numpy() == value).all() and images.dtype == np.float32
    assert found.tolist() == labels


def test_functions_that_keep_what_they_return():
    kept = np.zeros((2, 2, 2, 1), np.float32), np.zeros(2)

    def fill(images, labels):
        kept[0][...], kept[1][...] = images, labels
        return kept

    data = ArrayDataset(
        np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1) * np.ones((2, 2, 1)), np.arange(8)
    )
    batches = list(DataLoader(data, 2, transform=fill, prefetch=4))
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [int(images.numpy()[0, 0, 0, 0]) for images, _ in batches] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    "function, error, message",
    [
        (
            lambda images, labels: images,
            TypeError,
            r"must return \(images, labels\), not a ndarray",
        ),
        (lambda images, labels: (images, labels[:1]), ValueError, "as many labels as it got, 4"),
        (lambda images, labels: (images[:1], labels), ValueError, "as many images as it got, 4"),
        (lambda images, labels: (None, labels), TypeError, "must return an array, not a NoneType"),
    ],
)
def test_functions_of_labels_that_return_something_else(function, error, message):
    with pytest.raises(error, match=message):
        first(function)


@pytest.mark.parametrize("transform", [with_both, T.Mixup(classes=3)])
def test_items_without_labels(transform):
    with pytest.raises(TypeError, match="takes images and labels, but there are no labels"):
        next(iter(DataLoader(np.zeros((4, 2, 2, 1), np.float32), 2, transform=transform)))


def test_items_that_are_dicts():
    items = [
        {"label": i, "name": f"n{i}", "image": np.full((2, 2, 1), 51 * i, np.uint8)}
        for i in range(4)
    ]
    batch = next(iter(DataLoader(items, 4, transform=T.Compose(T.RandomFlip(1), with_both))))
    assert list(batch) == ["label", "name", "image"]
    assert isinstance(batch["image"], md.Tensor) and batch["label"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(batch["image"].numpy()[:, 0, 0, 0], [0, 0.4, 0.8, 1.2], rtol=1e-6)
    assert batch["name"].tolist() == ["n0", "n1", "n2", "n3"]


# Classes of one's own


class Own:
    def apply_batch(self, images, labels, draws):
        return images + draws.uniform(1)[:, :, None, None], labels


def test_a_user_defined_class():
    data = ArrayDataset(np.zeros((4, 2, 2, 1), np.float32), np.arange(4))
    images, _ = next(iter(DataLoader(data, 4, transform=Own(), seed=0)))
    assert images.dtype == np.float32 and len(np.unique(images.numpy())) == 4


@pytest.mark.parametrize(
    "result, error, message",
    [
        (
            lambda images, labels: images,
            TypeError,
            r"apply_batch of Wrong must return \(images, labels\)",
        ),
        (lambda images, labels: (images[:1], labels), ValueError, "as many images"),
    ],
)
def test_a_class_that_returns_something_else(result, error, message):
    class Wrong:
        def apply_batch(self, images, labels, draws):
            return result(images, labels)

    with pytest.raises(error, match=message):
        first(Wrong())
