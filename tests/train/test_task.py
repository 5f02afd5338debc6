"""These tests check load_task: known data sets, folders of classes and of parts, and what does not
fit.
"""

import numpy as np
import pytest

from minidl import data, train
from minidl.train.task import class_folders, has_part, matched, part_folders, split_off
from tests.support.errors import refuses
from tests.support.picture_files import COLOURS, coloured

pytestmark = pytest.mark.usefixtures("quick")


def folder(root, *parts, count=10):
    for seed, part in enumerate(parts):
        coloured(root / part, dict.fromkeys(COLOURS, count), seed=seed)
    return root


def tones(part, name):
    """Return the mean colour of the pictures of a class."""
    label = list(part.classes).index(name)
    return np.asarray(part.images)[np.asarray(part.labels) == label].mean(axis=(0, 1, 2))


def test_a_known_data_set():
    task = train.load_task("mnist", valid=0.5, seed=3)
    assert (task.name, task.shape) == ("mnist", (28, 28, 1))
    assert [len(part) for part in (task.train, task.valid, task.test)] == [30000, 30000, 10000]
    assert task.classes == tuple("0123456789")
    part, pictures = task.measured
    assert part == "test" and len(pictures) == 10000
    assert str(task) == (
        "mnist: 30,000 pictures to train, 30,000 to validate, 10,000 to test; 10 "
        "classes, 28 x 28, grey"
    )
    for part in (task.train, task.valid):
        assert np.bincount(part.labels).min() > 2600  # each class has its share


def test_a_folder_of_classes(tmp_path):
    task = train.load_task(folder(tmp_path / "photos", ""), valid=0.2)
    assert task.name == "photos"
    assert [len(task.train), len(task.valid), task.test] == [24, 6, None]
    assert task.classes == ("blue", "green", "red") and task.shape == (8, 8, 3)
    assert np.bincount(task.valid.labels).tolist() == [2, 2, 2]
    assert task.measured[0] == "valid" and task.measured[1] is task.valid
    described = task.description()
    assert set(described.pop("contents")) == {"train", "valid"}
    assert described == {
        "pictures": {"train": 24, "valid": 6},
        "shape": [8, 8, 3],
        "classes": ["blue", "green", "red"],
    }
    every = set(task.train.paths) | set(task.valid.paths)
    assert len(every) == 30


def test_the_valid_part_depends_on_the_seed_alone(tmp_path):
    folder(tmp_path / "photos", "")
    paths = [train.load_task(tmp_path / "photos", seed=seed).valid.paths for seed in (0, 0, 1)]
    assert paths[0] == paths[1] != paths[2]


def test_without_a_valid_part(tmp_path):
    task = train.load_task(folder(tmp_path / "photos", ""), valid=0)
    assert task.valid is None and len(task.train) == 30 and task.measured == ("valid", None)


@pytest.mark.parametrize(
    "names, parts",
    [
        (("train", "valid", "test"), ("train", "valid", "test")),
        (("training", "val", "test"), ("train", "valid", "test")),
        (("train", "validation"), ("train", "valid")),
        (("train", "test"), ("train", "test")),
        (("train",), ("train",)),
        (("test", "val"), ("test", "valid")),
        (("Train", "VAL", "Test"), ("train", "valid", "test")),
    ],
)
def test_the_names_of_parts(tmp_path, names, parts):
    folder(tmp_path / "photos", *names)
    (tmp_path / "photos" / ".thumbnails").mkdir()
    (tmp_path / "photos" / "readme.txt").write_text("")
    found = part_folders(str(tmp_path / "photos"))
    assert found == {
        part: str(tmp_path / "photos" / name) for part, name in zip(parts, names, strict=True)
    }
    assert [has_part(str(tmp_path / "photos"), part) for part in ("valid", "test")] == [
        "valid" in parts,
        "test" in parts,
    ]
    assert sorted(class_folders(str(tmp_path / "photos"))) == sorted(found.values())


