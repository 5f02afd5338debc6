"""These tests check plans of memory: the arrays of the arena share it, and there are plans for any
batch and any number of arrays.
"""

import numpy as np

import minidl as md
from minidl import models, nn
from tests.support.compiled_models import assert_equal, check, conv, draw, evaluated, module, steps
from tests.support.threads import threads

X = draw(2, 9, 7, 8)


def test_arrays_share_memory():
    """A chain needs two arrays at a time, however long it is."""
    with threads(1):
        sizes = []
        for length in (2, 8):
            model = nn.Sequential(
                *[nn.Sequential(nn.Conv(8, 8, 1), md.gelu) for _ in range(length)]
            )
            sizes.append(md.compile(model, X).memory())
    assert sizes[0] <= sizes[1] <= 2.1 * 4 * 9 * 7 * 8 + 256


def test_an_array_lives_as_long_as_it_is_read():
    """Values from the beginning are read at the end, by sums and concatenations, over many
    steps.
    """

    def forward(x, *layers):
        values = [x]
        for layer in layers:
            values.append(md.relu(layer(values[-1])))
        joint = md.concatenate(values, axis=-1)
        return joint, sum(values[1:], values[0])

    check(module(forward, *[conv(8, 8, window) for window in (3, 1, 3, 5, 1, 3)]), X)


def test_one_image_read_with_different_borders():
    check(
        module(
            lambda x, a, b, c: a(x) + b(x) + c(x), conv(8, 16, 3), conv(8, 16, 5), conv(8, 16, 1)
        ),
        X,
    )
    check(
        module(
            lambda x, a, b, c, d: (lambda y: b(y) + c(y) + d(y))(a(x)),
            conv(8, 16, 3),
            conv(16, 16, 3),
            conv(16, 16, 7),
            conv(16, 16, (1, 3), dilation=2),
        ),
        X,
    )


def test_many_arrays():
    """The outputs, the inputs and the parts of one concatenation are more than a plan takes."""
    check(lambda x: [md.relu(x * float(k)) for k in range(2, 90)], draw(2, 5), sizes=(1, 3))
    check(module(lambda x, a: [a(x) * float(k) for k in range(2, 90)], conv()), X, sizes=(2,))
    inputs = [draw(2, 3, seed=k) for k in range(70)]
    check(lambda *xs: md.concatenate([x * 2 for x in xs], axis=-1), *inputs, sizes=(1, 3))
    check(lambda *xs: [x * 2 for x in xs], *inputs, sizes=(1, 3))
    compiled = check(lambda *xs: md.concatenate(xs, axis=-1), *inputs[:20], sizes=(1, 3))
    assert steps(compiled) == ["map"] * 20


def test_groups_and_shared_images():
    """All threads work on one image after the other, or each thread on a group of images."""
    model = models.create("mnist-cnn")
    compiled = md.compile(model, draw(1, 28, 28, 1))
    for team in (1, 2, 3, 5):
        with threads(team):
            for batch in (1, 2, 3, 4, 5, 23, 64):
                x = draw(batch, 28, 28, 1, seed=batch)
                assert_equal(compiled(x), evaluated(model, x))


def test_memory():
    compiled = md.compile(models.create("resnet20"), draw(1, 32, 32, 3))
    with threads(2):
        one, many = compiled.memory(), compiled.memory(1000)
    assert 32 * 32 * 16 * 4 <= one <= many
    with threads(1):
        assert compiled.memory(1000) < many
    assert md.compile(lambda x: md.exp(x), draw(2, 3)).memory() == 0


def test_plans_are_made_again_and_again():
    """There are more combinations of group sizes and threads than plans are kept for."""
    compiled = md.compile(nn.Sequential(nn.Dense(8, 4), nn.ReLU()), draw(1, 8))
    x = draw(40, 8)
    expected = compiled(x)
    for team in range(1, 9):
        with threads(team):
            for batch in range(1, 12):
                np.testing.assert_array_equal(compiled(x[:batch]), expected[:batch])
