"""These tests check what `train.report` takes, and its figures."""

import numpy as np
import pytest

from minidl import data, models, train
from tests.support.errors import refuses
from tests.support.reports import bright, saved, small_network

LEVELS = [0.0, 0.1, 0.5, 0.6, 1.0, 0.95]
LABELS = [0, 1, 1, 1, 2, 0]


def found(labels=LABELS, model=None, **options):
    return train.report(model or saved(), (bright(LEVELS), np.array(labels)), **options)


def test_figures():
    report = found()
    np.testing.assert_array_equal(report.confusion, [[1, 0, 1], [1, 2, 0], [0, 0, 1]])
    assert report.confusion.dtype == np.int64
    assert report.accuracy == 4 / 6
    assert report.balanced_accuracy == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    np.testing.assert_allclose(report.precision, [1 / 2, 1, 1 / 2])
    np.testing.assert_allclose(report.recall, [1 / 2, 2 / 3, 1])
    np.testing.assert_allclose(report.f1, [1 / 2, 4 / 5, 2 / 3])
    np.testing.assert_array_equal(report.support, [2, 3, 1])
    assert report.classes == ["dark", "grey", "light"]
    assert report.interval[0] < report.accuracy < report.interval[1]


def test_probabilities_are_those_of_predict():
    model = saved(preprocess={"mean": 0.2, "std": 0.9})
    report = found(model=model)
    best = [row[0] for row in model.predict(bright(LEVELS))]
    assert [model.classes[k] for k in report.predicted] == [name for name, _ in best]
    np.testing.assert_array_equal(report.probability, [p for _, p in best])
    rows = np.array(
        [
            [dict(row)[name] for name in model.classes]
            for row in model.predict(bright(LEVELS), top=3)
        ]
    )
    assert report.loss == pytest.approx(-np.log(rows[np.arange(6), LABELS]).mean(), rel=1e-12)


def test_misreadings_are_in_the_order_of_their_confidence():
    report = found()
    assert [(item.index, item.label, item.predicted) for item in report.misread] == [
        (5, 0, 2),
        (1, 1, 0),
    ]
    assert all(
        item == (item.index, item.label, item.predicted, item.probability)
        for item in report.misread
    )
    sure = [item.probability for item in report.misread]
    assert sure == sorted(sure, reverse=True)
    np.testing.assert_array_equal(report.probability[[5, 1]], sure)


def test_all_are_right():
    report = found(labels=[0, 0, 1, 1, 2, 2])
    assert (report.accuracy, report.balanced_accuracy, report.misread) == (1.0, 1.0, [])


def test_data_sets_of_any_kind(tmp_path):
    whole = data.ArrayDataset(bright(LEVELS), np.array(LABELS))
    items = [(image, label) for image, label in zip(bright(LEVELS), LABELS, strict=True)]
    for dataset in (whole, items, data.Subset(whole, range(6)), data.Subset(items, range(6))):
        np.testing.assert_array_equal(train.report(saved(), dataset).confusion, found().confusion)
    part = train.report(saved(), data.Subset(whole, [5, 1]))
    assert [(item.index, item.predicted) for item in part.misread] == [(0, 2), (1, 0)]


def test_a_path_of_a_model(tmp_path):
    path = tmp_path / "model.safetensors"
    model = models.create("mnist-cnn", classes=3, input_shape=(8, 8, 3))
    models.save(path, model, ["dark", "grey", "light"])
    report = train.report(path, (bright(LEVELS), LABELS))
    expected = train.report(
        models.Saved(model, ["dark", "grey", "light"]), (bright(LEVELS), LABELS)
    )
    np.testing.assert_array_equal(report.predicted, expected.predicted)


def test_classes_are_matched_by_name():
    dataset = data.ArrayDataset(bright([1.0, 0.0]), [0, 1], classes=["light", "dark"])
    report = train.report(saved(), dataset)
    assert report.accuracy == 1
    np.testing.assert_array_equal(report.labels, [2, 0])


