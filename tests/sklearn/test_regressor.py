"""These tests check the regressor: scales, several outputs, user-defined training loops."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from minidl.sklearn import Regressor
from tests.support.cases import errors_of

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = 1e6 + 1e4 * X[:, 0]


def test_targets_of_any_scale():
    net = Regressor(epochs=100, random_state=0).fit(X, Y)
    assert net.predict(X).shape == (120,) and net.predict(X).dtype == np.float64
    assert net.score(X, Y) > 0.95


def test_several_outputs():
    targets = np.stack([Y, X[:, 1] * 1e-3], axis=1)
    net = Regressor(epochs=100, random_state=0).fit(X, targets)
    assert net.predict(X).shape == (120, 2) and net.score(X, targets) > 0.9
    assert Regressor(epochs=1).fit(X, Y[:, None]).predict(X).shape == (120, 1)


def test_targets_that_are_all_the_same():
    assert (Regressor(epochs=1).fit(X, np.full(120, 7)).predict(X) == 7).all()


def test_user_defined_training_loops():
    net = Regressor(random_state=0)
    for _ in range(60):
        net.partial_fit(X, Y)
    assert net.score(X, Y) > 0.9


def test_a_warm_start_keeps_the_scale_of_targets():
    net = Regressor(epochs=60, random_state=0, warm_start=True).fit(X, Y)
    net.set_params(epochs=1).fit(X[:60], Y[:60])
    assert net.score(X, Y) > 0.9


test_errors = errors_of(
    [
        (
            lambda: Regressor(epochs=1, warm_start=True).fit(X, Y).fit(X, np.stack([Y, Y], 1)),
            ValueError,
            "shape of the first fit",
        ),
        (lambda: Regressor().fit(X, np.full(120, np.nan)), ValueError, "NaN"),
        (
            lambda: Regressor().fit(X, ["a"] * 120),
            ValueError,
            "y must be numbers, got an array of <U1",
        ),
    ]
)


def test_what_the_network_puts_out_becomes_targets_by_public_numbers():
    y = 1000 + 50 * X[:, :2]
    net = Regressor(epochs=2).fit(X, y)
    outputs = net.model_.predict(np.float32(X))
    assert np.allclose(
        outputs * net.target_deviation_ + net.target_mean_, net.predict(X), rtol=1e-5
    )
