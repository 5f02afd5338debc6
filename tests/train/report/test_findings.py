"""These tests check the sentences of the summary: each appears where it is true, and only there."""

import numpy as np
import pytest

from minidl import train
from minidl.train.report.findings import findings, of_layers
from tests.support.reports import bright, noise, saved

EVEN = np.tile([0.0, 0.5, 1.0], 700)
RIGHT = np.tile([0, 1, 2], 700)


def said(labels=RIGHT, levels=EVEN, **options):
    return " ".join(findings(train.report(saved(), (bright(levels, side=2), labels), **options)))


def test_a_good_training_gives_no_sentences():
    assert (
        said(
            history={
                "accuracy": [0.5, 0.99],
                "valid_accuracy": [0.6, 0.98],
                "valid_loss": [0.2, 0.2],
            }
        )
        == ""
    )


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ({"accuracy": [0.99], "valid_accuracy": [0.8]}, "99.0% of the training examples"),
        ({"valid_loss": [1.0, 0.5, 0.6, 0.7, 0.8]}, "lowest after epoch 2 and is 60% higher"),
        ({"valid_loss": [1.0, 0.9, 0.8, 0.7]}, "still falls"),
    ],
)
def test_curves(history, words):
    assert words in said(history=history)
    quiet = {name: [0.5] * len(column) for name, column in history.items()}
    assert words not in said(history=quiet)


def test_a_class_that_is_found_worst():
    labels = RIGHT.copy()
    labels[:600:3] = 2  # dark pictures that are labelled light
    assert "light has the lowest recall: 78% of its 900 examples are found, against 100%" in said(
        labels
    )
    assert "predicted as dark" in said(labels)


def test_uneven_classes():
    labels, levels = (
        np.repeat([0, 1, 2], [2000, 50, 50]),
        np.repeat([0.0, 0.0, 1.0], [2000, 50, 50]),
    )
    assert "classes are imbalanced" in said(labels, levels)
    assert "uneven" not in said()


def test_missing_classes_and_few_examples():
    assert "no examples of grey, light" in said([0], [0.0])
    assert "only 1 examples" in said([0], [0.0])


def test_duplicates():
    images = noise(9)
    classes = np.zeros(9, int)
    report = train.report(saved(), (images, classes), train_set=(images[:4], classes[:4]))
    assert "4 pictures are in the training set too" in findings(report)[0]
    report = train.report(saved(), (images, classes), train_set=(images, classes))
    assert "Every picture is in the training set" in findings(report)[0]


def row(name, **columns):
    return {"name": name, "kind": "Dense", **{k: [float("nan"), v] for k, v in columns.items()}}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([row("a", dead=0.5), row("b", dead=0.6)], "2 layers have more than 30% dead units, b"),
        ([row("a", gradient=1e-5), row("b", gradient=1.0)], "gradient of a is 100,000 times"),
        ([row("a", update=0.1), row("b", update=1e-3)], "changed a by more than 3%"),
        (
            [row("a", gradient=1.0, update=1e-7), row("b", gradient=1.0, update=1e-3)],
            "changed a by less than",
        ),
    ],
)
def test_layers(layers, words):
    assert words in " ".join(of_layers({"epoch": [0, 1], "layers": layers}))


def test_layers_without_trouble():
    layers = [row("a", dead=0.1, gradient=0.5, update=1e-3), row("b", gradient=1.0, update=2e-3)]
    assert of_layers({"epoch": [0, 1], "layers": layers}) == [] == of_layers(None)
    frozen = [row("a", gradient=np.nan, update=0.0), row("b", gradient=1.0, update=1e-3)]
    assert of_layers({"layers": frozen}) == []
    run_out = [row("a", update=1e-9), row("b", update=1e-8)]  # a schedule that ends at 0
    assert of_layers({"epoch": [0, 1], "layers": run_out}) == []
