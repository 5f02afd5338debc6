"""These tests check that a resumed training gets the batches that it would have got from the
DataLoader.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import DataLoader
from tests.support.loaders import labels_of, numbered

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_state():
    loader = DataLoader(numbered(6), 2, seed=7, prefetch=3)
    assert loader.state_dict() == {"seed": 7, "epoch": 0, "position": 0}
    # The state counts the batches that were given, not those that were prepared.
    for number, _ in enumerate(loader):
        assert loader.state_dict() == {"seed": 7, "epoch": 0, "position": number + 1}
    assert loader.state_dict() == {"seed": 7, "epoch": 1, "position": 0}
    for _ in loader:
        break
    assert loader.state_dict() == {"seed": 7, "epoch": 1, "position": 1}
    iter(loader)
    assert loader.state_dict() == {"seed": 7, "epoch": 2, "position": 0}
    assert all(type(value) is int for value in loader.state_dict().values())


def test_state_follows_the_newest_iteration():
    loader = DataLoader(numbered(6), 2, seed=0)
    old, new = iter(loader), iter(loader)
    next(old)
    assert loader.state_dict() == {"seed": 0, "epoch": 1, "position": 0}
    next(new)
    list(old)
    assert loader.state_dict() == {"seed": 0, "epoch": 1, "position": 1}
    loader.load_state_dict({"seed": 0, "epoch": 5, "position": 2})
    list(new)
    assert loader.state_dict() == {"seed": 0, "epoch": 5, "position": 2}


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 30),
    size=st.integers(1, 8),
    drop_last=st.booleans(),
    prefetch=st.integers(0, 4),
    stop=st.integers(0, 60),
    seed=st.integers(0, 2**64 - 1),
)
def test_resumed_run_is_the_run_that_never_stopped(count, size, drop_last, prefetch, stop, seed):
    def loader(seed):
        return DataLoader(
            numbered(count), size, True, lambda x, rng: x + rng.random(), drop_last, seed, prefetch
        )

    def steps(loader, epochs):
        for epoch in epochs:
            for images, labels in loader:
                yield epoch, images.numpy().tobytes(), labels.tolist()

    whole = list(steps(loader(seed), range(3)))
    stop = min(stop, len(whole))
    first = loader(seed)
    start = list(itertools.islice(steps(first, range(3)), stop))
    state = first.state_dict()
    second = loader(0)
    second.load_state_dict(state)
    assert second.state_dict() == state
    rest = list(steps(second, range(state["epoch"], 3)))
    assert start + rest == whole


def test_state_of_arrays():
    """The state has arrays, as a file of arrays returns it."""
    loader = DataLoader(numbered(6), 2)
    loader.load_state_dict({k: np.array(v) for k, v in zip(KEYS, (9, 2, 1), strict=True)})
    assert loader.state_dict() == {"seed": 9, "epoch": 2, "position": 1}
    assert labels_of(loader) == [[2, 3], [4, 5]]
    assert labels_of(loader) == [[0, 1], [2, 3], [4, 5]]


KEYS = ("seed", "epoch", "position")


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({}, ValueError, r"has the keys seed, epoch, position; not \[\]"),
        ({"seed": 1, "epoch": 1}, ValueError, r"not \['seed', 'epoch'\]"),
        (dict.fromkeys((*KEYS, "x"), 0), ValueError, "'x'"),
        (
            dict(zip(KEYS, (0, 0, 4), strict=True)),
            ValueError,
            "DataLoader: position must be an int from 0 to 3, got 4",
        ),
        (dict(zip(KEYS, (0, -1, 0), strict=True)), ValueError, "epoch must be"),
        (dict(zip(KEYS, (0.5, 0, 0), strict=True)), TypeError, "seed must be an int >= 0, got"),
    ],
)
def test_bad_state_changes_nothing(state, error, message):
    loader = DataLoader(numbered(6), 2, seed=3)
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(error, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == before
