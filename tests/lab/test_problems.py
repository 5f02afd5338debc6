"""These tests check the networks that experiments share: shapes, places of normalizations, paired
initial weights.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.lab import problems, training


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group", "instance", nn.RMSNorm])
@pytest.mark.parametrize("after", [False, True])
def test_c6(norm, after):
    model = problems.c6(norm, after=after)
    assert model(md.zeros((4, 32, 32, 3))).shape == (4, 10)
    assert (model.order.index("norm1") > model.order.index("act1")) == after
    assert (model.conv1.bias is not None) == (norm == "none" or after)


def test_c6_of_grey_images():
    assert problems.c6(colours=1)(md.zeros((4, 28, 28, 1))).shape == (4, 10)


def test_mlp_is_that_of_the_specification():
    model = problems.mlp("none")
    shapes = [p.shape for p in model.parameters() if len(p.shape) == 2]
    assert shapes == [(784, 100), (100, 100), (100, 100), (100, 10)]
    assert model(md.zeros((3, 28, 28, 1))).shape == (3, 10)


@pytest.mark.parametrize("build", [problems.mlp, problems.c6])
def test_arms_of_a_seed_start_with_the_same_weights(build):
    weights = []
    for norm in ("batch", "none", "layer"):
        md.manual_seed(3)
        weights.append([p.data for p in build(norm).parameters() if p.data.ndim > 1])
    for other in weights[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(weights[0], other, strict=True))


def test_batches_are_those_of_the_seed_and_cover_an_epoch():
    arrays = np.arange(10), np.arange(10)
    made = problems.batches(arrays, 5, seed=1)
    first = [next(made)[0] for _ in range(2)]
    assert sorted(np.concatenate(first)) == list(range(10))
    again = problems.batches(arrays, 5, seed=1)
    assert all(np.array_equal(a, next(again)[1]) for a in first)


def test_mnist_is_in_0_to_1():
    images, labels = problems.mnist("test")
    assert images.shape == (10000, 28, 28, 1)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.shape == (10000,)


def test_training_ends_where_it_diverges():
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((64, 8)).astype(np.float32), rng.integers(0, 10, 64)
    for lr, ends in ((0.1, False), (1e30, True)):
        md.manual_seed(0)
        model = problems.mlp("none", (8, 16, 10), activation=nn.ReLU)
        losses = training.train(
            model, optim.SGD(model.parameters(), lr=lr), problems.batches(arrays, 16, 0), steps=20
        )
        assert training.diverged(losses) == ends
        assert (len(losses) < 20) == ends
    assert training.accuracy(model, arrays) <= 1


def test_the_steps_of_a_stack():
    model, x = problems.mlp("batch", (6, 5, 3)), np.ones((4, 6), np.float32)
    seen = list(model.eval().steps(x))
    assert [name for name, *_ in seen] == ["flatten", "dense1", "norm1", "act1", "dense2"]
    assert seen[2][1] is model.norm1
    assert seen[0][2] is x and seen[3][2] is seen[2][3]
    assert np.array_equal(seen[-1][3].data, model(x).data)
    assert [name for name, *_ in model.steps(seen[2][3], "act1")] == ["act1", "dense2"]
