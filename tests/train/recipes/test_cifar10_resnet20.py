"""These tests check that the recipe of He et al. (2015), section 4.2, has the numbers of the
paper.
"""

import numpy as np

from minidl import data, train
from minidl.data import transforms as T
from minidl.train import recipes

CLASSES = tuple("abcdefghij")


def task():
    images = np.full((20, 32, 32, 3), 200, np.uint8)
    pictures = data.ArrayDataset(images, np.arange(20) % 10, classes=CLASSES)
    return train.Task("cifar10", pictures, None, None, CLASSES, (32, 32, 3))


def test_the_numbers_of_the_paper():
    recipe = recipes.create("cifar10-resnet20").settled(task())
    assert recipe.model == "resnet20" and recipe.batch_size == 128 and recipe.valid == 0
    steps = recipe.epochs * (50000 // 128)
    assert abs(steps - 64000) < 128
    model = recipe.build_model(task())
    assert sum(p.size for p in model.parameters()) in range(269_000, 275_000)  # 0.27 million
    optimizer = recipe.optimizer(model)
    [group] = optimizer.groups  # one group: all parameters decay
    assert len(group["params"]) == len(list(model.parameters()))
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, False, 1e-4)
    assert recipe.ema is None and recipe.label_smoothing == 0


def test_the_rate_is_divided_at_half_and_at_three_quarters():
    recipe = recipes.create("cifar10-resnet20").settled(task())
    optimizer = recipe.optimizer(recipe.build_model(task()))
    schedule = recipe.schedule(optimizer, 64000)
    rates = []
    for _ in range(64000):
        rates.append(optimizer.lr)
        schedule.step()
    changes = [i for i in range(1, 64000) if rates[i] != rates[i - 1]]
    assert changes == [32000, 48000]
    np.testing.assert_allclose([rates[0], rates[32000], rates[48000]], [0.1, 0.01, 0.001])


def test_pictures_are_padded_with_the_mean_cropped_and_mirrored():
    recipe = recipes.create("cifar10-resnet20").settled(task())
    normalize = T.Normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    seen = [x.data for _ in range(10) for x, _ in recipe.loader(task(), normalize, 0)]
    x = np.concatenate(seen)
    value = np.float32((200 / 255 - 0.5) / 0.25)
    assert x.shape[1:] == (32, 32, 3)
    assert set(np.unique(x.round(4))) == {np.float32(0), value.round(4)}  # 0 is the mean colour
    rows = (x[:, :, :, 0] == 0).all(axis=2).sum(axis=1)
    assert rows.max() == 4 and rows.min() == 0
