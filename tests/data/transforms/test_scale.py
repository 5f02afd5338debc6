"""These tests compare scaling with Pillow, and random crops with their definition."""

import numpy as np
import pytest
from PIL import Image

from minidl.data import transforms as T
from minidl.data.transforms import scale
from tests.support.transforms import applied, draws_of, images_of

IMAGES = images_of(30, 13, 20, 3)


def by_pillow(image, size, box=None):
    """Scale with Pillow, channel by channel, in floats."""
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)).resize(
                    size[::-1], Image.Resampling.BILINEAR, box
                )
            )
            for c in range(image.shape[-1])
        ],
        axis=-1,
    )


@pytest.mark.parametrize("most", [1, 32 << 20])
@pytest.mark.parametrize("size", [(13, 20), (26, 40), (7, 9), (5, 33), (1, 1), (40, 3)])
def test_resize(monkeypatch, size, most):
    monkeypatch.setattr(scale, "MOST_BYTES", most)
    for dtype in (np.float32, np.float64):
        found, _ = applied(T.Resize(size), IMAGES.astype(dtype))
        assert found.shape == (30, *size, 3) and found.dtype == dtype
        for i in range(0, 30, 7):
            np.testing.assert_allclose(found[i], by_pillow(IMAGES[i], size), atol=2e-6)


@pytest.mark.parametrize("size, shape", [(13, (13, 20)), (26, (26, 40)), (5, (5, 7)), (1, (1, 1))])
def test_the_shorter_side(size, shape):
    assert T.Resize(size)(IMAGES).shape == (30, *shape, 3)
    upright = np.ascontiguousarray(IMAGES.transpose(0, 2, 1, 3))
    assert T.Resize(size)(upright).shape == (30, *shape[::-1], 3)


@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (0.2, 0.3), (5, 8)])
@pytest.mark.parametrize("share", [(0.08, 1.0), (0.5, 0.5), (0.9, 1.0)])
@pytest.mark.parametrize("size", [11, (5, 17)])
def test_random_resized_crop(ratio, share, size):
    crop = T.RandomResizedCrop(size, share, ratio)
    found, _ = applied(crop, IMAGES)
    tops, lefts, heights, widths = crop.parts(13, 20, draws_of(30))
    assert (tops >= 0).all() and (tops + heights <= 13).all() and (heights >= 1).all()
    assert (lefts >= 0).all() and (lefts + widths <= 20).all() and (widths >= 1).all()
    size = (size, size) if isinstance(size, int) else size
    for i in range(30):
        part = IMAGES[i, tops[i] : tops[i] + heights[i], lefts[i] : lefts[i] + widths[i]]
        np.testing.assert_allclose(found[i], by_pillow(part, size), atol=2e-6)


def test_areas_and_shapes_are_those_asked_for():
    crop = T.RandomResizedCrop(8, (0.1, 0.6), (0.5, 2))
    tops, lefts, heights, widths = crop.parts(300, 300, draws_of(3000))
    area, ratio = heights * widths / 90000, widths / heights
    assert 0.09 < area.min() < 0.12 and 0.55 < area.max() < 0.61
    assert 0.49 < ratio.min() < 0.55 and 1.8 < ratio.max() < 2.03
    assert abs(np.log(ratio).mean()) < 0.04 and abs(area.mean() - 0.35) < 0.02
    free = (tops + 0.5) / (301 - heights)
    assert abs(free.mean() - 0.5) < 0.03 and abs(np.corrcoef(tops, lefts)[0, 1]) < 0.1


@pytest.mark.parametrize(
    "shape, ratio, part",
    [((10, 100), (1, 1), (10, 10)), ((100, 10), (1, 1), (10, 10)), ((10, 100), (20, 30), (5, 100))],
)
def test_where_no_part_fits_it_is_the_middle(shape, ratio, part):
    crop = T.RandomResizedCrop(8, (0.9, 1.0), ratio)
    tops, lefts, heights, widths = crop.parts(*shape, draws_of(20))
    assert set(zip(heights.tolist(), widths.tolist(), strict=True)) == {part}
    assert set(tops.tolist()) == {(shape[0] - part[0]) // 2}
    assert set(lefts.tolist()) == {(shape[1] - part[1]) // 2}


def test_a_part_does_not_see_what_is_outside():
    images = np.zeros((1, 9, 9, 1), np.float32)
    images[0, 3:6, 3:6] = 1
    found = scale.resample(
        images, (6, 6), (np.array([3]), np.array([3])), (np.array([3]), np.array([3]))
    )
    assert np.allclose(found, 1)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: T.Resize(0), ValueError, "Resize: size"),
        (lambda: T.Resize(2.5), TypeError, "Resize"),
        (lambda: T.Resize((1, 2, 3)), ValueError, "Resize: size must be an int or a pair"),
        (lambda: T.RandomResizedCrop(0), ValueError, "RandomResizedCrop: size"),
        (lambda: T.RandomResizedCrop(8, (0, 1)), ValueError, "scale must be a number > 0"),
        (lambda: T.RandomResizedCrop(8, (0.5, 1.5)), ValueError, "scale"),
        (lambda: T.RandomResizedCrop(8, (0.5, 0.1)), ValueError, "scale must be a pair"),
        (lambda: T.RandomResizedCrop(8, 0.5), TypeError, "scale must be a pair"),
        (lambda: T.RandomResizedCrop(8, ratio=(1,)), ValueError, "ratio must be a pair"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_images_without_pixels():
    for transform in (T.Resize(3), T.RandomResizedCrop(3)):
        with pytest.raises(ValueError, match=f"{type(transform).__name__}: .* have no pixels"):
            transform(IMAGES[:, :0])
    assert T.Resize(3)(IMAGES[..., :0]).shape == (30, 3, 4, 0)


def test_sizes_beyond_memory():
    with pytest.raises(MemoryError):
        T.Resize((2**30, 2**30))(IMAGES)
