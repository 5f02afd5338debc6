"""These tests check the recipe for MNIST: its numbers, its augmentation, a short training."""

import numpy as np

import minidl as md
from minidl import data, train
from minidl.data import transforms as T
from minidl.train import recipes
from tests.support.trainings import trainer


def test_its_numbers():
    recipe = recipes.create("mnist")
    assert recipe.model == "vgg8" and recipe.valid == 0 and recipe.ema > 0.9
    assert recipe.epochs * 60000 < 2_000_000  # the training takes minutes


def test_its_augmentation_turns_and_shifts():
    digits = data.MNIST(split="test")
    images = digits.images[:200].astype(np.float32) / 255
    task = train.Task("mnist", digits, None, None, tuple("0123456789"), (28, 28, 1))
    transform = recipes.create("mnist").transform(task, T.Normalize([0.0], [1.0]))
    loader = data.DataLoader(
        data.ArrayDataset(images, digits.labels[:200]), 200, transform=transform
    )
    [(batch, labels)] = loader
    changed = batch.data
    assert changed.shape == images.shape and np.array_equal(labels, digits.labels[:200])
    assert np.mean([np.array_equal(a, b) for a, b in zip(images, changed, strict=True)]) < 0.1
    place = np.arange(28)

    def centre(x, axis):
        weights = x[..., 0].sum(axis=axis)
        return (weights * place).sum(axis=1) / weights.sum(axis=1)

    for axis in (1, 2):
        shifts = centre(changed, axis) - centre(images, axis)
        # From shifts of up to 2, and from turns.
        assert np.abs(shifts).max() < 4.5 and shifts.std() > 0.8


def test_a_short_training_learns():
    """It trains on 2,000 digits for three epochs, and the averaged weights are measured."""
    digits = data.MNIST(split="test")
    some, others = data.Subset(digits, range(2000)), data.Subset(digits, range(5000, 6000))
    task = train.Task("mnist", some, None, others, tuple("0123456789"), (28, 28, 1))
    md.manual_seed(0)
    recipe = recipes.create("mnist", epochs=3, ema=0.9, batch_size=50).settled(task)
    normalize = T.Normalize([0.13], [0.31])
    model = recipe.build_model(task)
    optimizer = recipe.optimizer(model)
    t = trainer(
        model,
        optimizer,
        loss=recipe.loss(),
        schedule=recipe.schedule(optimizer, 120),
        **recipe.trainer_options(),
    )
    t.fit(recipe.loader(task, normalize, 0), epochs=3)
    accuracy = t.evaluate(data.DataLoader(others, 250, transform=normalize))["accuracy"]
    assert accuracy > 0.85
