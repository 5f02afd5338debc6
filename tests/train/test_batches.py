"""These tests check which entry of a batch is what."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.train.batches import Reader
from tests.support.trainings import loader, trainer

A, B = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
LABELS = np.arange(4)


class Two(nn.Layer):
    """A model with two inputs."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Dense(5, 4)

    def forward(self, left, right, scale=1.0):
        return self.fc(md.concatenate([left, right], axis=1))


ONE = nn.Dense(3, 4)


@pytest.mark.parametrize(
    ("model", "batch", "inputs", "labels"),
    [
        (ONE, A, [A], A),
        (ONE, (A,), [A], A),
        (ONE, (A, LABELS), [A], LABELS),
        (ONE, [A, LABELS, B], [A], LABELS),
        (ONE, {"image": A, "label": LABELS}, [A], LABELS),
        (ONE, {"id": LABELS + 5, "labels": LABELS, "images": A}, [A], LABELS),
        (ONE, {"x": A, "y": LABELS}, [A], LABELS),
        (ONE, {"y": LABELS, "x": A}, [A], LABELS),
        (ONE, {"picture": A, "kind": LABELS}, [A], LABELS),
        (ONE, {"picture": A}, [A], A),
        (Two(), (A, B, LABELS), [A, B], LABELS),
        (Two(), ((A, B), LABELS), [A, B], LABELS),
        (Two(), ({"right": B, "left": A}, LABELS), [B, A], LABELS),
        (Two(), {"label": LABELS, "right": B, "left": A}, [A, B], LABELS),
        (Two(), {"image": (A, B), "label": LABELS}, [A, B], LABELS),
    ],
)
def test_entries_are_inputs_and_labels(model, batch, inputs, labels):
    example = Reader(model)(batch)
    assert example.count == 4
    assert [np.array_equal(x.data, y) for x, y in zip(example, inputs, strict=True)] == [
        True
    ] * len(inputs)
    given = example.labels
    assert np.array_equal(given.data if isinstance(given, md.Tensor) else given, labels)
    model(*example.inputs, **example.named)


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ((), "empty list or tuple"),
        ({}, "empty dict"),
        ((A, B), "no labels left after the 2 input"),
        (((), LABELS), "no input"),
    ],
)
def test_batches_that_are_none(batch, text):
    with pytest.raises(ValueError, match=text):
        Reader(Two())(batch)


def test_dtypes():
    """Floats get the model's dtype, images of bytes are divided by 255, and classes stay as they
    are.
    """
    images = np.full((4, 3), 255, np.uint8)
    example = Reader(nn.Dense(3, 4).astype(np.float64))((images, LABELS.astype(np.int32)))
    (x,) = example
    assert x.dtype == np.float64 and x.max().item() == 1.0 and example.labels.dtype == np.int32
    example = Reader(ONE)((A.astype(np.float64), np.ones((4, 4))))
    assert next(iter(example)).dtype == np.float32 == example.labels.dtype


def test_a_loss_with_a_parameter_batch_gets_it():
    weights = np.linspace(0.5, 1.5, 8).astype(np.float32)
    batches = [(x, y, weights) for x, y in loader()]

    def loss(outputs, labels, batch):
        assert batch[2] is weights
        return (md.cross_entropy(outputs, labels, reduction="none") * batch[2]).mean()

    history = trainer(loss=loss).fit(batches, epochs=5)
    assert history["loss"][-1] < history["loss"][0]


def test_a_model_of_two_inputs_is_trained():
    batches = [(x[:, :3], x[:, 3:5], y) for x, y in loader()]
    history = trainer(Two()).fit(batches, valid=batches, epochs=20)
    assert history["valid_accuracy"][-1] > 0.6
