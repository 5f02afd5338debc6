"""This program measures the memory that is taken by a folder of pictures which does not fit into
memory.

    python -m benchmarks.pictures                   30,000 pictures of 256 x 256: 5.9 GB decoded
    python -m benchmarks.pictures --count 1000      a short version

The pictures are a few JPEG files under many names (hard links), in ten classes. One process decodes
them into the cache; another one iterates over them in the order of `shuffle=True`, with a crop and
a flip. The peak of each process's own memory (RssAnon, read every 5 ms) is measured, and how much
of the files it held besides (the cache as far as it was read, which the system takes back when
others need memory). Both processes have a limit on their own memory (RLIMIT_DATA) that is far below
the size of the pictures. The program writes benchmarks/results/pictures.json, and runs on Linux
only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import arguments, machine, report

FILES, CLASSES = 32, 10
BATCH = 32


def write_pictures(root: Path, count: int, size: int) -> None:
    """Write a few pictures under `count` names, in class folders."""
    from PIL import Image

    rng = np.random.default_rng(0)
    originals = []
    (root / "originals").mkdir(parents=True)
    for i in range(FILES):
        small = rng.integers(0, 256, (8, 8, 3), np.uint8)
        originals.append(root / "originals" / f"{i}.jpg")
        Image.fromarray(small).resize((size, size)).save(originals[-1])
    for k in range(count):
        folder = root / "photos" / f"class{k % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(originals[k % FILES], folder / f"{k:06}.jpg")


def kilobytes(name: str) -> int:
    """Return a figure of this process's status in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Watch:
    """Reads again and again how much memory this process holds, and keeps the largest value."""

    def __init__(self) -> None:
        self.own = self.files = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.own = max(self.own, kilobytes("RssAnon"))
            self.files = max(self.files, kilobytes("RssFile"))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def work(job: str, root: str, megabytes: int) -> dict[str, Any]:
    """Do and measure the work of one process: "decode" or "iterate"."""
    import resource

    from minidl import data
    from minidl.data import transforms as T

    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20,) * 2)
    start = time.monotonic()
    with Watch() as watch:
        pictures = data.ImageFolder(root)
        seen = 0
        if job == "iterate":
            augment = T.Compose(T.RandomCrop(224), T.RandomFlip())
            for images, _ in data.DataLoader(
                pictures, BATCH, shuffle=True, seed=0, transform=augment
            ):
                seen += len(images)
    return {
        "pictures": len(pictures),
        "decoded_megabytes": pictures.images.nbytes / 1e6,
        "seen": seen,
        "own_megabytes": watch.own / 1e3,
        "files_megabytes": watch.files / 1e3,
        "limit_megabytes": megabytes,
        "seconds": time.monotonic() - start,
    }


def measured(job: str, root: Path, megabytes: int) -> dict[str, Any]:
    """Run `work` in a process of its own, and return its figures."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.pictures",
        "--work",
        job,
        str(root / "photos"),
        "--limit",
        str(megabytes),
    ]
    environment = {**os.environ, "MINIDL_CACHE": str(root / "cache")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{job} failed")
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = arguments.parser("benchmarks.pictures", __doc__)
    count = arguments.at_least_one
    parser.add_argument("--count", type=count, default=30000, help="of pictures (30000)")
    parser.add_argument("--side", type=count, default=256, help="of each, in pixels (256)")
    parser.add_argument(
        "--limit", type=count, default=400, help="of a process's own memory, in MiB (400)"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(*args.work, args.limit)))
        return
    with tempfile.TemporaryDirectory(prefix="minidl-pictures-") as folder:
        root = Path(folder)
        write_pictures(root, args.count, args.side)
        rows = {job: measured(job, root, args.limit) for job in ("decode", "iterate")}
    for job, row in rows.items():
        print(
            f"{job}: {row['pictures']:,} pictures, {row['decoded_megabytes']:,.0f} MB decoded; "
            f"{row['own_megabytes']:,.0f} MB of its own at the most, "
            f"{row['files_megabytes']:,.0f} MB of files, {row['seconds']:.0f} s"
        )
    report.save(args.out, "pictures", {"machine": machine.describe(), **rows})


if __name__ == "__main__":
    main()
