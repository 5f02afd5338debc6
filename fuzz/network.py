"""This module makes a model from a list of layers. Each takes the output of the one before it, and
is left out where it does not fit.
"""

from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from . import kernel_curves
from .draw import Draw

# ReLU three times, since most networks have it.
ACTIVATIONS = ("relu", "relu", "relu", *kernel_curves.ACTIVATIONS, "softmax", "log_softmax")
MANY = 40_000  # the largest number of values in a layer's output


def random_layers(draw: Draw) -> list[dict[str, Any]]:
    """Return a list of layers: typical blocks of networks, and any layers in between."""
    layers: list[dict[str, Any]] = []
    for _ in range(draw.integer(1, 6)):
        kind = draw.pick("block", "block", "block", "any", "any", "residual", "separable")
        if kind == "any":
            layers.append(_any(draw))
        elif kind == "block":
            layers += _block(draw)
        elif kind == "residual":
            layers += [{"op": "keep"}, *_block(draw, same=True), {"op": "add"}]
            layers += [{"op": "relu"}] if draw.chance(0.7) else []
        else:
            layers += [
                {"op": "conv", "kernel": 3, "groups": "all", "bias": False},
                _norm(draw),
                {"op": "relu"},
                {"op": "conv", "kernel": 1, "bias": False, "out": draw.pick(16, 32, 48)},
                _norm(draw),
                {"op": "relu"},
            ]
    return layers


def _block(draw: Draw, same: bool = False) -> list[dict[str, Any]]:
    layers = [{**_conv(draw), **({"out": "same", "stride": 1, "padding": "same"} if same else {})}]
    layers += [_norm(draw)] if draw.chance(0.8) else []
    layers += [{"op": draw.pick(*ACTIVATIONS)}] if draw.chance(0.8) else []
    if not same and draw.chance(0.3):
        layers.append(_pool(draw))
    return layers


def _conv(draw: Draw) -> dict[str, Any]:
    return {
        "op": "conv",
        "kernel": draw.pick(1, 1, 3, 3, 3, 5),
        "stride": draw.pick(1, 1, 1, 2),
        "padding": draw.pick(0, 1, "same", [[1, 0], [0, 2]]),
        "dilation": draw.pick(1, 1, 1, 2),
        "out": draw.pick(1, 3, 4, 8, 16, 16, 32, 48),
        "groups": draw.pick(1, 1, 1, 2, "all"),
        "bias": draw.chance(0.6),
    }


def _norm(draw: Draw) -> dict[str, Any]:
    kind = draw.pick(
        "Batch", "Batch", "Batch", "Batch", "Layer", "RMS", "Group", "Instance", "FilterResponse"
    )
    layer = {"op": "norm", "kind": kind}
    if kind == "Batch":
        options = {
            "affine": False,
            "momentum": draw.pick(0.3, None),
            "ghost_batch": draw.pick(1, 2, 3),
            "renorm": True,
            "unbiased": False,
            "track_stats": False,
            "frozen": True,
            "mask": True,
        }
        layer |= {key: value for key, value in options.items() if draw.chance(0.12)}
    return layer


def _pool(draw: Draw) -> dict[str, Any]:
    layer = {
        "op": draw.pick("max_pool", "max_pool", "avg_pool"),
        "window": draw.pick(2, 2, 3),
        "stride": draw.pick(1, 2, 2, 3),
        "padding": draw.pick(0, 0, 0, 1, "same", [[1, 0], [0, 1]]),
    }
    options = {"ceil_mode": True, "dilation": draw.pick(2, [1, 2])}
    if layer["op"] == "avg_pool":
        options["count_padding"] = False
    return layer | {name: value for name, value in options.items() if draw.chance(0.15)}


def _any(draw: Draw) -> dict[str, Any]:
    kind = draw.pick(
        "conv",
        "norm",
        "pool",
        "activation",
        "dense",
        "dense",
        "flatten",
        "mean",
        "keep",
        "add",
        "multiply",
        "concatenate",
        "dropout",
        "again",
        "transposed",
        "recurrent",
        "twice",
        "reshape",
        "slice",
        "weight_norm",
        "tlu",
        "scale",
        "pad",
    )
    if kind == "activation":
        return {"op": draw.pick(*ACTIVATIONS)}
    if kind == "recurrent":
        return {
            "op": kind,
            "kind": draw.pick("RNN", "GRU", "LSTM"),
            "layers": draw.pick(1, 2),
            "both": draw.chance(0.3),
            "norm": draw.pick(None, None, "layer", "batch"),
        }
    if kind == "dense":
        return {"op": kind, "out": draw.pick(1, 3, 10, 17, 64), "bias": draw.chance(0.7)}
    made = {"conv": _conv, "norm": _norm, "pool": _pool}.get(kind)
    return made(draw) if made else {"op": kind}


