"""These tests check that bytes are converted to floats exactly, in arrays of any shape."""

import numpy as np
import pytest

from minidl.kernels.reference.data import convert as twin
from minidl_ext.data import convert as native
from tests.support.kernels import KINDS, SIZES, checks_out, identical, refuses, same_bits, strided


def pixels(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def test_every_byte_is_rounded_once():
    x = np.arange(256, dtype=np.uint8)
    identical(native.to_float(x), (x.astype(np.float64) / 255).astype(np.float32))


@pytest.mark.parametrize(
    "shape",
    [
        *((size,) for size in SIZES),
        (),
        (3, 0, 2),
        (5, 28, 28, 1),
        (2, 3, 4, 5, 6),
        (65_535,),
        (65_537,),
        (200_001,),
    ],
)
def test_any_shape_gives_the_results_of_the_twin(shape):
    identical(native.to_float(pixels(*shape)), np.asarray(twin.to_float(pixels(*shape))))


def test_any_number_of_threads_gives_the_same_bits():
    same_bits(native.to_float, {"x": pixels(7, 70_001)})


def test_a_byte_has_no_alignment():
    x = pixels(1001)
    identical(native.to_float(x[1:]), twin.to_float(x[1:]))


def test_out_is_filled_and_bad_arrays_are_refused():
    case = {"x": pixels(6, 7)}
    refuses(
        native.to_float,
        case,
        "x",
        KINDS
        | {
            "strided": strided,
            "int8": lambda a: a.astype(np.int8),
            "bool": lambda a: a > 3,
            "float32": lambda a: a.astype(np.float32),
        },
    )
    checks_out(native.to_float, case)
