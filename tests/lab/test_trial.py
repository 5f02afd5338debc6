"""These tests check what `compare` refuses before anything is trained: models that share weights,
functions that cannot be called, and data, optimizers and metrics that do not fit.
"""

import functools
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import lab, models, nn, optim
from minidl.lab import comparison
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import pairs

pytestmark = small_batches
LAYERS = {"batch": nn.BatchNorm, "layer": nn.LayerNorm, "none": lambda features: nn.Identity()}
X, Y = pairs(64)[:]


def build(norm):
    return nn.Sequential(nn.Dense(6, 12), LAYERS[norm](12), nn.ReLU(), nn.Dense(12, 3))


@pytest.fixture(autouse=True)
def trainings(monkeypatch):
    """Return a list of the trainings that a comparison has begun."""
    begun = []
    trained = comparison._trained
    monkeypatch.setattr(
        comparison, "_trained", lambda *given: begun.append(given) or trained(*given)
    )
    return begun


def compared(make=build, norms=("batch", "none"), **options):
    return lab.compare(
        make,
        norms,
        **{
            "data": ((X, Y), (X, Y)),
            "seeds": 1,
            "epochs": 1,
            "measures": (),
            "progress": False,
            **options,
        },
    )


one, shared, norm_of_all = build("batch"), nn.Dense(6, 12), nn.BatchNorm(12, affine=False)
weight = nn.Parameter(np.ones((6, 12), np.float32))


class Tied(nn.Layer):
    def __init__(self):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return x @ self.weight


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda norm: one, ("build('batch')", "'0.weight'")),
        (functools.cache(build), ("build('batch')", "'0.weight'")),
        (lambda norm: nn.Sequential(shared, LAYERS[norm](12), nn.Dense(12, 3)), ("'0.weight'",)),
        (lambda norm: nn.Sequential(nn.Dense(6, 12), norm_of_all, nn.Dense(12, 3)), ("layer '1'",)),
        (lambda norm: nn.Sequential(Tied(), LAYERS[norm](12)), ("'0.weight'",)),
        (lambda norm: one if norm == "none" else build(norm), ("build('none')",)),
    ],
)
def test_models_that_share_something(make, words, trainings):
    with refuses(ValueError, "compare: build must make a new model at each call", *words):
        compared(make)
    assert trainings == []


def test_what_layers_without_state_share_does_not_matter():
    relu = nn.ReLU()
    assert (
        len(
            compared(
                lambda norm: nn.Sequential(nn.Dense(6, 12), LAYERS[norm](12), relu, nn.Dense(12, 3))
            ).runs
        )
        == 2
    )


@pytest.mark.parametrize(
    "error, make, words",
    [
        (TypeError, one, ("build must be a function of a normalization", "Sequential")),
        (TypeError, lambda: one, ("build must be a function of a normalization", "argument")),
        (TypeError, lambda norm, size: one, ("build must be", "'size'")),
        (TypeError, None, ("build must be", "None")),
        (TypeError, lambda norm: build, ("build('batch') must be a Layer", "function")),
        (ValueError, lambda norm: LAYERS["bathc"], ("build('batch') failed", "KeyError: 'bathc'")),
        (
            ValueError,
            lambda norm: models.create("mnist-cnn", norm="bathc"),
            ("build('batch') failed", "bathc", '"group"'),
        ),
        (ValueError, lambda norm: build(norm).freeze(), ("build('batch')", "trainable parameters")),
    ],
)
def test_models_that_are_none(error, make, words, trainings):
    with refuses(error, "compare: ", *words):
        compared(make)
    assert trainings == []


@pytest.mark.parametrize(
    "data, words",
    [
        (((X[:, :4], Y), (X, Y)), ("data[0]", "expected 6 features")),
        (((X, Y), (X[:, :4], Y)), ("data[1]", "expected 6 features")),
        (((X, Y + 5), (X, Y)), ("data[0]", "label")),
        (((X, Y), (X, Y + 5)), ("data[1]", "label")),
        (((X[:0], Y[:0]), (X, Y)), ("data[0] has no batch",)),
        (((X, Y), (X[:0], Y[:0])), ("data[1] has no batch",)),
        (([X, Y], (X, Y)), ("data[0] (a list is taken as a loader whose entries are batches)",)),
        (((X, Y), [X, Y]), ("data[1] (a list is taken as a loader",)),
        (((X, Y.astype(np.float32)), (X, Y)), ("data[0]", "logits")),
    ],
)
def test_data_that_do_not_fit(data, words, trainings):
    with refuses(ValueError, "compare: ", *words):
        compared(data=data)
    assert trainings == []


@pytest.mark.parametrize(
    "error, options, words",
    [
        (ValueError, {"metric": "mae"}, ("metric 'mae'", "'batch'")),
        (
            TypeError,
            {"optimizer": lambda p: optim.SGD(p, lr=0.1)},
            ("optimizer must be", "argument"),
        ),
        (TypeError, {"optimizer": lambda p, rate: None}, ("optimizer(parameters, rate) must be",)),
        (
            ValueError,
            {"optimizer": lambda p, rate: optim.SGD(one.parameters(), rate)},
            ("of other parameters",),
        ),
        (TypeError, {"loss": lambda y, t: 1.0}, ("data[0]", "loss must return a tensor")),
    ],
)
def test_what_else_does_not_fit(error, options, words, trainings):
    with refuses(error, "compare: ", *words):
        compared(**options)
    assert trainings == []


def test_the_last_normalization_is_tried_first_too(trainings):
    def make(norm):
        return build(norm) if norm == "batch" else nn.Sequential(nn.Dense(5, 3))

    with refuses(ValueError, "the model of 'none'", "expected 5 features"):
        compared(make)
    assert trainings == []


def test_a_trial_leaves_no_trace():
    """There are no warnings besides those of the trainings, no random numbers are drawn, and
    loaders stay as they were.
    """

    class Loader:
        def __init__(self):
            self.passes = self.single = 0

        def __iter__(self):
            self.passes += 1
            yield X[:4], Y[:4]

        def once(self):
            self.single += 1
            yield X[:4], Y[:4]

    loaders = Loader(), Loader()
    md.manual_seed(3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        compared(data=loaders, norms=("batch",), epochs=2)
    assert len(said) == 1 and "4 values a channel" in str(said[0].message)
    drawn = float(md.rand(1).data[0])
    md.manual_seed(3)
    assert drawn == float(md.rand(1).data[0])
    assert (loaders[0].passes, loaders[0].single) == (2, 1)
