"""These tests decode single pictures: formats, modes, orientation, scaling, damage."""

import sys

import numpy as np
import pytest
from PIL import Image

from minidl.data.pictures import BrokenPicture, is_pillow, look, of_pillow, read
from tests.support.picture_files import smooth, write

COLOUR = smooth(20, 30)
GREY = smooth(20, 30, 1)


@pytest.mark.parametrize("ending", ["png", "bmp", "PNG", "gif", "webp", "jpg", "jpeg", "jfif"])
@pytest.mark.parametrize("picture", [COLOUR, GREY], ids=["colour", "grey"])
def test_formats(tmp_path, ending, picture):
    path = tmp_path / f"a.{ending}"
    lossless = ending.lower() in ("png", "bmp") or (ending == "gif" and picture is GREY)
    options = {"lossless": True} if ending == "webp" else {}
    write(path, picture, **options)
    found = read(str(path), None, 3)
    assert found.shape == (20, 30, 3) and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - np.broadcast_to(picture, found.shape))
    assert difference.mean() <= (0 if lossless or options else 12)
    assert look(str(path))[0] == (20, 30)


def test_first_picture_of_an_animation(tmp_path):
    first, second = (Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (10, 200))
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        assert (read(str(tmp_path / name), None, 1) == 10).all()


def one(tmp_path, picture, channels, name="a.png", **options):
    picture.save(tmp_path / name, **options)
    return read(str(tmp_path / name), None, channels)


def test_transparency_is_white(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0] = 200, 100, 50, 255
    pixels[1] = 200, 100, 50, 51  # an alpha of a fifth
    found = one(tmp_path, Image.fromarray(pixels), 3)
    assert (found[0] == [200, 100, 50]).all()
    assert np.abs(found[1].astype(int) - [244, 224, 214]).max() <= 1
    grey = np.zeros((2, 3, 2), np.uint8)
    grey[1] = 0, 255
    assert one(tmp_path, Image.fromarray(grey, "LA"), 1)[:, 0, 0].tolist() == [255, 0]


def test_a_transparent_colour_is_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert one(tmp_path, palette, 3).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert one(tmp_path, palette, 3, transparency=1).tolist() == [[[10, 20, 30], [255] * 3]]
    grey = Image.fromarray(np.array([[0, 9]], np.uint8))
    assert one(tmp_path, grey, 1, transparency=0).ravel().tolist() == [255, 9]


def test_16_bits_become_8(tmp_path):
    values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
    found = one(tmp_path, Image.fromarray(values), 1)
    assert found.ravel().tolist() == np.rint(values / 257).astype(int).ravel().tolist()
    assert one(tmp_path, Image.fromarray(values), 3).shape == (1, 7, 3)


def test_black_and_white_and_cmyk(tmp_path):
    assert one(tmp_path, Image.fromarray(np.array([[True, False]])), 1).ravel().tolist() == [255, 0]
    cmyk = Image.fromarray(COLOUR).convert("CMYK")
    found = one(tmp_path, cmyk, 3, "a.jpg", quality=100)
    assert np.abs(found.astype(int) - COLOUR).mean() < 12


