"""These tests compare crops, flips, shifts and turns with plain formulas, image by image."""

import numpy as np
import pytest

from minidl.data import transforms as T
from tests.support.errors import refuses
from tests.support.processes import in_bounded_memory
from tests.support.transforms import applied, draws_of, images_of

PAD = {"reflect": {}, "constant": {"constant_values": 0.25}, "edge": {}}
LARGE = images_of(40, 9, 12, 3)


def padded(images, down, right, mode):
    return np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), mode, **PAD[mode])


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize(
    "size, padding", [(8, 0), (9, 3), ((5, 12), (2, 0)), ((9, 12), (0, 4)), (1, 0), ((11, 14), 2)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_crop(mode, size, padding, dtype):
    images = LARGE.astype(dtype)
    crop = T.RandomCrop(size, padding, mode, 0.25)
    found, labels = applied(crop, images)
    assert labels is None and found.dtype == dtype
    height, width = (size, size) if isinstance(size, int) else size
    down, right = (padding, padding) if isinstance(padding, int) else padding
    places = 9 + 2 * down - height + 1, 12 + 2 * right - width + 1
    tops, lefts = (draws_of(40).uniform(2) * places).astype(int).T
    whole = padded(images, down, right, mode)
    for i in range(40):
        expected = whole[i, tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        assert np.array_equal(found[i], expected)
    assert tops.max() == places[0] - 1 and lefts.max() == places[1] - 1  # every position occurs


def test_random_flip():
    for p in (0, 0.3, 0.5, 1):
        found, _ = applied(T.RandomFlip(p), LARGE)
        flips = draws_of(40).uniform(1)[:, 0] < p
        assert 0 < flips.sum() < 40 or p in (0, 1)
        for i in range(40):
            assert np.array_equal(found[i], LARGE[i, :, ::-1] if flips[i] else LARGE[i])


def test_alternating_flips():
    def flipped(epoch):
        found, _ = applied(T.RandomFlip(alternate=True), LARGE, epoch=epoch)
        return np.array([not np.array_equal(a, b) for a, b in zip(found, LARGE, strict=True)])

    first = flipped(0)
    assert 8 < first.sum() < 32
    for epoch in range(1, 6):
        assert (flipped(epoch) == (first if epoch % 2 == 0 else ~first)).all()


@pytest.mark.parametrize("size", [1, 4, 5, (2, 7), 30])
def test_cutout(size):
    found, _ = applied(T.Cutout(size, value=-1), LARGE)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = (draws_of(40).uniform(2) * (9, 12)).astype(int).T
    for i in range(40):
        expected = LARGE[i].copy()
        for a in range(rows[i] - height // 2, rows[i] - height // 2 + height):
            for b in range(columns[i] - width // 2, columns[i] - width // 2 + width):
                if 0 <= a < 9 and 0 <= b < 12:
                    expected[a, b] = -1
        assert np.array_equal(found[i], expected)


def test_cutout_of_some():
    found, _ = applied(T.Cutout(3, p=0.5), LARGE)
    cut = [not np.array_equal(a, b) for a, b in zip(found, LARGE, strict=True)]
    assert cut == (draws_of(40).uniform(3)[:, 2] < 0.5).tolist() and 8 < sum(cut) < 32


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize(
    "amount, down, right", [(2, 2, 2), ((0, 3), 0, 3), (0.25, 2, 3), ((1, 0.1), 1, 1), (0, 0, 0)]
)
def test_random_translate(mode, amount, down, right):
    found, _ = applied(T.RandomTranslate(amount, mode, 0.25), LARGE)
    tops, lefts = (draws_of(40).uniform(2) * (2 * down + 1, 2 * right + 1)).astype(int).T
    whole = padded(LARGE, down, right, mode)
    for i in range(40):
        assert np.array_equal(found[i], whole[i, tops[i] : tops[i] + 9, lefts[i] : lefts[i] + 12])
    assert {0, 2 * down} <= set(tops.tolist()) and {0, 2 * right} <= set(lefts.tolist())


@pytest.mark.parametrize("size", [9, (9, 12), 1, (4, 7), (3, 8)])
def test_center_crop(size):
    found, _ = applied(T.CenterCrop(size), LARGE)
    height, width = (size, size) if isinstance(size, int) else size
    top, left = round((9 - height) / 2), round((12 - width) / 2)
    assert np.array_equal(found, LARGE[:, top : top + height, left : left + width])


# Turning


@pytest.mark.parametrize(
    "degrees, turns", [(0, 0), (90, 1), (180, 2), (-90, 3), (270, 3), (360, 0)]
)
def test_right_angles(degrees, turns):
    square = images_of(5, 8, 8, 2)
    found, _ = applied(T.RandomRotation((degrees, degrees)), square)
    np.testing.assert_allclose(found, np.rot90(square, turns, axes=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("mode", PAD)
def test_any_angle_is_bilinear(mode):
    found, _ = applied(T.RandomRotation(40, mode, 0.25), LARGE)
    angles = np.deg2rad(-40 + 80 * draws_of(40).uniform(1)[:, 0])
    assert angles.min() < -0.5 and angles.max() > 0.5
    margin = 12
    whole = padded(LARGE, 8, margin - 1, mode).astype(float)
    for i in range(40):
        cos, sin = np.cos(angles[i]), np.sin(angles[i])
        for a in range(0, 9, 2):
            for b in range(0, 12, 3):
                y, x = a - 4, b - 5.5
                row, column = 4 + cos * y + sin * x, 5.5 - sin * y + cos * x
                r, c = int(np.floor(row)), int(np.floor(column))
                expected = 0
                for dr, dc in np.ndindex(2, 2):
                    weight = (1 - abs(row - r - dr)) * (1 - abs(column - c - dc))
                    expected = expected + weight * whole[i, r + dr + 8, c + dc + margin - 1]
                np.testing.assert_allclose(found[i, a, b], expected, atol=1e-5)


def test_a_picture_turned_and_turned_back():
    i, j = np.mgrid[:41, :41] - 20
    blob = np.exp(-((i - 6) ** 2 + (j + 4) ** 2) / 30)[None, :, :, None].astype(np.float32)
    there, _ = applied(T.RandomRotation((30, 30)), blob)
    back, _ = applied(T.RandomRotation((-30, -30)), there)
    assert np.abs(back - blob).max() < 0.05 < np.abs(there - blob).max()


def test_the_angle_counts_counter_clockwise():
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 18] = 1  # on the right
    found, _ = applied(T.RandomRotation((30, 30)), image)
    assert found[0, 6, 16:18].sum() > 0.5  # above the middle


# What does not fit


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: T.RandomCrop(0),
            ValueError,
            "RandomCrop: size must be an int or a pair of ints >= 1",
        ),
        (lambda: T.RandomCrop("a"), TypeError, "RandomCrop: size"),
        (lambda: T.RandomCrop(3, -1), ValueError, "RandomCrop: padding"),
        (
            lambda: T.RandomCrop(3, 2**31 - 1),
            ValueError,
            "RandomCrop: padding .* from 0 to 1073741824",
        ),
        (
            lambda: T.RandomCrop(3, mode="wrap"),
            ValueError,
            'mode must be "reflect", "constant" or "edge"',
        ),
        (lambda: T.RandomCrop(3, value="a"), TypeError, "RandomCrop: value"),
        (lambda: T.RandomCrop(3, pad=2), TypeError, "unexpected keyword argument 'pad'"),
        (lambda: T.RandomFlip(1.5), ValueError, "RandomFlip: p must be a number from 0 to 1"),
        (
            lambda: T.RandomFlip(0.3, alternate=True),
            ValueError,
            "p must be 0.5 with alternate=True",
        ),
        (lambda: T.RandomFlip(alternate="x"), TypeError, "alternate"),
        (lambda: T.Cutout(0), ValueError, "Cutout: size"),
        (lambda: T.Cutout(2, p=-1), ValueError, "p"),
        (lambda: T.Cutout(2, float("inf")), ValueError, "Cutout: value must be a finite number"),
        (
            lambda: T.RandomTranslate(1.5),
            ValueError,
            "RandomTranslate: amount must be a number >= 0",
        ),
        (lambda: T.RandomTranslate(-1), ValueError, "RandomTranslate: amount must be an int"),
        (lambda: T.RandomTranslate((1, 2, 3)), ValueError, "a number or a pair"),
        (lambda: T.RandomRotation(-3), ValueError, "RandomRotation: degrees"),
        (lambda: T.RandomRotation(1e308), ValueError, "degrees must be a number from 0 to 360"),
        (
            lambda: T.RandomRotation((-1e308, 9)),
            ValueError,
            "degrees must be a number from -360 to 36",
        ),
        (lambda: T.RandomRotation((3, 1)), ValueError, "a pair \\(least, most\\)"),
        (lambda: T.RandomRotation((3,)), ValueError, "a pair \\(least, most\\)"),
        (lambda: T.CenterCrop(-1), ValueError, "CenterCrop: size"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "transform, message",
    [
        (T.RandomCrop(10), "size must not be larger than images of 9 x 12"),
        (T.RandomCrop(9, 9), "padding must be smaller than the height of the images, 9, got 9"),
        (T.RandomCrop(9, (0, 12)), "padding must be smaller than the width of the images, 12"),
        (
            T.RandomTranslate(9, "reflect"),
            "amount must be smaller than the height of the images, 9, got 9",
        ),
        (T.CenterCrop(10), "size must not be larger than images of 9 x 12, got 10 x 10"),
    ],
)
def test_images_that_do_not_fit(transform, message):
    with pytest.raises(ValueError, match=message):
        transform(LARGE)
    assert applied(T.RandomCrop(9, (8, 11)), LARGE)[0].shape == (40, 9, 9, 3)


@pytest.mark.parametrize(
    "transform",
    [
        T.RandomCrop(1, 2, mode="constant"),
        T.RandomFlip(),
        T.Cutout(2),
        T.RandomTranslate(0.5),
        T.RandomRotation(15),
        T.CenterCrop(1),
        T.RandomResizedCrop(2),
        T.Resize(2),
        T.Normalize(0, 1),
        T.ColorJitter(0.1),
    ],
    ids=lambda transform: type(transform).__name__,
)
@pytest.mark.parametrize("shape", [(1, 2**30 + 1, 0, 3), (1, 0, 2**40, 3)], ids=["high", "wide"])
def test_sides_of_more_pixels_than_places_have_bits_are_refused_by_name(transform, shape):
    with refuses(ValueError, f"{type(transform).__name__}: images must have sides of at most"):
        transform(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "transform",
    [T.RandomTranslate(0.999), T.RandomTranslate(2**31 - 1), T.RandomRotation(180)],
    ids=repr,
)
def test_the_longest_sides_are_not_beyond_what_kernels_take(transform):
    images = np.zeros((2, 2**30, 0, 3), np.float32)  # an array that takes no memory
    assert transform(images, np.random.default_rng(0)).shape == images.shape
    with refuses(ValueError, "RandomCrop: images of the shape", "have no pixels"):
        T.RandomCrop(1, 2**30, mode="constant")(images)


def test_places_of_a_million_small_images_take_no_more_memory_than_arrays_of_them():
    in_bounded_memory(
        """
from minidl.data import transforms as T
images = np.zeros((2**20, 1, 1, 1), np.float32)
assert T.Cutout(1, value=1)(images).all()
assert T.Cutout(1)(images[:, :0]).shape == (2**20, 0, 1, 1)
""",
        megabytes=180,
    )
