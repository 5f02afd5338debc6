"""These tests check the classifier: probabilities, classes, class weights, user-defined training
loops.
"""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from minidl.sklearn import Classifier
from tests.support.cases import errors_of
from tests.support.marks import small_batches
from tests.support.sklearn_models import blobs

X, Y = blobs()
quick = {"epochs": 2, "hidden": (8,), "random_state": 0}


def test_classes_and_probabilities():
    net = Classifier(random_state=0).fit(X, Y)
    shares = net.predict_proba(X)
    assert net.classes_.tolist() == ["cat", "dog", "emu"]
    assert shares.dtype == np.float64 and np.allclose(shares.sum(1), 1, atol=1e-12)
    assert np.array_equal(net.predict(X), net.classes_[shares.argmax(1)])
    assert np.allclose(np.exp(net.predict_log_proba(X)), shares)
    assert net.score(X, Y) > 0.95


@pytest.mark.parametrize("labels", [[3, 7], [False, True], [-1.0, 1.0], ["no", "yes"]])
def test_labels_of_any_kind(labels):
    y = np.array(labels)[(X[:, 0] > X[:, 0].mean()).astype(int)]
    predicted = Classifier(random_state=0).fit(X, y).predict(X)
    assert predicted.dtype == y.dtype and (predicted == y).mean() > 0.9


def test_one_class():
    net = Classifier(**quick).fit(X, np.ones(len(X), int))
    assert (net.predict(X) == 1).all() and (net.predict_proba(X) == 1).all()


def test_weights_of_classes():
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(200, 3)), np.repeat([0, 1], [20, 180])  # there is nothing to learn
    shares = [
        Classifier(random_state=0, class_weight=weight, hidden=(), epochs=40)
        .fit(rows, y)
        .predict_proba(rows)[:, 0]
        .mean()
        for weight in (None, "balanced", {0: 100, 1: 1})
    ]
    assert shares[0] < 0.2 and 0.4 < shares[1] < 0.6 and shares[2] > 0.8


def test_user_defined_training_loops():
    net = Classifier(random_state=0)
    for epoch in range(20):
        net.partial_fit(X, Y, classes=["cat", "dog", "emu"] if epoch == 0 else None)
    assert net.score(X, Y) > 0.95 and net.n_iter_ == 1


@small_batches
def test_a_pass_may_lack_a_class():
    net = Classifier(**quick).partial_fit(X[:2], Y[:2], classes=["cat", "dog", "emu"])
    assert net.predict_proba(X).shape == (90, 3)


def passed():
    return Classifier(**quick).partial_fit(X, Y, classes=np.unique(Y))


test_errors = errors_of(
    [
        (lambda: Classifier().partial_fit(X, Y), ValueError, "needs classes"),
        (
            lambda: Classifier().partial_fit(X, Y, classes=["cat"]),
            ValueError,
            "no other classes",
            "dog",
        ),
        (lambda: passed().partial_fit(X, Y, classes=["cat"]), ValueError, "first call"),
        (
            lambda: Classifier(class_weight="balanced").partial_fit(X, Y, classes=np.unique(Y)),
            ValueError,
            "class_weight must be a dict",
        ),
        (
            lambda: Classifier(**quick, warm_start=True).fit(X, Y).fit(X[:2], Y[:2]),
            ValueError,
            "with warm_start the classes",
        ),
        (lambda: Classifier().fit(X, X[:, 0]), ValueError, "continuous"),
    ]
)
