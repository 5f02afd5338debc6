"""This program answers whether bytes would be faster than float32: `python -m benchmarks.int8`
measures the arithmetic of both.

int8.c measures them on one thread, with as many terms as the layers of small networks have. The 3x3
convolutions of a compiled model are shown beside them, which Winograd computes in float32 with a
quarter of the products. The program needs a CPU with AVX512_VNNI.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

import numpy as np

import minidl as md
from minidl import nn
from minidl.compiled import compile

from .machine import best, compiled_library

PIXELS, CHANNELS = 12, 32
TERMS = (32, 64, 128, 256, 576, 2304)
# (channels, size) of the convolutions.
WINOGRAD = ((16, 32), (32, 16), (64, 8), (64, 32), (128, 16), (256, 8))


def products(library: ctypes.CDLL, terms: int) -> tuple[float, float]:
    """Return how many operations a second (in 1e9) a block of so many terms does, in float32 and in
    bytes.
    """
    rng = np.random.default_rng(0)
    times = 2_000_000 // terms
    rates = []
    for bytes_, dtypes in ((0, (np.float32, np.float32)), (1, (np.uint8, np.int8))):
        x = rng.integers(0, 4, PIXELS * terms).astype(dtypes[0])
        w = rng.integers(-4, 4, CHANNELS * terms).astype(dtypes[1])
        ends = np.zeros(2 * CHANNELS, np.float32)
        y = np.empty(PIXELS * CHANNELS, dtypes[0])
        given = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, w, ends, y)]
        seconds = best(lambda b=bytes_, g=given: library.repeat(b, times, *g, terms))
        rates.append(2 * PIXELS * CHANNELS * terms * times / seconds / 1e9)
    return rates[0], rates[1]


def winograd(channels: int, size: int) -> float:
    """Return the same for a compiled 3x3 convolution, where the operations of the direct one are
    counted.
    """
    layer = nn.Conv(channels, channels, 3, padding=1).eval()
    x = np.random.default_rng(0).random((1, size, size, channels), np.float32)
    compiled = compile(layer, x)

    def calls() -> None:
        for _ in range(50):
            compiled(x)

    return 50 * 2 * size**2 * 9 * channels**2 / best(calls) / 1e9


def main() -> None:
    md.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = compiled_library(Path(__file__).with_name("int8.c"), Path(folder))
        print("| terms | float32, 1e9/s | int8 | ratio |\n|---|---|---|---|")
        for terms in TERMS:
            floats, bytes_ = products(library, terms)
            print(f"| {terms} | {floats:.0f} | {bytes_:.0f} | {bytes_ / floats:.2f} |")
    print("\n| 3x3 convolution, batch 1 | float32 by Winograd, 1e9/s |\n|---|---|")
    for channels, size in WINOGRAD:
        print(f"| {channels} channels, {size}x{size} | {winograd(channels, size):.0f} |")


if __name__ == "__main__":
    main()
