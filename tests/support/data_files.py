"""This module makes small data files in the official formats."""

import gzip
import io
import struct
import tarfile

import numpy as np

PREFIX = {"train": "train", "test": "t10k"}
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]


def idx(array, magic=None):
    """Return an array of bytes as the content of an idx file."""
    array = np.asarray(array, np.uint8)
    magic = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(folder, count=7, split="train", seed=0, compress=True):
    """Write a small MNIST into a folder, and return its images (count, 28, 28) and labels
    (count,).
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    labels = rng.integers(0, 10, count, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        path = folder / f"{PREFIX[split]}-{name}"
        if compress:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
        else:
            path.write_bytes(idx(array))
    return images, labels


def cifar_batch(count, seed=0):
    """Return the content of a batch, made pixel by pixel, with its images (count, 32, 32, 3) and
    labels.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, count, np.uint8)
    content = b""
    for image, label in zip(images, labels, strict=True):
        content += bytes([label])
        for channel in range(3):
            content += image[:, :, channel].tobytes()
    return content, images, labels


def cifar_files(count=4):
    """Return the contents of the six batches by name. They are all different and have `count`
    images and more.
    """
    names = [*TRAIN, "test_batch.bin"]
    return {name: cifar_batch(count + i, seed=i)[0] for i, name in enumerate(names)}


def tar_of(files, compression="", folder="cifar-10-batches-bin/"):
    """Return a tar with these files, as bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
