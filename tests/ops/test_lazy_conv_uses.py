"""These tests check that other consumers of what is between normalizations and convolutions see
what they would see if every step were computed at once, and that writing to it is refused.
"""

import itertools

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.conv_programs import (
    PROGRAMS,
    Network,
    agree,
    forward,
    found,
    images,
    look,
    nothing,
    separable,
    train,
)
from tests.support.errors import read_only


def program(m, x):
    """Run ten steps, in which each kind of step is followed by each kind that may follow it."""
    h = separable(m, m.relu(m.bn(x)), 48)
    return m.bn(m.conv(h, 16))


NAMES = ("bn", "relu", "depthwise", "bn", "relu", "conv", "bn", "relu", "conv", "bn")
CHANNELS = (16, 16, 16, 16, 16, 48, 48, 48, 16, 16)
every_step = pytest.mark.parametrize(
    "k", range(len(NAMES)), ids=[f"{k} {name}" for k, name in enumerate(NAMES)]
)


def test_the_steps_are_those_in_the_table():
    steps = forward(program, images())[0].steps
    assert [t.shape for t in steps] == [(3, 7, 6, channels) for channels in CHANNELS]
    assert len(steps) == len(NAMES)


# ------------------------------------------------------------------------- others that use it


def weight(t):
    return md.tensor(uniform(*t.shape, seed=7))


@every_step
@pytest.mark.parametrize("when", ("at once", "at the end", "both"))
def test_a_second_user(when, k):
    """It uses the k-th step before the next step is called, or after all of them."""

    def total(step_by_step):
        extra = []

        def after(i, t):
            if step_by_step:
                look(i, t)
            if i == k and when != "at the end":
                extra.append((t * weight(t)).sum())

        x = images()
        network, y = forward(program, x, after=after)
        if when != "at once":
            t = network.steps[k]
            extra.append((t * t * weight(t)).sum())
        loss = (y * weight(y)).sum()
        for more in extra:
            loss = loss + more
        loss.backward()
        return found(network, x, y)

    agree(total(False), total(True))


@pytest.mark.parametrize(
    ("k", "j"),
    [
        (k, j)
        for k in range(len(NAMES))
        for j in range(k + 1, len(NAMES))
        if CHANNELS[k] == CHANNELS[j]
    ],
    ids=lambda i: f"{i} {NAMES[i]}",
)
def test_a_residual_from_any_step_to_any_other(k, j):
    """The step is added to the output, so that both are used twice."""

    def total(after):
        x = images()
        network, y = forward(program, x, after=after)
        residual = md.relu(network.steps[j] + network.steps[k])
        ((y * weight(y)).sum() + (residual * weight(residual)).sum()).backward()
        return found(network, x, y)

    agree(total(nothing), total(look))


@every_step
def test_reading_a_step_changes_no_results(k):
    """The step is computed then: the next one reads it, and the others are as before."""
    agree(train(program, after=lambda i, t: t.data if i == k else None), train(program))


# -------------------------------------------------------------------------- gradients inside


@every_step
def test_one_retained_gradient(k):
    kept = []
    for step_by_step in (False, True):

        def after(i, t, step_by_step=step_by_step):
            if step_by_step:
                look(i, t)
            if i == k:
                t.retain_grad()

        x = images()
        network, y = forward(program, x, after=after)
        y.backward(uniform(*y.shape, seed=9))
        assert [t.grad is None for t in network.steps] == [i != k for i in range(len(NAMES))]
        kept.append({**found(network, x, y), "inside": network.steps[k].grad})
    agree(*kept)


def test_all_gradients_inside():
    """retain_grad and md.grad give the same gradients, those of the steps."""
    kept = []
    for after in (nothing, look):
        x = images()
        network, y = forward(program, x, after=after)
        for t in network.steps:
            t.retain_grad()
        dy = uniform(*y.shape, seed=9)
        asked = [*network.steps, x, *network.parameters]
        grads = md.grad(y, asked, dy, retain_graph=True)
        assert x.grad is None
        y.backward(dy)
        for t, g in zip(asked, grads, strict=True):
            np.testing.assert_array_equal(t.grad, g)
        kept.append({str(k): g for k, g in enumerate(grads)})
    agree(*kept)