def test_names_come_from_the_data_set_if_the_model_has_none():
    model = models.Saved(saved().model)
    named = data.ArrayDataset(bright([1.0, 0.0]), [2, 0], classes=["a", "b", "c"])
    assert train.report(model, named).classes == ["a", "b", "c"]
    assert train.report(model, (bright([1.0]), [2])).classes == [0, 1, 2]
    few = data.ArrayDataset(bright([1.0]), [2], classes=["a", "b", "c", "d"])
    assert train.report(model, few).classes == [0, 1, 2]


def test_rows_of_numbers_are_no_pictures():
    rows = np.random.default_rng(0).random((20, 784), dtype=np.float32)
    report = train.report(models.Saved(models.create("mlp")), (rows, np.arange(20) % 10))
    assert report.support.sum() == 20 and report.duplicates is None
    assert 'id="looks"' not in report.html()


def test_the_model_is_left_as_it_is():
    model = small_network().train()
    before = model.state_dict()
    images = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 1), np.uint8)
    train.report(models.Saved(model), (images, np.arange(9) % 3)).html()
    assert model.training and all(p.grad is None for p in model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"saved": 3}, TypeError, ["saved", "3"]),
        ({"dataset": (bright([0.5]),)}, ValueError, ["tuple", "1"]),
        ({"dataset": bright([0.5])}, ValueError, ["labels"]),
        ({"dataset": (bright([0.5]), [3])}, ValueError, ["0 to 2, got 3"]),
        ({"dataset": (bright([0.5]), [-1])}, ValueError, ["got -1"]),
        ({"dataset": (bright([0.5]), [0.5])}, ValueError, ["one class", "float32"]),
        ({"dataset": (bright([]), np.zeros(0, int))}, ValueError, ["no items"]),
        (
            {"dataset": data.ArrayDataset(bright([0.5]), [1], classes=["dark", "red"])},
            ValueError,
            ["'red'", "not a class"],
        ),
        ({"dataset": 3}, TypeError, ["dataset"]),
        ({"history": [1]}, TypeError, ["history"]),
        ({"history": {"loss": [1.0], "lr": []}}, ValueError, ["history"]),
        ({"history": {"loss": ["low"]}}, TypeError, ["history['loss']"]),
        ({"statistics": {"loss": [1]}}, TypeError, ["statistics"]),
        ({"config": "lr=0.1"}, TypeError, ["config"]),
        ({"valid_name": 3}, TypeError, ["valid_name"]),
        ({"train_set": (bright([0.5]),)}, ValueError, ["train_set"]),
    ],
)
def test_bad_arguments_are_refused(options, error, words):
    given = {"saved": saved(), "dataset": (bright(LEVELS), LABELS), **options}
    with refuses(error, "report", *words):
        train.report(given.pop("saved"), given.pop("dataset"), **given)


def test_as_text():
    lines = str(found(valid_name="held out")).splitlines()
    assert lines[0].startswith("held out: accuracy 0.6667 (95%: 0.3000 to 0.9032) of 6")
    assert lines[2].split() == [
        "class",
        "items",
        "recall",
        "precision",
        "f1",
        "most",
        "often",
        "taken",
        "for",
    ]
    assert lines[3].split() == ["dark", "2", "0.500", "0.500", "0.500", "light", "(1)"]
    assert len({line.index(line.split()[1]) >= 0 for line in lines[3:]}) == 1
    assert repr(found()) == str(found())


def test_of_many_classes_the_text_has_the_worst():
    names = [f"class {k}" for k in range(60)]
    levels = np.linspace(0, 1, 60)
    labels = np.arange(60)
    labels[:3] = 30
    text = str(train.report(saved(names), (bright(levels), labels)))
    assert text.splitlines()[-1] == "and 30 classes that are found better"
    assert text.splitlines()[3].startswith("class 0 ")
