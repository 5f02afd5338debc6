"""These tests check means of whole images: beside the twin, to the last digits for large images,
and with bad arrays.
"""

import numpy as np
import pytest

from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    RANKS,
    close,
    eps,
    identical,
    kernels_of,
    refuses,
    same_bits,
    values,
)

native, twin = kernels_of("pool.")


@FLOATS
@pytest.mark.parametrize(
    "shape",
    (
        (3, 7, 5, 33),
        (4, 9),
        (2, 3, 1),
        (1, 1, 1, 1),
        (2, 3, 2, 2, 7),
        (0, 3, 3, 2),
        (3, 4, 4, 0),
        (70, 8, 8, 64),
    ),
)
def test_global_avg_pool(shape, dtype):
    x, dy = values(*shape, dtype=dtype), values(shape[0], shape[-1], dtype=dtype)
    got = native.global_avg_pool(x)
    assert got.dtype == dtype
    close(got, twin.global_avg_pool(x), 8 * eps(dtype))
    identical(native.global_avg_pool_backward(dy, shape), twin.global_avg_pool_backward(dy, shape))


@pytest.mark.parametrize("size", (28, 112, 512))
def test_global_avg_pool_of_a_large_image_loses_no_digits(size):
    x = np.full((1, size, size, 3), 0.1, np.float32)
    x[..., 1] = values(size, size) + np.float32(10)
    close(native.global_avg_pool(x), x.mean(axis=(1, 2), dtype=np.float64), 1e-6)


def test_any_number_of_threads_gives_the_same_bits_for_whole_images():
    shape = (9, 30, 31, 17)
    same_bits(native.global_avg_pool, {"x": values(*shape)})
    same_bits(native.global_avg_pool_backward, {"dy": values(9, 17), "input_shape": shape})


def test_bad_arrays_of_whole_images():
    refuses(native.global_avg_pool, {"x": values(2, 3, 4)}, "x", LAYOUTS | KINDS)
    refuses(native.global_avg_pool, {"x": values(2)}, "x", {"one axis": lambda a: a})
    refuses(
        native.global_avg_pool_backward,
        {"dy": values(2, 4), "input_shape": (2, 3, 4)},
        "dy",
        LAYOUTS | KINDS | RANKS,
    )
    for shape in (
        (2, 3, 5),
        (3, 3, 4),
        (2,),
        (),
        (2, -3, 4),
        (2, 3.5, 4),
        None,
        2,
        (2, "a", 4),
        (2,) * 70 + (4,),
    ):
        with pytest.raises((TypeError, ValueError)):
            native.global_avg_pool_backward(values(2, 4), shape)