@every_step
def test_a_requested_gradient_belongs_to_the_caller(k):
    """Writing to it changes no other gradient."""
    x = images()
    network, y = forward(program, x)
    network.steps[k].retain_grad()
    y.backward(uniform(*y.shape, seed=9))
    expected = train(program)
    network.steps[k].grad[...] = 7
    agree(found(network, x, y), expected)


def test_a_pending_normalization_that_became_a_leaf():
    """It was made without a graph, and then its gradient was requested."""
    results = []
    for after in (nothing, look):
        network = Network(after=after)
        with md.no_grad():
            h = network.relu(network.bn(images() * 1))
        h.requires_grad = True
        y = network.relu(network.bn(network.conv(h, 32)))
        y.backward(uniform(*y.shape, seed=9))
        assert network.parameters[0].grad is None
        results.append({"y": y.data, "dh": h.grad, "dw": network.parameters[2].grad})
    agree(*results)


# ------------------------------------------------------------------------------------ writes


def zero(t):
    t.data[...] = 0


def double(t):
    t.data[...] *= 2


def assign(t):
    t.data = uniform(*t.shape, seed=8)


def through_a_view(t):
    t.reshape(-1).data[...] = 0


WRITES = pytest.mark.parametrize("write", (zero, double, assign, through_a_view))


def attempt(write, t):
    """Write to a result in this way. It is refused, unless the result is given another array."""
    if write is assign:
        write(t)
    else:
        with read_only():
            write(t)


@every_step
@WRITES
@pytest.mark.parametrize("training", (True, False))
def test_writing_before_the_next_step(training, write, k):
    """The next step reads the array that was assigned, with its statistics, or else what was
    there.
    """

    def written(step_by_step):
        def after(i, t):
            if step_by_step:
                look(i, t)
            if i == k:
                attempt(write, t)

        x = images()
        network, y = forward(program, x, after=after, training=training)
        return {"y": y.data, **{str(n): s for n, s in enumerate(network.statistics)}}

    agree(written(False), written(True))


@pytest.mark.parametrize(
    ("k", "wait"),
    [(k, wait) for k in range(len(NAMES) - 1) for wait in (1, 2, 3) if k + wait < len(NAMES)],
    ids=lambda i: str(i),
)
@WRITES
def test_writing_after_the_next_steps(write, k, wait):
    """They keep what they have read, whether or not they have computed anything from it."""
    steps = []

    def after(i, t):
        steps.append(t)
        if i == k + wait:
            attempt(write, steps[k])

    x = images()
    network, y = forward(program, x, after=after)
    expected = train(program)
    close(y.data, expected["y"], 3)
    y.backward(uniform(*y.shape, seed=9))
    agree(found(network, x, y), expected)


@every_step
def test_gradients_after_assigning_new_data(k):
    """The old array does not change, and so neither do the gradients."""
    x = images()
    network, y = forward(program, x)
    dy = uniform(*y.shape, seed=9)
    value = y.data.copy()
    assign(network.steps[k])
    y.backward(dy)
    agree({**found(network, x, y), "y": value}, train(program))


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_do_not_share_memory(name):
    """Writing to a step is refused, and changes no other step."""
    expected = [t.data.copy() for t in forward(PROGRAMS[name], images())[0].steps]
    steps = forward(PROGRAMS[name], images())[0].steps
    for t, value in zip(steps[::-1], expected[::-1], strict=True):
        close(t.data, value, 3)
        attempt(zero, t)
    for t, value in zip(steps, expected, strict=True):
        close(t.data, value, 3)
    assert not any(
        np.shares_memory(one.data, other.data) for one, other in itertools.combinations(steps, 2)
    )