class Step:
    """A step of a network: a function of x and of a layer, or of the values that were kept."""

    def __init__(self, function: Any, part: int | None = None) -> None:
        self.function, self.part = function, part


def _called(x: md.Tensor, part: nn.Layer) -> md.Tensor:
    return part(x)


class Network(nn.Layer):
    """The model of a case. Its layers are made while a first input of this shape passes through."""

    def __init__(self, layers: list[dict[str, Any]], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.LayerList([])
        self._steps: list[Step] = []
        x: Any = np.zeros(shape, np.float32)
        self._kept = [md.Tensor(x)]
        with md.no_grad():
            for layer in layers:
                step = self._step(layer, x)
                if step is None:
                    continue
                try:
                    y = self._apply(step, md.Tensor(x))
                except ValueError:  # the input is too small for this layer
                    continue
                if 0 < y.size <= MANY and y.shape[0] == shape[0]:
                    self._steps.append(step)
                    x = np.zeros(y.shape, np.float32)
        for part in self.parts:  # undo what the first input has changed
            if isinstance(part, nn.BatchNorm) and part.running_mean is not None:
                part.running_mean[...] = 0
                part.running_var[...] = 1
                part.num_batches[...] = 0

    def forward(self, x: Any) -> md.Tensor:
        return self.run(x, False)

    def run(self, x: Any, read: bool) -> md.Tensor:
        """Return the output for x. With `read` each intermediate result is read, so that it is
        computed.
        """
        x = x if isinstance(x, md.Tensor) else md.Tensor(x)
        self._kept = [x]
        for step in self._steps:
            x = self._apply(step, x)
            if read:
                _ = x.data
        self._kept = []
        return x

    def _apply(self, step: "Step", x: md.Tensor) -> md.Tensor:
        if step.part is None:
            return step.function(x, self._kept)
        return step.function(x, self.parts[step.part])

    def _part(self, part: nn.Layer, function: Any = None) -> "Step":
        """Return a step that calls a layer by its number, since folding replaces layers."""
        self.parts.append(part)
        return Step(function or _called, len(self.parts) - 1)

    def _step(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        """Return the step that computes a layer, or None if the layer does not fit x."""
        op = layer["op"]
        make = getattr(self, f"_{op}", None)
        if make is not None:
            try:
                return make(layer, x)
            except ValueError:
                return None
        if hasattr(md, op):
            return Step(lambda x, _: getattr(md, op)(x))
        return None

    def _conv(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        if x.ndim != 4:
            return None
        c = x.shape[-1]
        out = (
            c
            if layer.get("out", "same") == "same" or layer.get("groups") == "all"
            else layer["out"]
        )
        groups = c if layer.get("groups") == "all" else layer.get("groups", 1)
        if c % groups or out % groups:
            groups = 1
        return self._part(
            nn.Conv(
                c,
                out,
                layer.get("kernel", 1),
                layer.get("stride", 1),
                layer.get("padding", "same"),
                layer.get("dilation", 1),
                groups,
                layer.get("bias", True),
            )
        )

    def _transposed(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return self._part(nn.ConvTranspose(x.shape[-1], 4, 3, 2, 1)) if x.ndim == 4 else None

    def _weight_norm(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        if x.ndim != 4:
            return self._part(nn.weight_norm(nn.Dense(x.shape[-1], 5)))
        return self._part(nn.weight_standardization(nn.Conv(x.shape[-1], 6, 3, 1, 1)))

    def _norm(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        c, kind = x.shape[-1], layer["kind"]
        if kind == "Group":
            return self._part(nn.GroupNorm(2 if c % 2 == 0 else 1, c)) if x.ndim > 2 else None
        if kind != "Batch":
            if kind in ("Instance", "FilterResponse") and x.ndim < 3:
                return None
            # Few values have small variances, which every rounding error changes a lot.
            options = {"eps": 0.1} if kind in ("FilterResponse", "Instance") or c < 8 else {}
            return self._part(getattr(nn, f"{kind}Norm")(c, **options))
        names = ("affine", "momentum", "ghost_batch", "renorm", "unbiased", "track_stats")
        options = {name: layer[name] for name in names if name in layer}
        values = x.size // c
        if options.get("ghost_batch") and (
            values // len(x) * options["ghost_batch"] < 8 or len(x) % options["ghost_batch"]
        ):
            del options["ghost_batch"]
        if values < 8:
            return None
        if not options.get("track_stats", True):
            options.pop("renorm", None)
        norm = nn.BatchNorm(c, eps=1e-3, **options)
        if layer.get("frozen") and options.get("track_stats", True):
            norm.freeze_stats()
        if layer.get("mask"):
            mask = np.random.default_rng(0).random(x.shape[:-1]) < 0.8
            return self._part(
                norm,
                lambda x, part: part(x, mask=mask) if isinstance(part, nn.BatchNorm) else part(x),
            )
        return self._part(norm)

    def _max_pool(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        if x.ndim != 4:
            return None
        kind = nn.MaxPool if layer["op"] == "max_pool" else nn.AvgPool
        return self._part(kind(**{name: value for name, value in layer.items() if name != "op"}))

    _avg_pool = _max_pool

    def _dense(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return self._part(nn.Dense(x.shape[-1], layer["out"], layer.get("bias", True)))

    def _flatten(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, _: md.flatten(x, 1)) if x.ndim > 2 else None

    def _mean(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, _: md.global_avg_pool(x)) if x.ndim > 2 else None

    def _keep(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        def keep(x: md.Tensor, kept: list[Any]) -> md.Tensor:
            kept.append(x)
            return x

        return Step(keep)

    def _add(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, kept: x + kept[-1] if kept[-1].shape == x.shape else x)

    def _multiply(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, kept: x * (kept[-1] if kept[-1].shape == x.shape else x))

    def _concatenate(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        def concatenate(x: md.Tensor, kept: list[Any]) -> md.Tensor:
            fits = kept[-1].shape[:-1] == x.shape[:-1]
            return md.concatenate([x, kept[-1] if fits else x], axis=-1)

        return Step(concatenate)

    def _twice(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, _: x + md.relu(x) * 0.5)

    def _again(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        """Return a step that calls one of the earlier layers a second time, so that weights are
        shared.
        """
        for number, part in enumerate(self.parts):
            if isinstance(part, nn.Conv) and x.ndim == 4 and part.in_channels == x.shape[-1]:
                return Step(_called, number)
            if isinstance(part, nn.Dense) and part.in_features == x.shape[-1]:
                return Step(_called, number)
            if (
                isinstance(part, nn.BatchNorm)
                and part.features == x.shape[-1]
                and x.size // x.shape[-1] >= 8
                and part.ghost_batch is None
            ):
                return Step(_called, number)
        return None

    def _dropout(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return self._part(nn.Dropout(0.3))

    def _recurrent(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        if x.ndim == 4:
            x = x.reshape(x.shape[0], -1, x.shape[-1])
        if x.ndim != 3 or x.shape[1] > 80 or (layer["norm"] == "batch" and len(x) < 8):
            return None
        made = getattr(nn, layer["kind"])(
            x.shape[-1],
            5,
            num_layers=layer["layers"],
            bidirectional=layer["both"],
            norm=layer["norm"],
        )
        return self._part(
            made, lambda x, part: part(md.reshape(x, (x.shape[0], -1, x.shape[-1])))[0]
        )

    def _reshape(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        if x.ndim != 4:
            return None
        if x.shape[1] != x.shape[2]:
            return Step(lambda x, _: md.transpose(x, (0, 2, 1, 3)))
        return Step(lambda x, _: md.reshape(x, (x.shape[0], -1, x.shape[-1])))

    def _slice(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, _: x[:, 1:]) if x.ndim > 2 and x.shape[1] > 2 else None

    def _tlu(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return self._part(nn.TLU(x.shape[-1]))

    def _scale(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        return Step(lambda x, _: x * 1.5 - 0.25)

    def _pad(self, layer: dict[str, Any], x: np.ndarray) -> Any:
        pad = ((0, 0), (1, 1), (0, 2), (0, 0))
        return Step(lambda x, _: md.pad(x, pad)) if x.ndim == 4 else None
