"""These tests check that the random numbers of items depend on seed, epoch, item and place
alone.
"""

import numpy as np
import pytest

from minidl.data.draws import Draws


def draws(seed=3, epoch=2, items=range(50), **options):
    return Draws(seed, epoch, items, lambda: np.random.default_rng(seed), **options)


def test_an_item_has_its_numbers_in_any_batch():
    together = draws().uniform(5)
    for items in ([7], [30, 7], range(7, 9), np.array([7, 7], np.int64)):
        at = list(items).index(7)
        assert (draws(items=items).uniform(5)[at] == together[7]).all()
    assert (draws().uniform(3, first=2) == together[:, 2:]).all()


def test_draws_depend_on_seed_epoch_item_and_place():
    found = {
        "as it is": draws(),
        "seed": draws(seed=4),
        "epoch": draws(epoch=3),
        "place": draws().at(0),
        "another place": draws().at(1),
        "inner": draws().at(0).at(0),
        "swapped": draws(seed=2, epoch=3),
    }
    values = np.concatenate([d.uniform(4).ravel() for d in found.values()])
    assert len(np.unique(values)) == len(values)


def test_lasting_numbers_are_those_of_all_epochs():
    first, second = draws(epoch=0), draws(epoch=1)
    assert (first.uniform(2, lasting=True) == second.uniform(2, lasting=True)).all()
    assert (first.at(1).uniform(2, lasting=True) == second.at(1).uniform(2, lasting=True)).all()
    assert (first.at(1).uniform(2, lasting=True) != first.uniform(2, lasting=True)).all()
    assert (draws(seed=9).uniform(2, lasting=True) != first.uniform(2, lasting=True)).all()


@pytest.mark.parametrize(
    "name, u",
    [
        ("numbers of an item", lambda: draws(items=[0]).uniform(20_000)),
        ("items", lambda: draws(items=range(20_000)).uniform(1)),
        (
            "epochs",
            lambda: np.concatenate([draws(epoch=e, items=[5]).uniform(1) for e in range(5000)]),
        ),
        (
            "seeds",
            lambda: np.concatenate([draws(seed=s, items=[5]).uniform(1) for s in range(5000)]),
        ),
    ],
)
def test_draws_are_uniform_and_independent(name, u):
    """The test of Kolmogorov and Smirnov finds no deviation, and neighbours are independent."""
    u = u().ravel()
    assert u.min() >= 0 and u.max() < 1
    distance = np.abs(np.sort(u) - (np.arange(len(u)) + 0.5) / len(u)).max()
    assert distance * np.sqrt(len(u)) < 1.95  # larger with a probability of one in a thousand
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) * np.sqrt(len(u)) < 4


def test_integers_are_uniform_below_their_bounds():
    whole = draws(items=range(9000)).below((3, 1, 4))
    assert whole.dtype == np.int64 and whole.shape == (9000, 3) and (whole[:, 1] == 0).all()
    for column, bound in ((0, 3), (2, 4)):
        counts = np.bincount(whole[:, column])
        assert len(counts) == bound and np.abs(counts - 9000 / bound).max() < 250


def test_large_seeds_and_epochs():
    assert draws(seed=2**64 - 1, epoch=2**64 - 1).uniform(1).shape == (50, 1)


def test_the_generator_of_the_batch_is_one():
    some = draws()
    assert some.generator() is some.at(3).generator() is some.at(1).at(2).generator()
    assert len(some) == 50 and draws(classes=4).at(0).classes == 4
