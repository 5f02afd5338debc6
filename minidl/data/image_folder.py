"""A folder of pictures as a data set: a subfolder for each class, decoded once into the cache."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from .. import checks, kernels
from . import cache as cache_module
from .dataset import ArrayDataset
from .folder_scan import Scan, scan
from .pictures import BrokenPicture, Size, look, pillow, read
from .store import DataFileError

SHOWN = 10  # how many broken pictures and sizes a message lists
MOST_IN_GROUP = 16  # the most files in a group, which one task of a thread decodes
MOST_BYTES_IN_GROUP = 4 << 20  # the most memory that the pictures of a group take
SECONDS = 1.0  # the time after which decoding shows its progress


class ImageFolder(ArrayDataset):
    """Pictures in subfolders of `root`, one subfolder a class: PNG, JPEG, BMP, WebP, and the first
    picture of a GIF. Needs Pillow: `pip install minidl[images]`.

    root:        the folder; the classes are its subfolders, sorted by name, and all pictures in and
                 below a subfolder are of its class. Hidden files and other files are ignored.
    size:        with an int the shorter side is scaled to it, and the middle, size x size, is cut
                 out; with a pair (height, width) pictures are scaled to it; with None they stay as
                 they are, and must all have one size
    channels:    3 (colour), 1 (grey), or None: 1 if all pictures are stored in grey, else 3
    cache:       True keeps the decoded pictures on disk (`data.cache`) and maps them into memory
                 from then on; False keeps them in memory, and decodes them each time
    skip_broken: leave out pictures that cannot be decoded, and links to files that do not exist,
                 with a warning that names them

    `.images` are (N, H, W, C) uint8, read-only with a cache; `.labels` are (N,) int64; `.classes`
    are the names; `.paths` are the files, as strings, and `.broken` those that were left out.
    Pictures are turned upright as their EXIF data say; white shows through transparent pixels; 16
    bits become 8. Scaling is bilinear, and averages over all pixels that a pixel of a smaller
    picture covers.

    The cache is made anew if the name, the size or the time of change of a file differs. Decoding
    uses as many threads as minidl may, and memory for a few pictures. Pickled copies open the
    cache.

    ValueError if there are no classes or pictures, if a class has none, if pictures lie in `root`
    itself, and if sizes differ with size=None; DataFileError (a ValueError) that names the broken
    pictures; ImportError without Pillow; the system's errors for files that cannot be read and a
    cache that cannot be written.

    >>> from PIL import Image
    >>> import tempfile, os
    >>> folder = tempfile.TemporaryDirectory()
    >>> root = folder.name
    >>> for name, colour in (("cat", "red"), ("dog", "blue")):
    ...     os.mkdir(os.path.join(root, name))
    ...     Image.new("RGB", (60, 40), colour).save(os.path.join(root, name, "1.png"))
    >>> pictures = data.ImageFolder(root, size=32, cache=False)
    >>> pictures
    ImageFolder(images (2, 32, 32, 3) uint8, labels (2,) int64, 2 classes)
    >>> pictures.classes, pictures[0][0][0, 0].tolist(), int(pictures.labels[1])
    (('cat', 'dog'), [255, 0, 0], 1)
    """

    paths: tuple[str, ...]
    broken: tuple[str, ...]

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int | Sequence[int] | None = None,
        channels: int | None = 3,
        cache: bool = True,
        skip_broken: bool = False,
    ) -> None:
        root = os.path.abspath(os.path.expanduser(checks.path(root, "ImageFolder", "root")))
        self._arguments = (
            root,
            _size(size),
            _channels(channels),
            checks.flag(cache, "ImageFolder", "cache"),
            checks.flag(skip_broken, "ImageFolder", "skip_broken"),
        )
        pillow()
        found = scan(root)
        self._key = cache_module.key(os.path.realpath(root), found.files, *self._arguments[1:3])
        images, broken = self._images(found)
        if broken and not skip_broken:
            raise DataFileError(
                f"ImageFolder: {_broken_text(root, broken)} (skip_broken=True leaves them out)"
            )
        good = found.without({name for name, _ in broken})
        for name, count in zip(
            found.classes, np.bincount(good.labels, minlength=len(found.classes)), strict=True
        ):
            if not count:
                raise DataFileError(
                    f"ImageFolder: no picture of the class {name!r} can be "
                    f"decoded: {_broken_text(root, broken)}"
                )
        if broken:
            warnings.warn(f"ImageFolder: left out: {_broken_text(root, broken)}", stacklevel=2)
        super().__init__(images, np.array(good.labels, np.int64), classes=found.classes)
        self.paths = tuple([os.path.join(root, name) for name, _, _ in good.files])
        self.broken = tuple([os.path.join(root, name) for name, _ in broken])

    def __reduce__(self) -> Any:
        if self._arguments[3]:
            return _reopened, (type(self), self._arguments, self._key)
        return super().__reduce__()

    def _images(self, found: Scan) -> tuple[np.ndarray, list[list[str]]]:
        """The decoded pictures, and a pair of name and reason for each broken one."""
        root, size, channels, cached, _ = self._arguments
        name = os.path.basename(root)
        if cached and (loaded := cache_module.load(name, self._key)):
            return loaded[0], loaded[1]["broken"]
        if size is not None:
            pair = (size, size) if isinstance(size, int) else size
            kernels.check_shape("ImageFolder: a picture", (*pair, 3), np.uint8)
        about: dict[str, Any] = {"source": root, "broken": []}
        rows = _rows(found, root, size, channels, about["broken"])
        if cached:
            images, about = cache_module.store(name, self._key, rows, about, len(found.files))
            return images, about["broken"]
        first = next(rows)
        shape = (len(found.files), *first.shape[1:])
        kernels.check_shape("ImageFolder: the pictures", shape, np.uint8)
        images = np.empty(shape, np.uint8)
        images[0] = first[0]
        count = 1
        for row in rows:
            images[count] = row[0]
            count += 1
        return images[:count], about["broken"]


def _reopened(cls: type[ImageFolder], arguments: Any, key: str) -> ImageFolder:
    with warnings.catch_warnings():  # the warning of broken pictures was given the first time
        warnings.simplefilter("ignore")
        made = cls(*arguments)
    if made._key != key:
        raise ValueError(
            f"ImageFolder: the pictures in {arguments[0]!r} have changed since this "
            f"data set was made: make it again"
        )
    return made


def _size(size: Any) -> Size:
    if size is None:
        return None
    if isinstance(size, (tuple, list)):
        return checks.pair(size, "ImageFolder", "size", 1)
    return checks.integer(size, "ImageFolder", "size", 1, checks.MOST_OF_PAIR)


def _channels(channels: Any) -> int | None:
    if channels is None or checks.integer(channels, "ImageFolder", "channels") in (1, 3):
        return channels
    raise ValueError(checks.message("ImageFolder", "channels", "3, 1 or None", channels))


def _rows(
    found: Scan, root: str, size: Size, channels: int | None, broken: list[list[str]]
) -> Generator[np.ndarray]:
    """The decoded pictures in order, each as (1, H, W, C). The names of broken ones are added to
    `broken`, with the reason."""
    paths = [os.path.join(root, name) for name, _, _ in found.files]
    if channels is None:
        looked = _in_threads(lambda path: look(path)[1], paths, "Looking at pictures")
        grey = all(grey for _, grey in looked if not isinstance(grey, BrokenPicture))
        channels = 1 if grey else 3
    first: tuple[int, ...] | None = None
    with closing(
        _in_threads(lambda path: read(path, size, channels), paths, "Decoding pictures")
    ) as decoded:
        for i, picture in decoded:
            if isinstance(picture, BrokenPicture):
                broken.append([found.files[i][0], str(picture)])
                continue
            if first is not None and picture.shape != first:
                break
            first = picture.shape
            yield picture[None]
        else:
            if first is None:
                raise DataFileError(
                    f"ImageFolder: {_broken_text(root, broken)}; there is no other one"
                )
            return
    raise ValueError(
        f"ImageFolder: pictures have several sizes (height x width): "
        f"{_sizes_text(found, paths)}; give one size, as size=32 or size=(24, 32)"
    )


def _sizes_text(found: Scan, paths: list[str]) -> str:
    """Words for an error: the number of pictures of each size, and the first file of each."""
    counts: dict[tuple[int, int], list[Any]] = {}
    looked = _in_threads(lambda path: look(path)[0], paths, "Looking at pictures")
    for i, size in looked:
        if not isinstance(size, BrokenPicture):
            counts.setdefault(size, [0, found.files[i][0]])[0] += 1
    ordered = sorted(counts.items(), key=lambda item: -item[1][0])
    text = ", ".join(
        [
            f"{count} of {height} x {width} (first: {name})"
            for (height, width), (count, name) in ordered[:SHOWN]
        ]
    )
    more = len(ordered) - SHOWN
    return text if more <= 0 else f"{text} and {more} more sizes"


def _broken_text(root: str, broken: list[list[str]]) -> str:
    listed = "; ".join([f"{name}: {reason}" for name, reason in broken[:SHOWN]])
    more = len(broken) - SHOWN
    what = "1 picture" if len(broken) == 1 else f"{len(broken)} pictures"
    return (
        f"{what} in {root!r} cannot be decoded: {listed}{f'; and {more} more' if more > 0 else ''}"
    )


def _in_threads(make: Any, paths: list[str], title: str) -> Generator[Any]:
    """(i, make(paths[i])) in order, or (i, the BrokenPicture that it raised).

    Pillow decodes without the GIL. Threads decode only a few groups of files in advance, because
    these pictures wait in memory. A group has several small pictures, because passing on each alone
    would cost as much as decoding it. The first groups have one picture, which shows how large
    pictures are.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    from tqdm import tqdm

    def work(group: range) -> list[Any]:
        results: list[Any] = []
        for i in group:
            try:
                results.append((i, make(paths[i])))
            except BrokenPicture as error:
                results.append((i, error))
            except FileNotFoundError:
                if not os.path.islink(paths[i]):
                    raise
                results.append((i, BrokenPicture("a link to a file that does not exist")))
        return results

    threads = kernels.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="minidl pictures")
    waiting: deque[Future[list[Any]]] = deque()
    start, length = 0, 1
    try:
        with tqdm(total=len(paths), desc=title, unit="", delay=SECONDS, disable=None) as bar:
            while start < len(paths) or waiting:
                while start < len(paths) and len(waiting) <= 2 * threads:
                    group = range(start, min(len(paths), start + length))
                    waiting.append(pool.submit(work, group))
                    start = group.stop
                done = waiting.popleft().result()
                bar.update(len(done))
                yield from done
                length = _length([result for _, result in done])
    finally:
        pool.shutdown(cancel_futures=True)


def _length(results: list[Any]) -> int:
    """The number of files in the next group, by the size of the pictures of the last one."""
    largest = max(getattr(result, "nbytes", 1) for result in results)
    return min(MOST_IN_GROUP, max(1, MOST_BYTES_IN_GROUP // largest))
