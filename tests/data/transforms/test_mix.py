"""These tests check the partners, shares and labels of Mixup and CutMix."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.data import ArrayDataset, DataLoader
from minidl.data import transforms as T
from minidl.data.transforms import mix
from tests.support.transforms import applied, draws_of, images_of

COUNT = 60
IMAGES = images_of(COUNT, 6, 9, 2)
# Each image has a class of its own, so labels say which images were mixed.
LABELS = np.arange(COUNT)


def partners_of(labels, shares):
    """Return the partner of each image, from distributions over the images."""
    rest = labels.copy()
    rest[np.arange(COUNT), np.arange(COUNT)] = -1
    return rest.argmax(axis=1)


def test_mixup():
    images, labels = applied(T.Mixup(0.5), IMAGES, LABELS, classes=COUNT)
    assert labels.dtype == np.float32 and labels.shape == (COUNT, COUNT)
    own = labels[np.arange(COUNT), np.arange(COUNT)]
    partners = partners_of(labels, own)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    # The partners form a ring: each image is a partner once.
    assert sorted(partners.tolist()) == list(range(COUNT))
    assert (partners != np.arange(COUNT)).all()
    for i in range(COUNT):
        expected = own[i] * IMAGES[i] + (1 - own[i]) * IMAGES[partners[i]]
        np.testing.assert_allclose(images[i], expected, atol=1e-6)
    assert len(np.unique(own)) > 50


def test_cutmix():
    images, labels = applied(T.CutMix(1.0), IMAGES, LABELS, classes=COUNT)
    own = labels[np.arange(COUNT), np.arange(COUNT)]
    partners = partners_of(labels, own)
    for i in range(COUNT):
        kept = (images[i] == IMAGES[i]).all(axis=-1)
        assert abs(kept.mean() - own[i]) < 1e-6
        rows, columns = np.nonzero(~kept)
        if len(rows):
            part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert not kept[part].any()  # the replaced part is a rectangle
            assert np.array_equal(images[i][part], IMAGES[partners[i]][part])
    assert own.min() < 0.3 and own.max() > 0.9


@pytest.mark.parametrize("kind", [T.Mixup, T.CutMix])
def test_some_of_the_images(kind):
    images, labels = applied(kind(1.0, p=0.5), IMAGES, LABELS, classes=COUNT)
    same = labels[np.arange(COUNT), np.arange(COUNT)] == 1
    assert 15 < same.sum() < 50
    assert np.array_equal(images[same], IMAGES[same])
    images, labels = applied(kind(1.0, p=0), IMAGES, LABELS, classes=COUNT)
    assert np.array_equal(images, IMAGES) and np.array_equal(labels, np.eye(COUNT))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 8.0])
def test_the_shares_are_of_a_beta_distribution(alpha):
    """The moments E x = 1/2, E x^2 and E x^4 follow from the gamma function."""
    x = mix.beta(alpha, draws_of(40_000))
    assert x.min() >= 0 and x.max() <= 1

    def moment(k):
        return math.exp(
            math.lgamma(alpha + k)
            + math.lgamma(2 * alpha)
            - math.lgamma(alpha)
            - math.lgamma(2 * alpha + k)
        )

    for k in (1, 2, 4):
        spread = math.sqrt(moment(2 * k) - moment(k) ** 2)
        assert abs((x**k).mean() - moment(k)) < 4 * spread / 200, k


def test_of_one_image_the_partner_is_itself():
    images, labels = applied(T.Mixup(1.0), IMAGES[:1], LABELS[:1], classes=3)
    np.testing.assert_allclose(images, IMAGES[:1], atol=1e-6)
    np.testing.assert_allclose(labels, [[1, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        np.random.default_rng(0).random((COUNT, 4)).astype(np.float32),
        np.arange(COUNT, dtype=np.float32),
    ],
)
def test_float_labels_are_mixed_as_they_are(labels):
    _, mixed = applied(T.Mixup(1.0), IMAGES, labels)
    _, shares = applied(T.Mixup(1.0), IMAGES, LABELS, classes=COUNT)
    np.testing.assert_allclose(mixed, shares @ labels, rtol=1e-5)


def test_a_loader_knows_the_classes_and_the_loss_takes_the_labels():
    data = ArrayDataset(IMAGES, LABELS % 3, classes="abc")
    _, labels = next(iter(DataLoader(data, 16, transform=T.CutMix(), seed=0)))
    assert labels.shape == (16, 3) and labels.dtype == np.float32
    assert md.cross_entropy(md.rand(16, 3), labels).item() > 0


@pytest.mark.parametrize(
    "labels, classes, error, message",
    [
        (LABELS, 5, ValueError, "labels must be from 0 to 4, got 0 to 59"),
        (LABELS - 1, 60, ValueError, "labels must be from 0 to 59, got -1"),
        (LABELS.reshape(60, 1), 60, TypeError, "labels must be integers"),
        (
            LABELS[1:],
            60,
            ValueError,
            "images and labels must have one length, got images .* labels of \\(59,\\)",
        ),
        (LABELS, None, ValueError, "classes must be given"),
        (None, 3, TypeError, "there are no labels"),
    ],
)
def test_labels_that_do_not_fit(labels, classes, error, message):
    for kind in (T.Mixup, T.CutMix):
        with pytest.raises(error, match=f"{kind.__name__}.*{message}"):
            kind(classes=classes)(IMAGES, labels)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"alpha": 0}, ValueError),
        ({"alpha": "a"}, TypeError),
        ({"classes": 0}, ValueError),
        ({"p": 2}, ValueError),
    ],
)
def test_bad_arguments_are_refused(options, error):
    for kind in (T.Mixup, T.CutMix):
        with pytest.raises(error, match=f"{kind.__name__}: {next(iter(options))} must be"):
            kind(**options)
