"""These tests check crops and warps of pictures: native beside the twin, and both beside NumPy's
own padding.
"""

import numpy as np
import pytest

from minidl.kernels.reference.data import picture as twin
from minidl_ext.data import picture as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    checks_out,
    identical,
    line,
    refuses,
    same_bits,
    values,
)

MODES = ("constant", "reflect", "edge")
SHAPES = (
    (3, 5, 7, 3),
    (1, 1, 1, 1),
    (4, 1, 6, 2),
    (2, 6, 1, 16),
    (5, 32, 32, 3),
    (2, 9, 8, 17),
    (0, 4, 4, 3),
    (3, 4, 4, 0),
    (3, 0, 2, 0),
    (2, 5, 0, 0),
)


def crops(n, h, w, c, size, reach, dtype=np.float32):
    rng = np.random.default_rng((n, h, w, c, *size))
    return line(
        x=values(n, h, w, c, dtype=dtype),
        size=size,
        tops=rng.integers(-reach, h + reach - size[0] + 1, n)
        if h + 2 * reach > size[0]
        else np.full(n, -reach),
        lefts=rng.integers(-reach, reach + 1, n),
        flips=rng.integers(0, 2, n).astype(np.uint8),
    )


@FLOATS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (12, 3), (40, 40), (0, 3), (3, 0)], ids=str)
def test_crop_is_the_twin(dtype, mode, shape, size):
    for reach in (0, 3, 50):
        case = crops(*shape, size, reach, dtype)
        identical(
            native.crop(**case, mode=mode, value=0.25), twin.crop(**case, mode=mode, value=0.25)
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("module", [native, twin])
def test_crop_is_a_part_of_what_numpy_pads(module, mode):
    case = crops(6, 5, 7, 3, (4, 6), 3)
    padded = np.pad(case["x"], ((0, 0), (20, 20), (20, 20), (0, 0)), mode)
    y = module.crop(**case, mode=mode)
    for n in range(6):
        top, left = case["tops"][n] + 20, case["lefts"][n] + 20
        expected = padded[n, top : top + 4, left : left + 6]
        identical(y[n], np.ascontiguousarray(expected[:, ::-1] if case["flips"][n] else expected))


def maps(n, h, w, seed=0):
    rng = np.random.default_rng((n, h, w, seed))
    m = rng.standard_normal((n, 6))
    m[:, [2, 5]] *= h + w
    return m


@FLOATS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (12, 3), (0, 3)], ids=str)
def test_warp_is_the_twin(dtype, mode, shape, size):
    case = line(x=values(*shape, dtype=dtype), size=size, maps=maps(*shape[:3]))
    identical(native.warp(**case, mode=mode, value=0.25), twin.warp(**case, mode=mode, value=0.25))


@pytest.mark.parametrize("module", [native, twin])
def test_warp_between_pixels(module):
    x = np.float64([[0, 1, 2], [10, 11, 12]]).reshape(1, 2, 3, 1)
    still = np.float64([[1, 0, 0, 0, 1, 0]])
    identical(module.warp(x, (2, 3), still), x)
    halves = np.float64([[1, 0, 0.5, 0, 1, 0.25]])
    assert module.warp(x, (1, 2), halves).ravel().tolist() == [5.25, 6.25]
    turned = np.float64([[0, 1, 0, 1, 0, 0]])
    assert module.warp(x, (3, 2), turned)[0, ..., 0].tolist() == [[0, 10], [1, 11], [2, 12]]
    outside = np.float64([[1, 0, -0.5, 0, 1, 0]])
    assert module.warp(x, (1, 1), outside, "constant", 8.0).item() == 4
    assert module.warp(x, (1, 1), outside, "edge").item() == 0
    assert module.warp(x, (1, 1), outside, "reflect").item() == 5


def blends(n, r, h, length, size, taps, tables=None, dtype=np.float32):
    rng = np.random.default_rng((n, r, h, length, size, taps))
    tables = n if tables is None else tables
    return line(
        x=values(n, r, h, length, dtype=dtype),
        starts=rng.integers(0, h - taps + 1, (tables, size)),
        weights=values(tables, size, taps, dtype=dtype, seed=1),
    )


BLENDS = (
    (3, 1, 7, 24, 5, 3),
    (3, 5, 7, 3, 9, 4),
    (2, 4, 1, 1, 3, 1),
    (2, 3, 6, 16, 4, 6),
    (4, 2, 9, 17, 1, 2),
    (0, 3, 4, 3, 2, 1),
    (2, 3, 4, 0, 2, 1),
    (2, 3, 4, 5, 0, 2),
)


@FLOATS
@pytest.mark.parametrize("shape", BLENDS, ids=str)
@pytest.mark.parametrize("tables", [1, None], ids=["one for all", "each its own"])
def test_blend_is_the_twin(dtype, shape, tables):
    case = blends(*shape, tables, dtype)
    identical(native.blend(**case), twin.blend(**case))