def test_colour_as_grey_is_its_brightness(tmp_path):
    write(tmp_path / "a.png", COLOUR)
    expected = COLOUR @ [0.299, 0.587, 0.114]
    found = read(str(tmp_path / "a.png"), None, 1)[..., 0]
    assert np.abs(found - expected).max() <= 1


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_orientation(tmp_path, orientation, ending):
    """A picture that is stored as the camera held it is shown upright."""
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(
        path,
        np.ascontiguousarray(TURNED[orientation](COLOUR)),
        exif=exif,
        **({"quality": 100, "subsampling": 0} if ending == "jpg" else {}),
    )
    found = read(str(path), None, 3)
    assert found.shape == COLOUR.shape
    assert np.abs(found.astype(int) - COLOUR).max() <= (0 if ending == "png" else 8)
    assert look(str(path))[0] == (20, 30)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_orientation_that_is_none(tmp_path):
    for number, exif in enumerate((b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff")):
        path = tmp_path / f"{number}.jpg"
        write(path, COLOUR, exif=exif)
        assert read(str(path), None, 3).shape == (20, 30, 3)


# Scaling


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (24, 24), (5, 7)])
@pytest.mark.parametrize("size", [10, 24, (12, 18), (7, 40)])
def test_scaling(tmp_path, shape, size):
    """The result is that of Pillow's own steps, in the order that the documentation gives."""
    picture = smooth(*shape)
    write(tmp_path / "a.png", picture)
    found = read(str(tmp_path / "a.png"), size, 3)
    image, (height, width) = Image.fromarray(picture), shape
    if isinstance(size, tuple):
        expected = image.resize(size[::-1], Image.Resampling.BILINEAR)
    else:
        short = min(shape)
        image = image.resize(
            (int(width * size / short), int(height * size / short)), Image.Resampling.BILINEAR
        )
        left, top = round((image.width - size) / 2), round((image.height - size) / 2)
        expected = image.crop((left, top, left + size, top + size))
    assert np.array_equal(found, np.asarray(expected))


def test_a_line_of_pixels_does_not_become_larger_than_memory(tmp_path):
    Image.fromarray(np.tile(np.uint8([0, 255]), 100_000)[None]).save(tmp_path / "a.png")
    assert read(str(tmp_path / "a.png"), 256, 1).shape == (256, 256, 1)


# Whether a picture is grey


@pytest.mark.parametrize(
    "mode, grey",
    [
        ("1", True),
        ("L", True),
        ("LA", True),
        ("I;16", True),
        ("RGB", False),
        ("RGBA", False),
        ("P", False),
    ],
)
def test_grey_is_how_it_is_stored(tmp_path, mode, grey):
    picture = (
        Image.fromarray(np.zeros((4, 4), np.uint16))
        if mode == "I;16"
        else Image.fromarray(COLOUR).convert(mode)
    )
    picture.save(tmp_path / "a.png")
    assert look(str(tmp_path / "a.png"))[1] == grey


def test_a_palette_of_greys_is_grey(tmp_path):
    palette = Image.new("P", (2, 2))
    palette.putpalette([v for value in range(256) for v in (value,) * 3])
    palette.save(tmp_path / "a.png")
    assert look(str(tmp_path / "a.png"))[1]


# Pictures of Pillow's as items of a data set


def test_pictures_of_pillow():
    assert is_pillow(Image.new("L", (3, 2))) and not is_pillow(COLOUR)
    assert of_pillow(Image.fromarray(GREY[..., 0])).shape == (20, 30, 1)
    assert np.array_equal(of_pillow(Image.fromarray(COLOUR)), COLOUR)
    palette = Image.fromarray(COLOUR).quantize(200)
    assert np.abs(of_pillow(palette).astype(int) - COLOUR).mean() < 12


# Damage


def damaged(content):
    yield "empty", b""
    yield "text", b"not a picture, but the name says so"
    yield "cut in the header", content[:10]
    yield "cut", content[: len(content) // 2]
    yield "garbage", content[:60] + bytes(len(content) - 60)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp"])
def test_damage(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write(path, smooth(64, 64))
    for what, content in damaged(path.read_bytes()):
        if ending in ("gif", "bmp", "jpg", "webp") and what == "garbage":
            continue  # pixels of 0 are valid, too
        path.write_bytes(content)
        with pytest.raises(BrokenPicture) as info:
            read(str(path), None, 3)
        assert str(info.value) and str(path) not in str(info.value), what


def test_a_decompression_bomb(tmp_path, monkeypatch):
    write(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenPicture, match="bomb"):
        read(str(tmp_path / "a.png"), None, 3)


def test_errors_of_the_system_do_not_count_as_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none.png"), None, 3)


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'minidl\[images\]'"):
        read("a.png", None, 3)
