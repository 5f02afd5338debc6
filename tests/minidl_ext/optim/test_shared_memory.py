"""These tests check updates of arrays that share memory, and of arrays that nobody else refers
to.
"""

import numpy as np
import pytest

from minidl.kernels.reference.optim import updates as twin
from minidl_ext.optim import updates as native
from tests.support.kernels import last_values

BOTH = pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
SGD = {"velocities": None, "lr": 1.0}
ADAM = {
    "lr": 0.1,
    "beta1": 0.9,
    "beta2": 0.99,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "decoupled": False,
    "step": 1,
}


def ones(*sizes):
    return [np.ones(size, np.float32) for size in sizes]


def refused(call, lists, options, words):
    before = {name: [a.copy() for a in arrays] for name, arrays in lists.items()}
    with pytest.raises(ValueError, match="overlaps") as info:
        call(**lists, **options)
    assert {*str(info.value).split()} >= {*words}
    for name, arrays in before.items():
        for a, now in zip(arrays, lists[name], strict=True):
            np.testing.assert_array_equal(a, now)


@BOTH
@pytest.mark.parametrize("count", (2, 3, 5, 50))
def test_parameters_that_share_memory(kernels, count):
    """The two may be anywhere in the list, and one may contain the other or only overlap it."""
    room = np.ones(8, np.float32)
    for i, j in ((0, 1), (0, count - 1), (count - 1, 0), (count // 2, count - 1)):
        if i == j:
            continue
        for one, other in ((room, room), (room[:5], room[4:]), (room, room[3:4]), (room[4:], room)):
            params = ones(*[3] * count)
            params[i], params[j] = one, other
            grads = [np.ones_like(p) for p in params]
            words = f"params[{i}]", f"params[{j}]"
            refused(kernels.sgd_update, {"params": params, "grads": grads}, SGD, words)


@BOTH
@pytest.mark.parametrize(("name", "at"), (("means", 0), ("squares", 1), ("grads", 1)))
def test_a_state_or_a_gradient_in_a_parameters_memory(kernels, name, at):
    lists = {key: ones(3, 3, 3) for key in ("params", "grads", "means", "squares")}
    lists[name][at] = lists["params"][2]
    refused(kernels.adam_update, lists, ADAM, (f"{name}[{at}]", "params[2]"))


@BOTH
def test_a_large_gradient_that_reaches_into_the_next_but_one(kernels):
    room = np.ones(12, np.float32)
    grads = [room[:9], *ones(3)]
    params = [*ones(9), room[8:11]]
    refused(kernels.sgd_update, {"params": params, "grads": grads}, SGD, ("grads[0]", "params[1]"))


@BOTH
def test_gradients_may_be_one_array(kernels):
    """Gradients are only read."""
    params, g = ones(3, 3, 2), np.arange(3, dtype=np.float32)
    kernels.sgd_update(params, [g, g, g[1:]], **SGD)
    for p, want in zip(params, (1 - g, 1 - g, 1 - g[1:]), strict=True):
        np.testing.assert_array_equal(p, want)
    assert native.square_sum([g, g]) == twin.square_sum([g, g]) == 10


@BOTH
def test_neighbours_and_empty_arrays_share_nothing(kernels):
    room = np.ones(9, np.float32)
    params = [room[6:], room[:3], room[2:2], room[3:6], room[4:4]]
    kernels.sgd_update(params, [np.ones_like(p) for p in params], **SGD)
    np.testing.assert_array_equal(room, 0)


def test_many_arrays_in_any_order():
    """The arrays are sorted from every order in memory, and one overlapping pair among thousands is
    found.
    """
    rng, room = np.random.default_rng(0), np.ones(4 * 3000, np.float32)
    for count in (1, 4, 13, 40, 1000, 3000):
        params = [room[4 * k : 4 * k + 4] for k in rng.permutation(count)]
        grads = ones(*[4] * count)
        native.sgd_update(params, grads, **SGD)
        i = rng.integers(count)
        first = params[i].__array_interface__["data"][0]
        begin = (first - room.__array_interface__["data"][0]) // 4
        params.append(room[begin + 3 : begin + 4])
        words = f"params[{i}]", f"params[{count}]"
        refused(
            native.sgd_update, {"params": params, "grads": [*grads, np.ones(1, "f4")]}, SGD, words
        )


class Fading(list):
    """A list that makes each array when it is asked for it, and keeps no reference to it."""

    def __init__(self, make, size):
        super().__init__([None] * size)
        self.make = make

    def __getitem__(self, i):
        return self.make()


@pytest.mark.parametrize("name", ("sgd_update", "lars_update"))
def test_arrays_live_until_the_call_ends(name):
    """They live although the caller's list does not hold them, since another thread may change it
    meanwhile.
    """
    memory, told = np.ones(1000, np.float32), []

    options = {"sgd_update": {}, "lars_update": {"momentum": 0.0, "trust": 1.0, "eps": 0.0}}[name]
    grads = [np.ones(1000, np.float32)]
    getattr(native, name)(Fading(lambda: last_values(memory, told), 1), grads, None, 0.5, **options)
    assert told
    np.testing.assert_array_equal(told[-1], 0.5)
    assert all((values == 0.5).all() for values in told)
