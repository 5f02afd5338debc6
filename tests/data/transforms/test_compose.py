"""These tests check several transforms one after the other."""

import numpy as np
import pytest

from minidl.data import transforms as T
from tests.support.transforms import applied, draws_of, images_of

IMAGES = images_of(20, 6, 6, 3)


def test_one_after_the_other():
    members = [T.RandomCrop(6, 2), T.RandomFlip(), T.Cutout(2)]
    expected, draws = IMAGES.copy(), draws_of(20)
    for place, member in enumerate(members):
        expected, _ = member.apply_batch(expected, None, draws.at(place))
    for compose in (T.Compose(*members), T.Compose(members), T.Compose(tuple(members))):
        found, labels = applied(compose, IMAGES)
        assert np.array_equal(found, expected) and labels is None


def test_equal_members_draw_by_themselves():
    twice, _ = applied(T.Compose(T.RandomFlip(), T.RandomFlip()), IMAGES)
    flipped = [not np.array_equal(a, b) for a, b in zip(twice, IMAGES, strict=True)]
    assert 0 < sum(flipped) < 20


def test_functions_share_the_generator_of_the_batch():
    seen = []

    def noise(images, rng):
        seen.append(rng.random())
        return images

    applied(T.Compose(noise, T.Compose(noise), T.RandomFlip(), noise), IMAGES)
    assert seen == np.random.default_rng(0).random(3).tolist()


def test_labels_go_through():
    labels = np.arange(20) % 3
    compose = T.Compose(
        T.RandomFlip(),
        lambda images, labels: (images, labels + 1),
        T.Compose(T.Cutout(2), T.Mixup(classes=4)),
    )
    assert compose.takes_labels and not T.Compose(T.RandomFlip()).takes_labels
    images, mixed = compose(IMAGES, labels, np.random.default_rng(0))
    assert images.shape == IMAGES.shape and mixed.shape == (20, 4)
    assert (mixed[:, 0] == 0).all() and np.allclose(mixed.sum(axis=1), 1)


def test_without_members_it_returns_its_input():
    assert np.array_equal(T.Compose()(IMAGES), IMAGES)
    assert np.array_equal(T.Compose([])(IMAGES), IMAGES)


@pytest.mark.parametrize(
    "members, message",
    [
        ((3,), r"transforms\[0\] must be a function"),
        ((T.RandomFlip(), None), r"transforms\[1\]"),
        ((T.RandomFlip,), r".*write RandomFlip\(\.\.\.\)"),
    ],
)
def test_what_cannot_be_called(members, message):
    with pytest.raises(TypeError, match=f"Compose: {message}"):
        T.Compose(*members)
