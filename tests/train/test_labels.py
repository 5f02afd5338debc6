"""These tests check labels that are not classes of the model, and data sets whose classes have
other names.
"""

import functools

import numpy as np
import pytest

import minidl as md
from minidl import data
from minidl.data import ArrayDataset, DataLoader, Subset
from minidl.data import transforms as T
from tests.support.errors import refuses
from tests.support.trainings import loader, network, pairs, trainer

FEATURES = np.zeros((40, 6), np.float32)


def labelled(*labels, classes=None):
    """Return a data set of 40 items of class 0, the last ones of which have these labels."""
    found = np.zeros(40, np.int64)
    found[40 - len(labels) :] = labels
    return ArrayDataset(FEATURES, found, classes=classes)


def fit(dataset, valid=None, classes=3, loss=md.cross_entropy, steps=5, **options):
    """Train for one epoch in batches of 8, the first of which have no wrong label. The epoch is
    complete, or ends before the first step.
    """
    t = trainer(network(classes=classes), loss=loss)
    try:
        t.fit(DataLoader(dataset, 8, seed=0, **options), valid=valid)
        assert t.step == steps
    except ValueError:
        assert t.step == 0
        raise


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: (wrong, None),
        lambda wrong: (Subset(wrong, range(40)), None),
        lambda wrong: (pairs(), wrong),
        lambda wrong: (pairs(), DataLoader(wrong, 8)),
        lambda wrong: (pairs(), (wrong.images, wrong.labels)),
    ],
    ids=["loader", "part", "valid", "valid loader", "valid arrays"],
)
@pytest.mark.parametrize("label, named", [(3, "label 3"), (-1, "label -1")])
def test_a_label_that_is_no_class_is_named_before_the_first_step(make, label, named):
    dataset, valid = make(labelled(label, 0))
    with refuses(ValueError, f"fit: {named} of item 38 of", "3 outputs", "from 0 to 2"):
        fit(dataset, valid)


def test_the_class_is_named():
    with refuses(ValueError, "label 3 ('d') of item 39"):
        fit(labelled(3, classes=["a", "b", "c", "d"]))


def test_a_single_class_is_refused():
    with refuses(ValueError, "fit: the model has one output", "at least two"):
        fit(labelled(), classes=1)


@pytest.mark.parametrize(
    "dataset, options",
    [
        (labelled(2), {}),
        (labelled(-100), {"loss": functools.partial(md.cross_entropy, ignore_index=-100)}),
        (labelled(5), {"loss": lambda outputs, labels: md.mse_loss(outputs[:, 0], labels * 1.0)}),
        (labelled(3), {"transform": lambda images, labels: (images, labels % 3)}),
        (labelled(3), {"sampler": lambda rng: np.zeros(40, int)}),
    ],
    ids=["all classes", "ignored", "no classes", "changed by a transform", "not drawn"],
)
def test_labels_that_fit(dataset, options):
    fit(dataset, **options)


def test_a_mixing_transform_says_so_itself():
    pictures = ArrayDataset(
        np.zeros((40, 2, 3, 1), np.float32), labelled(3).labels, classes=["a", "b", "c", "d"]
    )
    with refuses(ValueError, "cross_entropy: a distribution must have the shape of the logits"):
        fit(pictures, transform=T.Compose(T.Mixup(), lambda images: images.reshape(-1, 6)))


@pytest.mark.parametrize(
    "theirs, words",
    [
        (["cat", "owl"], "'owl' is unknown and 'dog' is missing"),
        (["dog"], "'cat' is missing"),
        (["dog", "cat"], "they are in another order"),
        (["cat", "dog", "owl"], "'owl' is unknown"),
    ],
)
def test_data_sets_with_other_classes_are_refused(theirs, words):
    own, other = labelled(1, classes=["cat", "dog"]), labelled(classes=theirs)
    for valid in (other, DataLoader(other, 8), Subset(other, [0, 1])):
        with refuses(ValueError, "fit: valid has other classes than the loader: ", words):
            fit(own, valid, classes=2)
    t = trainer(network(classes=2))
    t.fit(DataLoader(own, 8), epochs=1)
    with refuses(ValueError, "evaluate: loader has other classes", words):
        t.evaluate(other)


@pytest.mark.parametrize("theirs", [None, ["cat", "dog"], ["cat"]])
def test_the_same_names_or_none_are_accepted(theirs):
    valid = labelled(classes=theirs)
    fit(labelled(1, classes=["cat", "dog"]), valid, classes=2)


def test_parts_of_a_data_set_have_its_classes():
    train, valid = data.split(labelled(1, 2, classes=["a", "b", "c"]), (0.8, 0.2))
    fit(train, valid, steps=4)
    assert trainer().fit(loader(), valid=valid)["valid_loss"]
