"""These tests check the recipe for pictures of any kind: what it chooses, its rates, its groups."""

import numpy as np
import pytest

from minidl import data, models, train
from minidl.train import recipes
from tests.support.arrays import close

NAMES = ("a", "b")


def task(count, size=(32, 32), channels=3):
    """Return a task of so many pictures, which are all the same one and take no memory."""
    images = np.broadcast_to(np.zeros((1, *size, channels), np.uint8), (count, *size, channels))
    pictures = data.ArrayDataset(images, np.arange(count) % 2, classes=NAMES)
    return train.Task("task", pictures, None, None, NAMES, (*size, channels))


@pytest.mark.parametrize(
    "count, batch_size, epochs",
    [
        (2, 2, 100),
        (20, 4, 100),
        (100, 8, 100),
        (500, 32, 100),
        (1000, 64, 100),
        (1300, 128, 100),
        (5000, 128, 77),
        (10000, 128, 39),
        (50000, 128, 15),
        (1000000, 128, 15),
    ],
)
def test_chosen_by_the_number_of_pictures(count, batch_size, epochs):
    recipe = recipes.create("default").settled(task(count))
    assert (recipe.batch_size, recipe.epochs) == (batch_size, epochs)
    close(recipe.lr, 0.1 * batch_size / 128)
    steps = epochs * max(1, count // batch_size)
    assert steps >= 50 and (epochs in (15, 100) or 2500 < steps < 3500)


@pytest.mark.parametrize(
    "size, channels, model, flip, crop",
    [
        ((28, 28), 1, "mnist-cnn", False, 3),
        ((32, 32), 1, "mnist-cnn", False, 4),
        ((33, 40), 1, "resnet20", False, 4),
        ((32, 32), 3, "resnet20", True, 4),
        ((96, 64), 3, "resnet20", True, 8),
        ((7, 7), 3, "resnet20", True, 0),
    ],
)
def test_chosen_by_what_pictures_are_like(size, channels, model, flip, crop):
    recipe = recipes.create("default").settled(task(100, size, channels))
    assert (recipe.model, recipe.flip, recipe.crop) == (model, flip, crop)


def test_what_is_given_stays():
    given = {"model": "mobile", "epochs": 7, "batch_size": 50, "lr": 0.3, "flip": False, "crop": 1}
    recipe = recipes.create("default", **given).settled(task(100))
    assert {name: getattr(recipe, name) for name in given} == given
    assert recipes.create("default", batch_size=32).settled(task(100)).lr == 0.025


def test_the_model_has_the_classes_and_the_shape():
    for channels in (1, 3):
        chosen = recipes.create("default", model_options={"norm": "group"})
        some = task(100, (20, 24), channels)
        model = chosen.settled(some).build_model(some)
        assert (model.classes, model.input_shape, model.norm) == (2, (20, 24, channels), "group")


@pytest.mark.parametrize("warmup", [0.0, 0.2, 1.0])
def test_the_rate_grows_and_falls_to_nothing(warmup):
    recipe = recipes.create("default", warmup=warmup, lr=0.5).settled(task(100))
    optimizer = recipe.optimizer(recipe.build_model(task(100)))
    schedule, steps = recipe.schedule(optimizer, 50), 50
    rates = []
    for _ in range(steps):
        rates.append(optimizer.lr)
        schedule.step()
    up = round(warmup * steps)
    top = int(np.argmax(rates))
    assert top == min(up, steps - 1)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    if warmup < 1:
        assert rates[top] == 0.5 and 0 < rates[-1] < 0.01
        after = np.arange(steps - up) / (steps - up)
        np.testing.assert_allclose(rates[up:], 0.25 * (1 + np.cos(np.pi * after)), rtol=1e-6)
    np.testing.assert_allclose(rates[:up], 0.5 * np.arange(up) / max(1, up), rtol=1e-6)


def test_biases_and_normalizations_do_not_decay():
    recipe = recipes.create("default", weight_decay=0.01).settled(task(100))
    model = recipe.build_model(task(100))
    optimizer = recipe.optimizer(model)
    decays = {id(p): group["weight_decay"] for group in optimizer.groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert decays[id(p)] == (0.01 if p.ndim > 1 else 0), name
    assert isinstance(model, models.ResNet20)
    assert all((group["momentum"], group["nesterov"]) == (0.9, True) for group in optimizer.groups)