@pytest.mark.parametrize("module", [native, twin])
def test_blend_is_its_formula(module):
    """The formula is y[n, r, i, l] = sum over k of weights[n, i, k] x[n, r, starts[n, i] + k,
    l].
    """
    case = blends(2, 3, 6, 5, 4, 3, dtype=np.float64)
    y = module.blend(**case)
    assert y.shape == (2, 3, 4, 5)
    for n, r, i, m in np.ndindex(*y.shape):
        first = case["starts"][n, i]
        expected = case["weights"][n, i] @ case["x"][n, r, first : first + 3, m]
        np.testing.assert_allclose(y[n, r, i, m], expected, rtol=1e-12)


@FLOATS
@pytest.mark.parametrize("length", [1, 3, 5, 24])
@pytest.mark.parametrize("module", [native, twin])
def test_lines_at_the_ends_without_weight_are_not_read(module, length, dtype):
    x = values(1, 2, 6, length, dtype=dtype)
    starts = np.array([[0, 1, 2, 3]])
    weights = np.array([[[0, 0, 2], [1, 0, 0], [0, 0, 0], [0, 3, 0]]], dtype)
    for spoiled, hit in (
        (2, [True, False, False, False]),
        (1, [False, True, False, False]),
        (4, [False, False, False, True]),
        (0, [False] * 4),
        (5, [False] * 4),
    ):
        bad = x.copy()
        bad[0, 1, spoiled] = np.nan
        y = module.blend(bad, starts, weights)
        np.testing.assert_array_equal(np.isnan(y[0, 1]).all(axis=1), hit)
        np.testing.assert_array_equal(np.isnan(y).any(axis=(0, 1, 3)), hit)
    y = module.blend(x, starts, weights)
    identical(y, np.stack([2 * x[:, :, 2], x[:, :, 1], 0 * x[:, :, 0], 3 * x[:, :, 4]], 2))


def test_blends_that_are_refused():
    case = blends(4, 2, 6, 5, 3, 2)
    refuses(native.blend, case, "x", KINDS | {"axis less": lambda a: a[0]})
    refuses(
        native.blend,
        case,
        "starts",
        {
            "int32": lambda a: a.astype(np.int32),
            "negative": lambda a: a - 6,
            "beyond": lambda a: a + 5,
            "far": lambda a: np.full_like(a, 2**62),
            "other images": lambda a: a[1:],
            "longer": lambda a: a.repeat(2, axis=1),
        },
    )
    refuses(
        native.blend,
        case,
        "weights",
        {
            "float64": lambda a: a.astype(np.float64),
            "no weights": lambda a: a[..., :0],
            "more than lines": lambda a: a.repeat(4, axis=2),
            "axis less": lambda a: a[0],
        },
    )
    checks_out(native.blend, case)


def test_any_number_of_threads_gives_the_same_bits():
    same_bits(native.blend, blends(9, 40, 40, 3, 60, 4))
    same_bits(native.crop, crops(9, 40, 40, 3, (60, 60), 12))
    same_bits(native.warp, line(x=values(9, 40, 40, 3), size=(60, 60), maps=maps(9, 40, 40)))


CROP = crops(9, 5, 6, 3, (5, 6), 2)
WARP = line(x=values(4, 5, 6, 3), size=(5, 6), maps=maps(4, 5, 6))
OTHERS = {kind: spoil for kind, spoil in KINDS.items() if kind not in ("int32",)}


def test_arrays_that_are_refused():
    for kernel, case in ((native.crop, CROP), (native.warp, WARP)):
        refuses(
            kernel,
            case,
            "x",
            KINDS | {"axis less": lambda a: a[0], "no pixels": lambda a: a[:, :0]},
        )
        checks_out(kernel, case)
    for name in ("tops", "lefts"):
        refuses(
            native.crop,
            CROP,
            name,
            KINDS
            | {
                "shorter": lambda a: a[1:],
                "far": lambda a: a + 2**31,
                "very far": lambda a: np.full_like(a, -(2**63)),
            },
        )
    refuses(
        native.crop,
        CROP,
        "flips",
        KINDS | {"bool": lambda a: a > 0, "longer": lambda a: a.repeat(2)},
    )
    refuses(
        native.warp,
        WARP,
        "maps",
        OTHERS
        | {
            "float32": lambda a: a.astype(np.float32),
            "shorter": lambda a: a[1:],
            "narrower": lambda a: np.ascontiguousarray(a[:, :5]),
            "nan": lambda a: a * np.nan,
            "infinite": lambda a: a + np.inf,
            "far": lambda a: a * 1e12,
        },
    )


@pytest.mark.parametrize(
    "options", [{"mode": "wrap"}, {"mode": None}, {"size": (1, 2, 3)}, {"size": (-1, 2)}]
)
def test_options_that_are_refused(options):
    for kernel, case in ((native.crop, CROP), (native.warp, WARP)):
        with pytest.raises((TypeError, ValueError), match=kernel.__name__):
            kernel(**{**case, **options})
