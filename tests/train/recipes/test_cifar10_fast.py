"""These tests check the recipe that follows airbench94_muon: its numbers, whitening, rates, and
what learns when.
"""

from itertools import pairwise

import numpy as np
import pytest

import minidl as md
from minidl import data, models, optim, train
from minidl.data import transforms as T
from minidl.train import recipes
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import trainer

pytestmark = small_batches
CLASSES = tuple("abcdefghij")


def task(count=40, size=16):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    pictures = data.ArrayDataset(images, np.arange(count) % 10, classes=CLASSES)
    return train.Task("cifar10", pictures, None, None, CLASSES, (size, size, 3))


def recipe(**settings):
    return recipes.create("cifar10-fast", **settings).settled(task())


def normalize():
    return T.Normalize([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])


def test_the_numbers_of_the_record():
    r = recipe()
    assert (r.model, r.epochs, r.batch_size, r.label_smoothing) == ("cifar-fast", 8, 1000, 0.2)
    assert (r.momentum, r.muon_momentum, r.crop, r.crop_mode, r.flip) == (
        0.85,
        0.6,
        2,
        "reflect",
        True,
    )
    assert (r.lr, r.bias_lr, r.head_lr) == (0.17, 0.053, 0.67)
    assert (r.whitening_pictures, r.bias_epochs, r.valid) == (5000, 3, 0)
    model = r.build_model(task())
    assert model.widths == (64, 256, 256) and model.logit_scale == 1 / 256 and model.views


def test_the_optimizers():
    r = recipe()
    model = r.build_model(task())
    optimizer = r.optimizer(model)
    assert isinstance(optimizer, optim.Combined)
    muon, sgd = optimizer.optimizers
    assert isinstance(muon, optim.Muon) and isinstance(sgd, optim.SGD)
    names = {id(p): name for name, p in model.named_parameters()}
    taken = [[names[id(p)] for p in group["params"]] for group in optimizer.groups]
    assert len(taken[0]) == 6 and all(
        name.endswith("conv1.weight") or name.endswith("conv2.weight") for name in taken[0]
    )
    assert taken[1] == ["whitening.bias"] and taken[3] == ["fc.weight"]
    assert all("bias" in name or "beta" in name for name in taken[2])
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert sorted(name for group in taken for name in group) == sorted(learning)
    assert "whitening.weight" not in learning and not any("gamma" in name for name in learning)
    rates = [group["lr"] for group in optimizer.groups]
    assert rates == [0.17, 0.053, 0.053, 0.67]
    # The decay of a step is the rate times the decay. It is the same for all parameters, and
    # depends on the batch size.
    for group in optimizer.groups[1:]:
        close(group["lr"] * group["weight_decay"], 2e-6 * 1000)


def test_all_rates_fall_in_a_straight_line_to_nothing():
    r = recipe()
    optimizer = r.optimizer(r.build_model(task()))
    schedule = r.schedule(optimizer, 200)
    first = [group["lr"] for group in optimizer.groups]
    for step in range(200):
        ends = [200, 75, 200, 200]  # the first layer's bias learns in 3 of 8 epochs
        expected = [rate * max(0.0, 1 - step / end) for rate, end in zip(first, ends, strict=True)]
        np.testing.assert_allclose(
            [group["lr"] for group in optimizer.groups], expected, atol=1e-12
        )
        schedule.step()


def test_the_loss_is_a_sum():
    r = recipe()
    outputs, labels = md.tensor(uniform(6, 10)), np.arange(6)
    expected = md.cross_entropy(outputs, labels, label_smoothing=0.2, reduction="sum").item()
    close(r.loss()(outputs, labels).item(), expected)
    assert r.trainer_options()["reduction"] == "sum"


def test_whitening_from_pictures_evenly_out_of_all_as_the_model_gets_them():
    some = task()
    found = []
    for pictures in (12, 5000):
        r = recipe(whitening_pictures=pictures)
        model = r.build_model(some)
        r.prepare(model, some, normalize())
        expected = models.CifarFast(input_shape=(16, 16, 3))
        count = len(some.train)
        rows = np.linspace(0, count - 1, min(pictures, count), dtype=int)
        expected.whiten(normalize()(some.train.images[rows].astype(np.float32) / 255))
        assert np.array_equal(model.whitening.weight.data, expected.whitening.weight.data)
        found.append(model.whitening.weight.data)
    assert not np.array_equal(*found)


def test_pictures_are_mirrored_in_every_other_epoch_and_shifted():
    some = task()
    loader = recipe(crop=0, batch_size=40).loader(some, T.Normalize([0.0] * 3, [1.0] * 3), 0)
    epochs = []
    for _ in range(3):
        [(x, _)] = loader
        epochs.append({tuple(np.sort(image, axis=None)[:20]): image for image in x.data})
    for key, image in epochs[0].items():
        second, third = epochs[1][key], epochs[2][key]
        assert np.array_equal(second, image[:, ::-1]) and np.array_equal(third, image)
    loader = recipe(flip=False, batch_size=40).loader(some, T.Normalize([0.0] * 3, [1.0] * 3), 0)
    [(x, _)] = loader
    inside = {image[4:-4, 4:-4].tobytes() for image in (some.train.images.astype(np.float32) / 255)}
    shifts = 0
    for image in x.data:
        found = [
            (i, j)
            for i in range(-2, 3)
            for j in range(-2, 3)
            if np.ascontiguousarray(image[4 + i : 12 + i, 4 + j : 12 + j]).tobytes() in inside
        ]
        assert len(found) == 1
        shifts += found[0] != (0, 0)
    assert shifts > 20


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_the_bias_of_the_first_layer_learns_in_its_epochs(epochs):
    some = task()
    r = recipe(epochs=3, batch_size=20, bias_epochs=epochs)
    model = r.build_model(some)
    r.prepare(model, some, normalize())
    optimizer = r.optimizer(model)
    loader = r.loader(some, normalize(), 0)
    states = [model.state_dict()]

    class Watch:
        def on_epoch_end(self, trainer):
            states.append(trainer.model.state_dict())

    t = trainer(
        model,
        optimizer,
        loss=r.loss(),
        schedule=r.schedule(optimizer, 6),
        callbacks=[*r.callbacks(model), Watch()],
        **r.trainer_options(),
    )
    t.fit(loader, epochs=3)
    for epoch, (a, b) in enumerate(pairwise(states)):
        changed = {name for name in a if not np.array_equal(a[name], b[name])}
        assert ("whitening.bias" in changed) == (epoch < epochs)
        assert "whitening.weight" not in changed
        assert "fc.weight" in changed and "groups.0.conv1.weight" in changed
        assert not any("gamma" in name for name in changed)


def test_another_model():
    r = recipes.create("cifar10-fast", model="resnet20", model_options={}).settled(task())
    model = r.build_model(task())
    for call in (
        lambda: r.prepare(model, task(), normalize()),
        lambda: r.optimizer(model),
        lambda: r.callbacks(model),
    ):
        with refuses(ValueError, "cifar10-fast", "cifar-fast", "ResNet20"):
            call()


def test_frozen_filters():
    model = recipe().build_model(task())
    model.freeze()
    model.fc.unfreeze()
    with refuses(ValueError, "cifar10-fast", "frozen", "default"):
        recipe().optimizer(model)
