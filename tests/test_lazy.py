"""These tests check Lazy: which post-operations it accepts and in which order, and that it is
computed once.
"""

import gc
import itertools

import numpy as np
import pytest

from minidl.lazy import NOTHING, RELU, Epilogue, Lazy, computed
from tests.support.arrays import uniform

VALUES, SHORTCUT = uniform(2, 5, 4, 3), uniform(2, 5, 4, 3, seed=1)


def pooled(y):
    return np.max([y[:, i:4:2, j:4:2] for i in (0, 1) for j in (0, 1)], axis=0)


def finished(epilogue):
    """Return what a producer of VALUES would write to memory."""
    y = VALUES
    if epilogue.residual is not None:
        y = y + epilogue.residual
    if epilogue.relu:
        y = np.maximum(y, 0)
    if epilogue.curve:
        y = NUMPYS[epilogue.curve[0]](y)
    return pooled(y) if epilogue.pool else y * 1


class Counted:
    """A Lazy of VALUES that records the epilogues with which it was computed."""

    def __init__(self, takes=("residual", "relu", "curve", "pool")):
        self.runs = []
        self.lazy = Lazy(self.run, VALUES.shape, VALUES.dtype, ("source",), takes)

    def run(self, epilogue):
        self.runs.append(epilogue)
        return finished(epilogue)


POSTS = {
    "residual": {"residual": SHORTCUT},
    "relu": {"activation": RELU},
    "pool": {"pool": True},
    "tanh": {"activation": ("tanh",)},
}
NUMPYS = {
    "residual": lambda y: y + SHORTCUT,
    "relu": lambda y: np.maximum(y, 0),
    "pool": pooled,
    "tanh": np.tanh,
}
TAKEN = {
    (),
    ("residual",),
    ("relu",),
    ("pool",),
    ("tanh",),
    ("residual", "relu"),
    ("relu", "relu"),
    ("relu", "pool"),
    ("residual", "relu", "relu"),
    ("relu", "relu", "pool"),
    ("relu", "relu", "relu"),
}


@pytest.mark.parametrize(
    "order", [order for n in range(4) for order in itertools.product(POSTS, repeat=n)], ids=" ".join
)
def test_every_order_of_post_operations(order):
    """One pass computes what it accepts, and it refuses everything that it would compute
    wrongly.
    """
    made = Counted()
    lazy, expected = made.lazy, VALUES
    for k, name in enumerate(order):
        longer = lazy.then(**POSTS[name])
        if order[: k + 1] not in TAKEN:
            assert longer is None
            return
        lazy, expected = longer, NUMPYS[name](expected)
    y = lazy.compute()
    np.testing.assert_array_equal(y, expected)
    assert (lazy.shape, lazy.dtype) == (y.shape, y.dtype)
    assert made.runs == [lazy.epilogue]


def test_a_post_operation_leaves_what_it_extends_alone():
    made = Counted()
    longer = made.lazy.then(residual=SHORTCUT).then(activation=RELU)
    assert made.lazy.epilogue == NOTHING == Epilogue(None, None, False)
    assert longer.epilogue.residual is SHORTCUT
    assert longer.epilogue.relu
    assert longer.source == made.lazy.source
    np.testing.assert_array_equal(made.lazy.compute(), VALUES)
    np.testing.assert_array_equal(longer.compute(), np.maximum(VALUES + SHORTCUT, 0))


@pytest.mark.parametrize(
    "residual",
    (
        SHORTCUT[:1],
        SHORTCUT[0],
        SHORTCUT[..., :1],
        SHORTCUT[None],
        SHORTCUT.astype(np.float64),
        np.ones(VALUES.shape, np.int64),
    ),
    ids=lambda r: f"{r.dtype} {r.shape}",
)
def test_a_residual_of_another_shape_or_dtype_is_refused(residual):
    assert Counted().lazy.then(residual=residual) is None


@pytest.mark.parametrize("name", POSTS)
def test_what_a_producer_cannot_do_is_refused(name):
    kind = "curve" if name == "tanh" else name
    assert Counted((kind,)).lazy.then(**POSTS[name]) is not None
    others = tuple({"residual", "relu", "curve", "pool"} - {kind})
    assert Counted(others).lazy.then(**POSTS[name]) is None
    assert Counted(()).lazy.then(**POSTS[name]) is None


def test_computed_once_while_someone_holds_the_array():
    made = Counted()
    y = made.lazy.compute()
    assert made.lazy.compute() is y
    assert computed(made.lazy) is y
    assert len(made.runs) == 1


def test_nothing_is_kept_alive():
    """A consumer that needs the values again, such as the backward of a ReLU, computes them
    again.
    """
    made = Counted()
    first = made.lazy.compute().copy()
    gc.collect()
    np.testing.assert_array_equal(made.lazy.compute(), first)
    assert len(made.runs) == 2


def test_what_is_computed_is_there_for_everyone():
    made = Counted()
    y = made.lazy.compute()
    assert made.lazy.then(activation=RELU) is None
    del y
    assert made.lazy.then(activation=RELU) is not None


def test_computed_returns_other_values_as_they_are():
    for x in (VALUES, None, 2.0):
        assert computed(x) is x
