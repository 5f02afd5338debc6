"""These tests check evaluation: test-time augmentation, threads."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.trainings import trainer

IMAGES = np.random.default_rng(0).random((10, 6, 6, 2), dtype=np.float32)
LABELS = np.arange(10) % 3


@pytest.fixture
def t():
    md.manual_seed(0)
    return trainer(
        nn.Sequential(nn.Conv(2, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Flatten(), nn.Dense(48, 3))
    )


def expected(t, *views):
    outputs = np.mean([t.model.predict(view) for view in views], axis=0)
    return {
        "loss": pytest.approx(md.cross_entropy(outputs, LABELS).item(), rel=1e-6),
        "accuracy": pytest.approx(md.accuracy(outputs, LABELS)),
    }


def darker(images):
    images *= 0.5  # it may write to its argument
    return images


def noisy(images, rng):
    return images + rng.random(images.shape)


MIRRORED, DARKER = IMAGES[:, :, ::-1].copy(), IMAGES * 0.5


@pytest.mark.parametrize(
    ("tta", "views"),
    [
        (None, [IMAGES]),
        ("flip", [IMAGES, MIRRORED]),
        (darker, [IMAGES, DARKER]),
        (["flip", darker], [IMAGES, MIRRORED, DARKER]),
        ([], [IMAGES]),
    ],
)
def test_test_time_augmentation(t, tta, views):
    batches = data.DataLoader(data.ArrayDataset(IMAGES, LABELS), 4)
    assert t.evaluate(batches, tta=tta) == expected(t, *views)


def test_random_numbers_are_the_same_each_time(t):
    first = t.evaluate((IMAGES, LABELS), tta=noisy)
    assert t.evaluate((IMAGES, LABELS), tta=noisy) == first != t.evaluate((IMAGES, LABELS))


@pytest.mark.parametrize(
    ("tta", "error", "text"), [("turn", ValueError, "tta must be"), (3, TypeError, "tta must be")]
)
def test_what_is_no_transform(t, tta, error, text):
    with pytest.raises(error, match=text):
        t.evaluate((IMAGES, LABELS), tta=tta)


def test_rows_cannot_be_mirrored():
    with pytest.raises(ValueError, match=r"images \(N, H, W, C\)"):
        trainer(nn.Dense(4, 3)).evaluate((np.ones((5, 4), np.float32), LABELS[:5]), tta="flip")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([], ValueError, "has no batch"),
        (3, TypeError, "^evaluate: loader must be"),
        (iter(()), TypeError, "only once"),
    ],
)
def test_what_cannot_be_evaluated(t, given, error, text):
    with pytest.raises(error, match=text):
        t.evaluate(given)


def test_the_mode_is_that_of_the_thread(t):
    """Another thread sees the model in training mode meanwhile."""
    seen = []

    def batches():
        for start in (0, 5):
            thread = threading.Thread(target=lambda: seen.append(t.model.training))
            thread.start()
            thread.join()
            yield IMAGES[start : start + 5], LABELS[start : start + 5]

    before = t.model.state_dict()
    t.evaluate(list(batches()))
    after = t.model.state_dict()
    assert seen == [True, True] and t.model.training
    assert all(np.array_equal(before[name], after[name]) for name in before)