def test_a_class_that_is_called_like_a_part(tmp_path):
    """It has trains and planes: a folder of pictures, and not of classes."""
    coloured(tmp_path / "photos", {"red": 10, "blue": 10})
    (tmp_path / "photos" / "red").rename(tmp_path / "photos" / "train")
    assert part_folders(str(tmp_path / "photos")) == {}
    assert class_folders(str(tmp_path / "photos")) == [str(tmp_path / "photos")]
    assert train.load_task(tmp_path / "photos").classes == ("blue", "train")
    assert part_folders("mnist") == {} and class_folders("mnist") == []
    assert has_part("mnist", "test") and not has_part("mnist", "valid")


def test_a_train_part_is_split_where_there_is_no_valid_one(tmp_path):
    task = train.load_task(folder(tmp_path / "photos", "train", "test"), valid=0.1)
    assert [len(task.train), len(task.valid), len(task.test)] == [27, 3, 30]
    task = train.load_task(folder(tmp_path / "other", "train", "valid"), valid=0.5)
    assert [len(task.train), len(task.valid), task.test] == [30, 30, None]


def test_classes_are_matched_by_name(tmp_path):
    folder(tmp_path / "photos", "train")
    coloured(tmp_path / "photos" / "valid", {"red": 2, "green": 3})
    coloured(tmp_path / "photos" / "test", {"red": 4})
    task = train.load_task(tmp_path / "photos")
    assert task.valid.labels.tolist() == [1, 1, 1, 2, 2] and task.test.labels.tolist() == [2] * 4
    for part in (task.valid, task.test):
        assert tuple(part.classes) == task.classes and len(part.paths) == len(part)
        assert np.abs(tones(part, "red") - COLOURS["red"]).max() < 10


def test_channels(tmp_path):
    coloured(tmp_path / "photos" / "train", {"dark": 10, "light": 10})
    coloured(tmp_path / "photos" / "test", {"dark": 2, "light": 2}, seed=1)
    assert train.load_task(tmp_path / "photos").shape == (8, 8, 1)
    assert train.load_task(tmp_path / "photos", channels=3).shape == (8, 8, 3)
    coloured(tmp_path / "photos" / "test", {"red": 1})  # one part that has it is enough
    (tmp_path / "photos" / "test" / "red" / "000.png").rename(
        tmp_path / "photos" / "test" / "dark" / "red.png"
    )
    (tmp_path / "photos" / "test" / "red").rmdir()
    task = train.load_task(tmp_path / "photos")
    assert task.shape == (8, 8, 3) and task.test.images.shape[1:] == (8, 8, 3)
    assert train.load_task(tmp_path / "photos", channels=1).shape == (8, 8, 1)


@pytest.mark.parametrize("size, shape", [(6, (6, 6, 3)), ((4, 7), (4, 7, 3)), (None, (8, 8, 3))])
def test_size(tmp_path, size, shape):
    task = train.load_task(folder(tmp_path / "photos", "train", "test"), size)
    assert task.shape == shape == task.test.images.shape[1:] == task.valid.images.shape[1:]


def test_parts_of_different_sizes(tmp_path):
    folder(tmp_path / "photos", "train")
    coloured(tmp_path / "photos" / "test", COLOURS | dict.fromkeys(COLOURS, 2), size=(5, 9))
    with refuses(ValueError, "test", "5 x 9", "train", "8 x 8", "size"):
        train.load_task(tmp_path / "photos")
    assert train.load_task(tmp_path / "photos", size=6).shape == (6, 6, 3)


