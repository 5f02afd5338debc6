"""These tests check recipes by name, their settings, and what all of them have in common."""

from dataclasses import fields

import numpy as np
import pytest

from minidl import data, train
from minidl.data import transforms as T
from minidl.train import recipes
from tests.support.errors import refuses


def task(count=40, size=(16, 16), channels=3, classes=("a", "b")):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *size, channels), np.uint8)
    pictures = data.ArrayDataset(images, np.arange(count) % len(classes), classes=classes)
    return train.Task("task", pictures, None, None, classes, (*size, channels))


every = pytest.mark.parametrize("name", recipes.names())


def test_names():
    assert recipes.names() == ["default", "mnist", "cifar10-resnet20", "cifar10-fast"]
    for name in ("nix", "", "MNIST", "default "):
        with refuses(ValueError, repr(name), "cifar10-fast"):
            recipes.create(name)


@every
def test_each_field_is_a_setting(name):
    recipe = recipes.create(name)
    settings = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    assert recipe.settings() == settings
    assert recipes.create(name, **settings) == recipe  # settings that are None as well
    assert set(recipe.checks) <= set(settings)


@every
def test_all_that_is_settled_can_be_given_again(name):
    """A run that is resumed does so."""
    recipe = recipes.create(name, epochs=3).settled(task())
    assert recipes.create(name, **recipe.settings()) == recipe
    assert recipe.epochs == 3
    assert None not in [value for key, value in recipe.settings().items() if key != "ema"]


@every
@pytest.mark.parametrize(
    "settings, kind",
    [
        ({"nix": 1}, ValueError),
        ({"epochs": 0}, ValueError),
        ({"epochs": 1.5}, TypeError),
        ({"epochs": "3"}, TypeError),
        ({"epochs": True}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"lr": 0}, ValueError),
        ({"lr": -1.0}, ValueError),
        ({"lr": float("nan")}, ValueError),
        ({"lr": float("inf")}, ValueError),
        ({"lr": "fast"}, TypeError),
        ({"lr": True}, TypeError),
        ({"momentum": 1.0}, ValueError),
        ({"momentum": -0.1}, ValueError),
        ({"momentum": None}, ValueError),
        ({"weight_decay": -1e-4}, ValueError),
        ({"label_smoothing": 1.5}, ValueError),
        ({"crop": -1}, ValueError),
        ({"crop": 1.5}, TypeError),
        ({"crop_mode": "nix"}, ValueError),
        ({"flip": 1}, TypeError),
        ({"flip": "yes"}, TypeError),
        ({"ema": 1.0}, ValueError),
        ({"ema": -0.5}, ValueError),
        ({"valid": 1.0}, ValueError),
        ({"valid": -0.1}, ValueError),
        ({"valid": None}, ValueError),
        ({"model": "nix"}, ValueError),
        ({"model": 3}, TypeError),
        ({"model_options": []}, TypeError),
        ({"model_options": {"classes": 3}}, ValueError),
        ({"model_options": {"input_shape": [8, 8, 3]}}, ValueError),
    ],
    ids=str,
)
def test_settings_that_no_training_can_have(name, settings, kind):
    with refuses(kind, name, *(next(iter(settings)),)):
        recipes.create(name, **settings)


@every
def test_whole_numbers_where_broken_ones_may_be(name):
    recipe = recipes.create(name, lr=1, weight_decay=0, label_smoothing=0, momentum=0, valid=0)
    assert recipe.lr == 1 and recipe.valid == 0


@every
def test_another_model_does_not_get_the_options_of_the_recipes_own(name):
    own = recipes.create(name)
    assert recipes.create(name, model=own.model).model_options == own.model_options
    other = recipes.create(name, model="resnet32").settled(task())
    assert other.model_options == {} and other.build_model(task()).classes == 2
    given = recipes.create(name, model="mlp", model_options={"hidden": 7})
    assert given.model_options == {"hidden": 7}


@pytest.mark.parametrize(
    "name, settings",
    [
        ("mnist", {"rotation": -1}),
        ("mnist", {"shift": -1}),
        ("mnist", {"warmup": 2}),
        ("default", {"warmup": -0.1}),
        ("cifar10-fast", {"muon_momentum": 1}),
        ("cifar10-fast", {"bias_lr": 0}),
        ("cifar10-fast", {"head_lr": -1}),
        ("cifar10-fast", {"whitening_pictures": 0}),
        ("cifar10-fast", {"bias_epochs": -1}),
    ],
    ids=str,
)
def test_settings_of_one_recipe(name, settings):
    with refuses(ValueError, name, next(iter(settings))):
        recipes.create(name, **settings)


@every
@pytest.mark.parametrize(
    "given", [{"crop": 0}, {"crop": 3}, {"flip": False}, {"flip": True}], ids=str
)
def test_crop_and_flip_are_done_as_set(name, given):
    """Recipes with an augmentation of their own do so, too."""
    recipe = recipes.create(name, **given).settled(task())
    normalize = T.Normalize([0.0] * 3, [1.0] * 3)
    found = parts(recipe.transform(task(), normalize))
    assert [type(part) for part in found].count(T.Normalize) == 1
    [(setting, value)] = given.items()
    if setting == "crop":
        shifts = [part.padding for part in found if isinstance(part, T.RandomCrop)]
        assert shifts == [(value, value)] or (value == 0 and shifts in ([], [(0, 0)]))
    else:
        assert any(isinstance(part, T.RandomFlip) for part in found) == value


def parts(transform):
    """Return the transforms in a `Compose`, including those in the transforms that it holds."""
    if not isinstance(transform, T.Compose):
        return [transform]
    return [inner for part in transform.transforms for inner in parts(part)]


@every
def test_a_loader_of_full_batches_that_the_seed_decides(name):
    recipe = recipes.create(name, batch_size=8).settled(task(count=30))
    normalize = T.Normalize([0.5] * 3, [0.5] * 3)
    first, again, other = [
        list(recipe.loader(task(count=30), normalize, seed)) for seed in (1, 1, 2)
    ]
    assert [len(labels) for _, labels in first] == [8, 8, 8]
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert np.array_equal(x, x2) and np.array_equal(y, y2)
    assert not all(np.array_equal(x, x2) for (x, _), (x2, _) in zip(first, other, strict=True))


@every
def test_fewer_pictures_than_a_batch(name):
    recipe = recipes.create(name, batch_size=4096).settled(task(count=30))
    [(x, _)] = recipe.loader(task(count=30), T.Normalize([0.5] * 3, [0.5] * 3), 0)
    assert len(x) == 30
