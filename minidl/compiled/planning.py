"""Makes plans of the kernels: decides where every array lies, what border it has, and which kernel
computes each layer, and packs the weights for that kernel.

A value that a convolution reads has a border of zeros as wide as the convolution needs. Arrays of
the arena share memory where their lifetimes do not overlap: the largest is placed first, each at
the lowest offset that is free during its lifetime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from .fusion import winograd_fits
from .layers import Layer, image_of
from .program import Known

Border = tuple[int, int, int, int]  # top, bottom, left, right
NO_BORDER = (0, 0, 0, 0)
ALIGNED = 16  # floats: a line of the cache
FEW_CHANNELS = 64  # of both sides together: units of tiles may be larger
UNITS = (24, 12)  # tiles of a unit, with few channels and with more
LEAST_SHARED = 8  # tiles for each thread that has units of its own
OWN_WEIGHTS = 512 * 1024  # bytes of transformed weights that each thread may read


@dataclasses.dataclass
class Array:
    """An array of images: its sizes and border, and where it lies in which memory."""

    height: int
    width: int
    channels: int
    border: Border = NO_BORDER
    place: int = 0  # 0 for the arena, else the number of an input or output of the plan
    offset: int = 0  # in floats
    first: int = 0  # the first and the last step that use it
    last: int = 0

    @property
    def row(self) -> int:
        return (self.border[2] + self.width + self.border[3]) * self.channels

    @property
    def image(self) -> int:
        return (self.border[0] + self.height + self.border[1]) * self.row

    def view(self, channel: int = 0) -> tuple[int, int, int, int, int]:
        at = self.offset + self.border[0] * self.row + self.border[2] * self.channels + channel
        return self.place, at, self.image, self.row, self.channels


class Planner:
    """Makes plans for layers. The values `given` come from outside of the plan, and the values
    `wanted` go there.

    `plan(group, threads, shared)` makes the plan for a size of groups; see `kernels.Plan`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        values: list[Known],
        given: list[int],
        wanted: list[int],
        exact: bool,
    ) -> None:
        self.values, self.given, self.wanted, self.exact = values, given, wanted, exact
        self.layers: list[Layer] = []
        self.count = len(values)  # copies of values have the numbers from here on
        self.images: dict[int, tuple[int, int, int]] = {}
        self.packed: dict[int, tuple[Any, Any]] = {}
        self.aliases: dict[int, int] = {}  # by the number of a view, the value whose memory it is
        self.borders: dict[int, Border] = {}
        self._arrange(layers)

    # ------------------------------------------------------------- what is where, for any group

    def image(self, number: int) -> tuple[int, int, int]:
        found = self.images.get(number) or image_of(self.values[number])
        assert found is not None
        return found

    def _new(self, image: tuple[int, int, int]) -> int:
        self.images[self.count] = image
        self.count += 1
        return self.count - 1

    def _arrange(self, layers: Sequence[Layer]) -> None:
        """Insert copies where a value cannot be read or written in place, and find the borders."""
        layers = [dataclasses.replace(layer) for layer in layers]
        for layer in layers:
            layer.kernel = self.kernel_of(layer) if layer.kind == "conv" else layer.kind
        made = {layer.y for layer in layers if layer.kind != "view"}
        readers: dict[int, int] = {}
        for layer in layers:
            for x in layer.reads():
                readers[x] = readers.get(x, 0) + 1
        bordered: dict[int, int] = {}  # copies with a border
        for layer in layers:
            if layer.kind == "view":
                self._view(layer, readers)
                continue
            border = self.border_of(layer)
            if border != NO_BORDER:
                if layer.x not in made:
                    if layer.x not in bordered:
                        bordered[layer.x] = self._new(self.image(layer.x))
                        self._copy(layer.x, bordered[layer.x])
                    layer.x = bordered[layer.x]
                before = self.borders.get(layer.x, NO_BORDER)
                self.borders[layer.x] = tuple(map(max, before, border))  # type: ignore[assignment]
            self.layers.append(layer)
        for k, number in enumerate(self.wanted):  # copied if it must be in the arena as well
            root = self.aliases.get(number, number)
            if (
                root in self.given
                or root in self.borders
                or readers.get(root)
                or number in self.wanted[:k]
                or root != number
            ):
                copy = self._new(self.image(number))
                self._copy(number, copy)
                self.wanted[k] = copy

    def _view(self, layer: Layer, readers: dict[int, int]) -> None:
        """Make a view another name for the memory of its value, or, where that cannot be because of
        a border, a copy without one."""
        root = self.aliases.get(layer.x, layer.x)
        if root in self.given or (readers[layer.x] == 1 and root not in self.borders):
            self.aliases[layer.y] = root
            return
        copy = self._new(self.image(layer.x))
        self._copy(layer.x, copy)
        self.aliases[layer.y] = copy

    def _copy(self, x: int, y: int) -> None:
        self.layers.append(Layer("map", x, y, kernel="map"))

    def border_of(self, layer: Layer) -> Border:
        """The border that a layer needs around what it reads."""
        if layer.kind != "conv":
            return NO_BORDER
        (top, _), (left, _) = layer.geometry["padding"]
        height, width, _ = self.image(layer.x)
        oh, ow = self.outputs(layer)
        if layer.kernel == "winograd":
            ends = 4 * (-(-oh // 4)) + 2, 4 * (-(-ow // 4)) + 2
        else:
            assert layer.weight is not None
            (sh, sw), (dh, dw) = layer.geometry["stride"], layer.geometry["dilation"]
            kh, kw = layer.weight.shape[:2]
            ends = (oh - 1) * sh + (kh - 1) * dh + 1, (ow - 1) * sw + (kw - 1) * dw + 1
        return top, max(0, ends[0] - top - height), left, max(0, ends[1] - left - width)

    def outputs(self, layer: Layer) -> tuple[int, int]:
        """The height and width of what a layer computes, before it pools."""
        height, width, _ = self.image(layer.y)
        return (2 * height, 2 * width) if layer.pools else (height, width)

    def kernel_of(self, layer: Layer) -> str:
        """Which kernel computes a convolution."""
        assert layer.weight is not None
        if layer.pools or (not self.exact and winograd_fits(layer, self.values)):
            return "winograd"
        channels = layer.weight.shape[3]
        own = layer.geometry["groups"] == channels == self.image(layer.x)[2]
        return "depthwise" if own and channels >= kernels.PLAN_VECTOR else "direct"

    def text(self, layer: Layer) -> str:
        """A layer in words: its kernel, its epilogue, and the images that it makes."""
        words = [layer.kind]
        if layer.kind == "conv":
            assert layer.weight is not None
            kh, kw = layer.weight.shape[:2]
            words = [f"conv {kh}x{kw} ({layer.kernel})"]
        elif layer.weight is not None:
            words.append("scale and shift")
        words += ["+ another"] * (layer.r is not None)
        words += ["max_pool 2x2"] * layer.pools
        words += [layer.activation[0]] if layer.activation else []
        sizes = self.image(layer.y)
        return f"{', '.join(words)} -> {sizes[0]}x{sizes[1]}x{self._channels(layer)}"

    # --------------------------------------------------------------------------- for one group

    def plan(self, group: int, threads: int, shared: bool) -> kernels.Plan:
        """The plan for groups of at most so many images. The threads share each group, or each has
        groups of its own."""
        arrays = self._arrays()
        steps, workspaces = [], []
        for k, layer in enumerate(self.layers):
            step: dict[str, Any] = {
                "kind": layer.kernel,
                "read": self.image(layer.x),
                "activation": layer.activation,
                "pools": layer.pools,
            }
            if layer.kind == "conv":
                self._convolution(layer, step)
            elif layer.kind != "map":
                step |= _windows(layer.geometry, layer.geometry["kernel"])
                step["counted"] = layer.geometry.get("counted", NO_BORDER)
            elif layer.weight is not None:
                shift = np.zeros_like(layer.weight) if layer.bias is None else layer.bias
                step["weights"], step["bias"] = self._floats(layer.weight), self._floats(shift)
            if layer.kernel == "winograd":
                workspaces.append(self._workspace(layer, step, k, group, threads, shared))
            steps.append(step)
        arena = _place(
            [a for a in arrays.values() if a.place == 0]
            + [workspace for workspace, _ in workspaces],
            group,
        )
        for workspace, step in workspaces:
            unit, size = step["unit"][0], step["unit"][2]
            step["unit"] = unit, workspace.offset, size
        for layer, step in zip(self.layers, steps, strict=True):
            y = arrays[self._root(layer.y)]
            step["x"] = self._view_of(layer.x, arrays)
            step["y"] = y.view(layer.channel)
            step["r"] = None if layer.r is None else self._view_of(layer.r, arrays)
            # The first layer of a concatenation writes the border for all of them.
            step["border"] = y.border if layer.channel == 0 else NO_BORDER
            step["written"] = (*self.image(layer.y)[:2], self._channels(layer))
        sizes = [self.image(n) for n in (*self.given, *self.wanted)]
        return kernels.Plan(steps, [h * w * c for h, w, c in sizes], arena, group, shared, threads)

    def _root(self, number: int) -> int:
        return self.aliases.get(number, number)

    def _channels(self, layer: Layer) -> int:
        """The number of channels that a layer writes, which may be a part of its array's."""
        if layer.kind == "conv":
            assert layer.weight is not None
            return int(layer.weight.shape[3])
        return self.image(layer.x)[2]

    def _view_of(self, number: int, arrays: dict[int, Array]) -> tuple[int, ...]:
        """How a value is read. A view has sizes of its own in the memory of another value."""
        array = arrays[self._root(number)]
        if self._root(number) != number:
            height, width, channels = self.image(number)
            array = dataclasses.replace(array, height=height, width=width, channels=channels)
        return array.view()

    def _arrays(self) -> dict[int, Array]:
        """The arrays of all values, each with the first and the last step that use it."""
        arrays: dict[int, Array] = {}
        for k, number in enumerate((*self.given, *self.wanted)):
            arrays[number] = Array(*self.image(number), place=k + 1)
        for k, layer in enumerate(self.layers):
            for number in (layer.y, *layer.reads()):
                root = self._root(number)
                if root not in arrays:
                    arrays[root] = Array(
                        *self.image(root), self.borders.get(root, NO_BORDER), first=k
                    )
                arrays[root].last = k
        return arrays

    def _convolution(self, layer: Layer, step: dict[str, Any]) -> None:
        assert layer.weight is not None
        geometry, key = layer.geometry, id(layer)
        if key not in self.packed:
            weight = self._floats(layer.weight)
            bias = None if layer.bias is None else self._floats(layer.bias)
            if layer.kernel == "winograd":
                self.packed[key] = kernels.winograd_weights(weight), bias
            elif layer.kernel == "depthwise":
                self.packed[key] = weight, bias
            else:
                self.packed[key] = (
                    _panels(weight, geometry["groups"]),
                    None if bias is None else _panels(bias[None, None, None], geometry["groups"]),
                )
        step["weights"], step["bias"] = self.packed[key]
        step |= _windows(geometry, layer.weight.shape[:2])
        step["groups"] = geometry["groups"]

    def _workspace(
        self, layer: Layer, step: dict[str, Any], k: int, group: int, threads: int, shared: bool
    ) -> tuple[Array, dict[str, Any]]:
        """The workspace of a layer that Winograd's kernels compute: memory for its tiles."""
        assert layer.weight is not None
        ci, co = layer.weight.shape[2:]
        oh, ow = self.outputs(layer)
        tiles = group * -(-oh // 4) * -(-ow // 4)
        wide = -(-co // kernels.PLAN_VECTOR) * kernels.PLAN_VECTOR
        unit = min(UNITS[0] if ci + co <= FEW_CHANNELS else UNITS[1], tiles)
        bytes_of_weights = 4 * kernels.PLAN_FREQUENCIES * ci * co
        if shared:  # each thread gets the same number of units
            unit = -(-tiles // (threads * -(-tiles // (threads * unit))))
        if shared and (tiles < LEAST_SHARED * threads or bytes_of_weights > OWN_WEIGHTS):
            unit = 0  # all threads share one unit
        of_frequency = (unit or tiles) * (ci + wide) + 2 * kernels.PLAN_GAP
        size = kernels.PLAN_FREQUENCIES * of_frequency
        size = -(-size // ALIGNED) * ALIGNED
        step["unit"] = unit, 0, size
        floats = size * (threads if shared and unit else 1)
        # One workspace serves a group of images: place -1 says so to the allocator.
        return Array(1, 1, floats, first=k, last=k, place=-1), step

    @staticmethod
    def _floats(array: Any) -> np.ndarray:
        return np.ascontiguousarray(array, np.float32)


def _windows(geometry: dict[str, Any], kernel: tuple[int, ...]) -> dict[str, Any]:
    """The entries of a step that describe its windows."""
    (top, _), (left, _) = geometry["padding"]
    return {
        "kernel": kernel,
        "stride": geometry["stride"],
        "dilation": geometry["dilation"],
        "start": (top, left),
    }


def _place(arrays: list[Array], group: int) -> int:
    """Give arrays their offsets. Returns the floats of the arena. An array has memory for each of
    the images of a group, one with place -1 for all of them together."""
    placed: list[tuple[Array, int]] = []
    sizes = {
        id(a): -(-(a.image * (1 if a.place < 0 else group)) // ALIGNED) * ALIGNED for a in arrays
    }
    for array in sorted(arrays, key=lambda a: -sizes[id(a)]):
        at = 0
        for other, size in sorted(placed, key=lambda item: item[0].offset):
            if (
                other.first <= array.last
                and array.first <= other.last
                and at < other.offset + size
                and other.offset < at + sizes[id(array)]
            ):
                at = other.offset + size
        array.offset = at
        placed.append((array, sizes[id(array)]))
    return max([a.offset + size for a, size in placed], default=0)


def _panels(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights (KH, KW, C_in, C_out) as [group][panel][tap and input channel][two vectors]. The last
    panel of a group is filled up with zeros."""
    kh, kw, ci, co = weight.shape
    own, width = co // groups, 2 * kernels.PLAN_VECTOR
    panels = -(-own // width)
    packed = np.zeros((groups, panels * width, kh * kw * ci), np.float32)
    packed[:, :own] = weight.reshape(-1, co).T.reshape(groups, own, -1)
    return np.ascontiguousarray(packed.reshape(groups, panels, width, -1).swapaxes(2, 3))
