"""What is in a folder of pictures: its classes and files. None of the files is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .pictures import ENDINGS

PARTS = {"train", "training", "valid", "val", "validation", "test"}


@dataclass
class Scan:
    """files:   (name relative to the root, bytes, time of change in ns) of each, by class and name
    labels:  the class of each
    classes: the names"""

    files: list[tuple[str, int, int]]
    labels: list[int]
    classes: tuple[str, ...]

    def without(self, names: set[str]) -> Scan:
        """The same but for the files of these names."""
        kept = [i for i, file in enumerate(self.files) if file[0] not in names]
        return Scan([self.files[i] for i in kept], [self.labels[i] for i in kept], self.classes)


def scan(root: str) -> Scan:
    """The classes of a folder and their pictures; ValueErrors as `ImageFolder` says."""
    if not os.path.exists(root):
        raise FileNotFoundError(
            f"ImageFolder: root must be an existing folder; there is no {root!r}"
        )
    if not os.path.isdir(root):
        raise NotADirectoryError(f"ImageFolder: root must be a folder; {root!r} is a file")
    classes, loose = [], []
    for entry in sorted(_visible(root), key=lambda entry: entry.name):
        if entry.is_dir():
            classes.append(entry.name)
        elif _is_picture(entry.name):
            loose.append(entry.name)
    _check_layout(root, classes, loose)
    files: list[tuple[str, int, int]] = []
    labels: list[int] = []
    empty = []
    for label, name in enumerate(classes):
        found = sorted(_pictures(root, name, set()))
        if not found:
            empty.append(name)
        files += found
        labels += [label] * len(found)
    if empty:
        raise ValueError(
            f"ImageFolder: there are no pictures ({', '.join(ENDINGS)}) in "
            f"{'the folder' if len(empty) == 1 else 'the folders'} "
            f"{', '.join(map(repr, empty[:10]))}{' ...' if len(empty) > 10 else ''} "
            f"of {root!r}: each folder is a class"
        )
    if set(map(str.lower, classes)) <= PARTS and not any(
        os.path.dirname(name) in classes for name, _, _ in files
    ):
        raise ValueError(
            f"ImageFolder: {root!r} holds {', '.join(classes)}, which are parts of a "
            f"data set and no classes: give one of them, as "
            f"{os.path.join(root, classes[0])!r}"
        )
    return Scan(files, labels, tuple(classes))


def _check_layout(root: str, classes: list[str], loose: list[str]) -> None:
    layout = f"a folder for each class: {os.path.join(os.path.basename(root), 'CLASS', 'x.png')}"
    if loose:
        what = "is a picture" if len(loose) == 1 else "are pictures"
        names = loose[0] if len(loose) == 1 else f"{loose[0]}, ..."
        raise ValueError(
            f"ImageFolder: there {what} in {root!r} itself ({names}), of which the "
            f"class is not known; put pictures into {layout}"
        )
    if not classes:
        what = "holds no folders" if os.listdir(root) else "is empty"
        raise ValueError(f"ImageFolder: {root!r} {what}; it must have {layout}")


def _pictures(
    root: str, folder: str, above: set[tuple[int, int]]
) -> Iterator[tuple[str, int, int]]:
    """The pictures in and below a folder. Links are followed, but not in a circle."""
    status = os.stat(os.path.join(root, folder))
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    for entry in _visible(os.path.join(root, folder)):
        name = os.path.join(folder, entry.name)
        if entry.is_dir():
            yield from _pictures(root, name, above | {place})
        elif _is_picture(entry.name) and entry.is_file():
            status = entry.stat()
            yield name, status.st_size, status.st_mtime_ns
        elif _is_picture(entry.name) and not os.path.exists(entry.path):
            yield name, 0, 0  # a link to a file that is not there: a broken picture, to be named


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(ENDINGS)
