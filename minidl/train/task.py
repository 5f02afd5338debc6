"""Task: the data of an image classification, from a known data set or a folder of pictures.

A folder has either a subfolder for each class, or the parts of a data set (train, valid, test),
each with a subfolder for each class. The classes of the parts are matched by name.
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

HASHED = 64  # pictures of a part that go into its hash

Size = int | Sequence[int] | None


@dataclass(frozen=True)
class Task:
    """The training, validation and test parts of a data set of pictures, and their classes.

    name:    the name of the data set or of the folder
    train, valid, test: data sets of (image, label); valid and test are None if the data have no
             such part
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
        """The part on which accuracy is measured, with its name: ("test", the test part), or
        ("valid", the validation part) if there is no test part."""
        return ("valid", self.valid) if self.test is None else ("test", self.test)

    def description(self) -> dict[str, Any]:
        """Return sizes, classes and hashes of the contents as plain values, by which a resumed run
        notices other data."""
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
    """Load the parts of a known data set (mnist, fashion-mnist, cifar10) or of a folder.

    size:     the size that pictures of a folder are scaled to, as by `ImageFolder`; None: they are
              not scaled
    valid:    the share of the training pictures, the same of each class, that becomes the
              validation part if the source has none; 0: there is no validation part then
    seed:     the seed of the draw of these pictures
    channels: 1 or 3; None: 1 if all pictures of a folder are grey
    skip_broken: whether pictures that cannot be decoded are left out, with a warning

    ValueError if a folder has only one class, classes or sizes of the parts do not match, there are
    too few pictures for a validation part, or a known data set gets a size; also the errors of
    `ImageFolder` and of the data sets.

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
    shape = train.images.shape[1:]  # before the split: `images` of a subset would copy them all
    if "valid" not in found and valid > 0:
        train, found["valid"] = split_off(train, valid, seed)
    name = source if source in KNOWN else os.path.basename(os.path.abspath(source))
    return Task(
        name, train, found.get("valid"), found.get("test"), tuple(map(str, train.classes)), shape
    )


def contents(pictures: Any) -> str:
    """Return a hash of a part: of all labels, and for speed of some pictures only."""
    import hashlib  # imported here to keep `import minidl` fast

    found = hashlib.sha256(np.ascontiguousarray(pictures.labels, np.int64).data)
    for i in np.linspace(0, len(pictures) - 1, min(len(pictures), HASHED), dtype=np.int64):
        found.update(np.ascontiguousarray(pictures[int(i)][0]).data)
    return found.hexdigest()[:16]


def has_part(source: str, part: str) -> bool:
    """Return whether a source has its own part "valid" or "test"."""
    return part == "test" if source in KNOWN else part in part_folders(source)


def part_folders(root: str) -> dict[str, str]:
    """Return the paths of a folder's parts (train, valid, test); {} if its subfolders are the
    classes."""
    if not os.path.isdir(root):
        return {}
    found: dict[str, str] = {}
    folders = sorted(_folders(root))
    for part, names in PARTS.items():
        paths = [
            os.path.join(root, name)
            for name in folders
            if name.lower() in names and _has_folders(root, name)
        ]
        if len(paths) > 1:
            raise ValueError(
                f"load_task: {root!r} must have one {part} part, got {paths[0]!r} and {paths[1]!r}"
            )
        if paths:
            found[part] = paths[0]
    return found if "train" in found or len(found) == len(folders) else {}


def class_folders(source: str) -> list[str]:
    """Return the folders of a source whose subfolders are the classes; [] for a known data set."""
    return [] if source in KNOWN else list(part_folders(source).values()) or [source]


def _has_folders(root: str, name: str) -> bool:
    """Return whether a folder has subfolders. A part has one for each class; a folder without any
    is a class that is named like a part."""
    return bool(_folders(os.path.join(root, name)))


def _folders(root: str) -> list[str]:
    """Return the names of the subfolders that are not hidden."""
    with os.scandir(root) as entries:
        return [
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        ]


def load_folder(
    root: str, size: Size = None, channels: int | None = None, skip_broken: bool = False
) -> dict[str, Any]:
    """Load the data sets of a folder: its parts, or only "train". FileNotFoundError if there is no
    such folder, ValueError if the parts do not match or there is only one class."""
    if not os.path.exists(root):
        raise FileNotFoundError(
            f"load_task: there is no folder {root!r}, and no data set of this "
            f"name; the names are {', '.join(KNOWN)}"
        )
    folders = part_folders(root)
    others = set(_folders(root)) - set(map(os.path.basename, folders.values()))
    if folders and ("train" not in folders or others):
        what = (
            f"also {', '.join(sorted(others)[:10])}, which are not parts"
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
    if len({part.images.shape[3] for part in found.values()}) > 1:  # one is grey, another colour
        return load_folder(root, size, 3, skip_broken)
    train = found["train"]
    classes = tuple(train.classes or ())
    if len(classes) < 2:
        raise ValueError(
            f"load_task: {folders['train']!r} has one class, {classes[0]!r}: a classifier needs "
            f"pictures of two classes or more, each class in its own folder"
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
    """Return a data set whose labels are indices into `classes`, matched by name. ValueError if it
    has a class that is not among them."""
    if tuple(pictures.classes) == tuple(classes):
        return pictures
    unknown = [name for name in pictures.classes if name not in classes]
    if unknown:
        raise ValueError(
            f"load_task: {where!r} has the classes "
            f"{', '.join(map(repr, unknown[:10]))}, which are not among those of the training "
            f"part: {', '.join(map(str, classes))}"
        )
    numbers = np.array([list(classes).index(name) for name in pictures.classes])
    found = ArrayDataset(pictures.images, numbers[pictures.labels], classes=tuple(classes))
    if hasattr(pictures, "paths"):
        found.paths = pictures.paths  # type: ignore[attr-defined]
    return found


def split_off(pictures: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Split a share of each class off, and return (the other pictures, the share). ValueError if
    there are too few pictures for both."""
    count = round(len(pictures) * share)
    if not 0 < count < len(pictures):
        raise ValueError(
            f"load_task: a share of {share:g} of {len(pictures)} pictures leaves "
            f"none for {'validation' if count == 0 else 'training'}: give more pictures, or "
            f"another share"
        )
    train, valid = data.split(pictures, (len(pictures) - count, count), seed=seed, stratify=True)
    kept = set(np.unique(train.labels).tolist())
    missing = [str(name) for label, name in enumerate(pictures.classes) if label not in kept]
    if missing:
        raise ValueError(
            f"load_task: there are too few pictures of {', '.join(missing)}: with a share of "
            f"{share:g} all of them would be for validation, and none for training"
        )
    return train, valid
