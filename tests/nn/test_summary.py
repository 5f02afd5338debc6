"""These tests check `summary` of models whose input is not one array of floats."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.arrays import uniform
from tests.support.errors import refuses


class Tagger(nn.Layer):
    """Maps words to classes by a recurrent layer."""

    def __init__(self):
        self.table = nn.Embedding(10, 4)
        self.recurrent = nn.LSTM(4, 5)
        self.head = nn.Dense(5, 3)

    def forward(self, words):
        return self.head(self.recurrent(self.table(words))[0])


class Two(nn.Layer):
    """Has two inputs, of which one may be numbers of rows, and several outputs."""

    def __init__(self, ids):
        self.table = nn.Embedding(10, 4) if ids else nn.Dense(7, 4)
        self.image = nn.Conv(1, 4, 3)

    def forward(self, a, b):
        return {"a": self.table(a), "b": self.image(b)}


def rows(text):
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}


@pytest.mark.parametrize(
    "given",
    [
        {"input_shape": (7,)},
        {"input_shape": 7},
        {"input_shape": np.int64(7)},
        {"example": np.zeros((3, 7), np.int64)},
        {"example": [[1, 2, 3, 4, 5, 6, 7]]},
    ],
    ids=str,
)
def test_words(given):
    found = rows(Tagger().summary(**given))
    assert found["table"] == "Embedding (7, 4) 40"
    assert found["recurrent"] == "LSTM (7, 5), ... 0"
    assert found["head"] == "Dense (7, 3) 18"


def test_several_inputs():
    example = (np.array([3, 4]), uniform(2, 8, 8, 1))
    found = rows(Two(ids=True).summary(example=example))
    assert found["table"] == "Embedding (4,) 40" and found["image"] == "Conv (6, 6, 4) 40"
    assert rows(Two(ids=False).summary(((7,), (8, 8, 1))))["image"] == "Conv (6, 6, 4) 40"


def test_examples_of_other_dtypes():
    images = np.zeros((2, 28, 28, 1), np.uint8)  # they are divided by 255
    assert models.MnistCNN().summary(example=images) == models.MnistCNN().summary((28, 28, 1))
    assert models.MnistCNN().astype("float64").summary(example=images)
    assert nn.Dense(2, 3).summary(example=md.ones(4, 2)) == nn.Dense(2, 3).summary(2)


def test_without_an_input():
    found = rows(Tagger().summary())
    assert found["head"] == "Dense - 18"


def test_wrong_examples():
    with refuses(TypeError, "summary", "input_shape or example"):
        nn.Dense(2, 3).summary((2,), example=np.ones((1, 2)))
    with refuses(TypeError, "summary: example", "does not fit", "float64"):
        nn.Dense(2, 3).summary(example=np.ones((1, 2)))
    with refuses(ValueError, "input_shape", "-1"):
        nn.Dense(2, 3).summary((-1,))
    with refuses(ValueError, "summary: input_shape ((3,), (8, 8, 1))", "does not fit"):
        Two(ids=False).summary(((3,), (8, 8, 1)))
    model = nn.Sequential(nn.Embedding(3, 2), nn.Dense(3, 3))
    # The message is that of the first of both errors.
    with refuses(TypeError, "ids must be integers"):
        model.summary((2,))