def test_what_does_not_fit(tmp_path):
    with refuses(ValueError, "mnist", "as they are", "size"):
        train.load_task("mnist", size=14)
    with refuses(ValueError, "mnist", "channels"):
        train.load_task("mnist", channels=3)
    with refuses(FileNotFoundError, "nowhere", "mnist", "cifar10"):
        train.load_task(tmp_path / "nowhere")
    for valid in (1, -0.1, float("nan")):
        with refuses(ValueError, "valid"):
            train.load_task("mnist", valid=valid)
    with refuses(TypeError, "valid"):
        train.load_task("mnist", valid="0.1")
    with refuses(TypeError, "source"):
        train.load_task(3)
    coloured(tmp_path / "one", {"red": 5})
    with refuses(ValueError, "one class", "'red'"):
        train.load_task(tmp_path / "one")
    folder(tmp_path / "unknown", "train")
    coloured(tmp_path / "unknown" / "valid", {"red": 1})
    (tmp_path / "unknown" / "valid" / "red").rename(tmp_path / "unknown" / "valid" / "yellow")
    with refuses(ValueError, "valid", "'yellow'", "blue, green, red"):
        train.load_task(tmp_path / "unknown")
    folder(tmp_path / "tests", "test")
    with refuses(ValueError, "parts"):
        train.load_task(tmp_path / "tests")


# ------------------------------------------------------------------------------------ split_off


def labelled(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return data.ArrayDataset(
        np.zeros((len(labels), 2, 2, 1), np.uint8),
        labels,
        classes=[f"class {k}" for k in range(len(counts))],
    )


@pytest.mark.parametrize(
    "counts, share, word",
    [
        ((1, 1), 0.1, "none for validation"),
        ((2, 2), 0.1, "none for validation"),
        ((2, 2), 0.9, "none for training"),
    ],
)
def test_too_few_pictures(counts, share, word):
    with refuses(ValueError, f"share of {share:g} of {sum(counts)} pictures", word):
        split_off(labelled(*counts), share, 0)


@pytest.mark.parametrize(
    "counts, share",
    [((1, 99), 0.1), ((1, 1, 18), 0.4), ((5, 5), 0.1), ((3, 3), 0.34), ((1, 1, 1, 97), 0.2)],
)
def test_each_class_is_trained_on(counts, share):
    for seed in range(5):
        train_set, valid_set = split_off(labelled(*counts), share, seed)
        assert len(valid_set) == round(sum(counts) * share)
        assert set(train_set.labels) == set(range(len(counts)))


def test_a_class_of_which_all_would_be_to_validate():
    with refuses(ValueError, "too few pictures of class 0", "0.9"):
        split_off(labelled(1, 99), 0.9, 0)


def test_matched_keeps_what_fits():
    pictures = labelled(2, 2)
    assert matched(pictures, pictures.classes, "here") is pictures
    with refuses(ValueError, "'here'", "'class 0', 'class 1'", "cat, dog"):
        matched(pictures, ["cat", "dog"], "here")


def test_contents_are_known_again_and_others_are_not(tmp_path):
    first = train.load_task(folder(tmp_path / "photos", "")).description()["contents"]
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert train.load_task(tmp_path / "moved").description()["contents"] == first
    picture = next((tmp_path / "moved" / "red").iterdir())
    pytest.importorskip("PIL.Image").new("RGB", (8, 8), "white").save(picture)
    assert train.load_task(tmp_path / "moved").description()["contents"] != first


def test_two_parts_of_one_kind(tmp_path):
    folder(tmp_path / "photos", "train", "val", "validation")
    with refuses(ValueError, "one valid part", "val", "validation"):
        train.load_task(tmp_path / "photos")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("valid", "test"), ["test, valid", "no train part"]),
        (("train", "test", "more"), ["also more", "not parts"]),
    ],
)
def test_parts_that_do_not_fit(tmp_path, parts, words):
    folder(tmp_path / "photos", *parts)
    with refuses(ValueError, *words):
        train.load_task(tmp_path / "photos")


def test_parts_without_paths_are_matched_by_name():
    digits = data.MNIST(split="test")
    found = matched(digits, [*"9876543210", "other"], "mnist")
    assert np.array_equal(found.labels, 9 - digits.labels)
