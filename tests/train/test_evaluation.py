"""These tests check evaluation: what can be evaluated, test-time augmentation, threads."""

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


class Two(nn.Layer):
    """A model of two inputs, of which one may be left out."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Dense(4, 3)

    def forward(self, left, right=0.0):
        return self.fc(left - right)


@pytest.mark.parametrize("names", [None, ("right", "left")])
def test_arrays_of_several_inputs(names):
    rng = np.random.default_rng(0)
    left, right = rng.random((2, 300, 4), dtype=np.float32)  # more than one batch
    labels = np.arange(300) % 3
    t = trainer(Two())
    inputs = (left, right) if names is None else dict(zip(names, (right, left), strict=True))
    outputs = (left - right) @ t.model.fc.weight.data + t.model.fc.bias.data
    found = t.evaluate((inputs, labels))
    assert found["accuracy"] == pytest.approx((outputs.argmax(axis=1) == labels).mean())
    batch = ((left[:8], right[:8]), labels[:8])
    history = t.fit([batch], valid=(inputs, labels))
    assert history["valid_loss"] == [t.evaluate((inputs, labels))["loss"]]
    with pytest.raises(ValueError, match="loader must have arrays of one length, got 300, 5, 300"):
        t.evaluate(((left, right[:5]), labels))


def test_an_array_alone_is_its_own_label():
    x = np.random.default_rng(0).random((300, 4), dtype=np.float32)
    t = trainer(nn.Dense(4, 4), loss=md.mse_loss)
    outputs = x @ t.model.weight.data + t.model.bias.data
    assert t.evaluate(x)["loss"] == pytest.approx(((outputs - x) ** 2).mean(), rel=1e-5)


def test_a_list_of_items_is_a_data_set(t):
    images, labels = np.tile(IMAGES, (30, 1, 1, 1)), np.tile(LABELS, 30)
    items = list(zip(images, labels, strict=True))
    assert t.evaluate(items) == t.evaluate((images, labels))
    with pytest.raises(TypeError, match=r"write data\.DataLoader\(loader"):
        t.fit(items)


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
