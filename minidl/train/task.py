"""Task: what is to be learned, as data sets: a known data set by its name, or a folder of pictures.

A folder has a subfolder for each class, or parts of a data set (train, valid, test), each with a
subfolder for each class. Classes of parts are matched by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks, data
from ..data.dataset import ArrayDataset
from ..data.image_folder import ImageFolder

KNOWN: dict[str, type[Any]] = {
    "mnist": data.MNIST,
    "fashion-mnist": data.FashionMNIST,
    "cifar10": data.CIFAR10,
}
PARTS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test",)}

HASHED = 64  # pictures of a part, by which it is known again

Size = int | Sequence[int] | None


@dataclass(frozen=True)
class Task:
    """The parts of a data set of pictures and their classes.

    name:    that of the data set or of the folder
    train, valid, test: data sets of (image, label); valid and test are None where there is none
    classes: the names of the labels
    shape:   (H, W, C) of every picture

    >>> digits = train.load_task("mnist", valid=0)
    >>> digits.classes[:2], digits.shape, digits.valid
    (('0', '1'), (28, 28, 1), None)
    """

    name: str
    train: Any
    valid: Any
    test: Any
    classes: tuple[str, ...]
    shape: tuple[int, int, int]

    @property
    def measured(self) -> tuple[str, Any]:
        """("test", the test part), or where there is none ("valid", that part)."""
        return ("valid", self.valid) if self.test is None else ("test", self.test)

    def description(self) -> dict[str, Any]:
        """Sizes, classes and contents as plain values."""
        counts = {part: len(found) for part in PARTS if (found := getattr(self, part)) is not None}
        return {
            "pictures": counts,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "contents": {part: contents(getattr(self, part)) for part in counts},
        }

    def __str__(self) -> str:
        parts = [f"{len(self.train):,} pictures to train"]
        parts += [
            f"{len(found):,} to {verb}"
            for found, verb in ((self.valid, "validate"), (self.test, "test"))
            if found is not None
        ]
        height, width, channels = self.shape
        colour = "grey" if channels == 1 else "colour"
        return (
            f"{self.name}: {', '.join(parts)}; {len(self.classes)} classes, "
            f"{height} x {width}, {colour}"
        )


def load_task(
    source: str | os.PathLike[str],
    size: Size = None,
    valid: float = 0.1,
    seed: int = 0,
    channels: int | None = None,
    skip_broken: bool = False,
) -> Task:
    """The parts of a known data set (mnist, fashion-mnist, cifar10) or of a folder.

    size:     to scale the pictures of a folder to, as `ImageFolder` does; None: as they are
    valid:    the share of the training pictures that becomes the valid part, of each class as much,
              where the source has no such part; 0 for none
    seed:     which ones these are
    channels: 1 or 3; None: 1 if all pictures of a folder are grey
    skip_broken: leave out pictures that cannot be decoded, with a warning

    ValueError for a folder of one class, parts whose classes or sizes do not fit, too few pictures
    to have a valid part, a size for a data set that has one; the errors of `ImageFolder` and of the
    data sets.

    >>> print(train.load_task("mnist"))
    mnist: 54,000 pictures to train, 6,000 to validate, 10,000 to test; 10 classes, 28 x 28, grey
    """
    source = checks.path(source, "load_task", "source")
    valid = checks.real(valid, "load_task", "valid", 0, below=1)
    if source in KNOWN:
        if size is not None or channels is not None:
            raise ValueError(
                f"load_task: the pictures of {source} are used as they are: size= and "
                f"channels= are for folders"
            )
        found = {part: KNOWN[source](split=part) for part in ("train", "test")}
    else:
        found = load_folder(source, size, channels, skip_broken)
    train = found["train"]
    shape = train.images.shape[1:]  # not of a subset, which would copy all of its images
    if "valid" not in found and valid > 0:
        train, found["valid"] = split_off(train, valid, seed)
    name = source if source in KNOWN else os.path.basename(os.path.abspath(source))
    return Task(
        name, train, found.get("valid"), found.get("test"), tuple(map(str, train.classes)), shape
    )


def contents(pictures: Any) -> str:
    """A hash of a part: of all labels, and of some pictures, so that it takes no time."""
    import hashlib  # it loads slowly

    found = hashlib.sha256(np.ascontiguousarray(pictures.labels, np.int64).data)
    for i in np.linspace(0, len(pictures) - 1, min(len(pictures), HASHED), dtype=np.int64):
        found.update(np.ascontiguousarray(pictures[int(i)][0]).data)
    return found.hexdigest()[:16]


def has_part(source: str, part: str) -> bool:
    """Whether a source brings a part ("valid", "test") of its own."""
    return part == "test" if source in KNOWN else part in part_folders(source)


def part_folders(root: str) -> dict[str, str]:
    """The parts of a folder (train, valid, test) and their paths; none for one of classes."""
    if not os.path.isdir(root):
        return {}
    found: dict[str, str] = {}
    for part, names in PARTS.items():
        there = [
            os.path.join(root, name)
            for name in names
            if os.path.isdir(os.path.join(root, name)) and _has_folders(root, name)
        ]
        if len(there) > 1:
            raise ValueError(
                f"load_task: {root!r} has two {part} parts, {there[0]!r} and "
                f"{there[1]!r}: leave one of them"
            )
        if there:
            found[part] = there[0]
    return found if "train" in found or len(found) == len(_folders(root)) else {}


def class_folders(source: str) -> list[str]:
    """The folders of a source in which every folder is a class; none for a known data set."""
    return [] if source in KNOWN else list(part_folders(source).values()) or [source]


def _has_folders(root: str, name: str) -> bool:
    """Whether there are folders inside, as a part has: else it is a class that is called so."""
    return bool(_folders(os.path.join(root, name)))


def _folders(root: str) -> list[str]:
    """The folders inside, but for hidden ones."""
    with os.scandir(root) as entries:
        return [
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        ]


def load_folder(
    root: str, size: Size = None, channels: int | None = None, skip_broken: bool = False
) -> dict[str, Any]:
    """The data sets of a folder: its parts, or "train" alone. FileNotFoundError for no folder,
    ValueError for parts that do not fit, and for one class."""
    if not os.path.exists(root):
        raise FileNotFoundError(
            f"load_task: there is no folder {root!r}, and no data set of this "
            f"name; the names are {', '.join(KNOWN)}"
        )
    folders = part_folders(root)
    others = set(_folders(root)) - set(map(os.path.basename, folders.values()))
    if folders and ("train" not in folders or others):
        what = (
            f"beside it {', '.join(sorted(others)[:10])}, which are no parts"
            if others
            else "no train part"
        )
        raise ValueError(
            f"load_task: {root!r} has the parts {', '.join(sorted(folders))}, and {what}"
        )
    folders = folders or {"train": root}
    found = {
        part: ImageFolder(path, size, channels, skip_broken=skip_broken)
        for part, path in folders.items()
    }
    if len({part.images.shape[3] for part in found.values()}) > 1:  # grey ones, and coloured
        return load_folder(root, size, 3, skip_broken)
    train = found["train"]
    classes = tuple(train.classes or ())
    if len(classes) < 2:
        raise ValueError(
            f"load_task: {folders['train']!r} has one class, {classes[0]!r}: to tell "
            f"classes apart needs pictures of two or more, each in a folder of its "
            f"own"
        )
    for part, pictures in found.items():
        if pictures.images.shape[1:] != train.images.shape[1:]:
            raise ValueError(
                f"load_task: the pictures in {folders[part]!r} have {_pixels(pictures)} pixels, "
                f"those in {folders['train']!r} {_pixels(train)}; give one size for all of them"
            )
    return {
        "train": train,
        **{
            part: matched(pictures, classes, folders[part])
            for part, pictures in found.items()
            if part != "train"
        },
    }


def _pixels(pictures: Any) -> str:
    return " x ".join(map(str, pictures.images.shape[1:3]))


def matched(pictures: Any, classes: Sequence[str], where: str) -> Any:
    """A data set whose labels count in `classes`, matched by name. ValueError for others."""
    if tuple(pictures.classes) == tuple(classes):
        return pictures
    unknown = [name for name in pictures.classes if name not in classes]
    if unknown:
        raise ValueError(
            f"load_task: {where!r} has the classes "
            f"{', '.join(map(repr, unknown[:10]))}, which are none of those that are "
            f"learned: {', '.join(map(str, classes))}"
        )
    numbers = np.array([list(classes).index(name) for name in pictures.classes])
    found = ArrayDataset(pictures.images, numbers[pictures.labels], classes=tuple(classes))
    if hasattr(pictures, "paths"):
        found.paths = pictures.paths  # type: ignore[attr-defined]
    return found


def split_off(pictures: Any, share: float, seed: int) -> tuple[Any, Any]:
    """The pictures without a share of each class, and that share. ValueError where there are too
    few to have both."""
    count = round(len(pictures) * share)
    if not 0 < count < len(pictures):
        raise ValueError(
            f"load_task: a share of {share:g} of {len(pictures)} pictures leaves "
            f"{'none to validate' if count == 0 else 'none to train'}: give more "
            f"pictures, or another share"
        )
    train, valid = data.split(pictures, (len(pictures) - count, count), seed=seed, stratify=True)
    there = set(np.unique(train.labels).tolist())
    missing = [str(name) for label, name in enumerate(pictures.classes) if label not in there]
    if missing:
        raise ValueError(
            f"there are too few pictures of {', '.join(missing)}: with a share of "
            f"{share:g} all of them would be to validate, and none to train"
        )
    return train, valid
