"""This module makes random valid arguments of the kernels of pictures."""

from typing import Any

Args = dict[str, Any]


def _to_float(k: Any) -> Args:
    return {"x": k.draw.array(k.shape(k.draw.integer(0, 4)), "uint8", low=0, high=255)}


def _crop(k: Any) -> Args:
    shape, size, mode = _pictures(k)
    starts = [k.draw.array([shape[0]], "int64", low=-20, high=20) for _ in range(2)]
    flips = k.draw.array([shape[0]], "uint8", low=0, high=1)
    return {
        "x": k.array(shape),
        "size": size,
        "tops": starts[0],
        "lefts": starts[1],
        "flips": flips,
        **mode,
    }


def _warp(k: Any) -> Args:
    shape, size, mode = _pictures(k)
    maps = k.draw.array([shape[0], 6], "float64", values="normal")
    return {"x": k.array(shape), "size": size, "maps": maps, **mode}


def _blend(k: Any) -> Args:
    n, r, h, line = k.shape(4, least=1)
    size, taps = k.draw.pick(1, 3, 8, 31), k.draw.integer(1, h)
    tables = [k.draw.pick(1, n), size]
    return {
        "x": k.array([n, r, h, line]),
        "weights": k.array([*tables, taps]),
        "starts": k.draw.array(tables, "int64", low=0, high=h - taps),
    }


def _pictures(k: Any) -> tuple[list[int], Any, Args]:
    """Return shapes of pictures, the size of a crop, and the options for what lies outside of a
    picture.
    """
    shape = k.shape(4, least=1)
    size = {"tuple": [k.draw.pick(1, 2, 5, 16, 33), k.draw.pick(1, 3, 8, 31)]}
    return shape, size, k.maybe(0.7, mode=k.draw.pick("constant", "reflect", "edge"), value=0.25)


PICTURES: dict[str, Any] = {"to_float": _to_float, "crop": _crop, "warp": _warp, "blend": _blend}
