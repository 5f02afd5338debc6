"""Writes convolutions, pools and normalizations, for which a file has the channels second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..writer import Known, Operand, Site, Writer, Written, channels_first, fixed
from .elementwise import scalar

Emit = Callable[[Writer, Site], Any]
BY_OUTPUT = (3, 2, 0, 1)  # weights (KH, KW, in, out) as (out, in, KH, KW)


def _images(value: ir.Value, site: Site) -> Written:
    return Written(value, site.dims[0], channels_first(len(site.dims[0])))


def pads_of(padding: Any) -> list[int]:
    """Padding ((top, bottom), (left, right)) as a file has it: first the padding before each axis,
    then the padding after each."""
    return [before for before, _ in padding] + [after for _, after in padding]


def _conv(out: Writer, site: Site) -> Written:
    x, weight, bias = site.inputs
    options = site.options
    return _images(
        out.op(
            "Conv",
            out.first(x),
            out.ordered(weight, BY_OUTPUT),
            None if bias is None else out.plain(bias),
            strides=list(options["stride"]),
            pads=pads_of(options["padding"]),
            dilations=list(options["dilation"]),
            group=options["groups"],
        ),
        site,
    )


def _conv_transpose(out: Writer, site: Site) -> Written:
    """Weights (KH, KW, in / groups, out) as (in, out / groups, KH, KW)."""
    x, weight, bias = site.inputs
    options = site.options
    groups = options["groups"]
    if not isinstance(weight, Known):
        raise out.refusal("weights that are computed from the input are not supported")
    kh, kw, ci, co = weight.array.shape
    turned = weight.array.reshape(kh, kw, ci, groups, co // groups).transpose(3, 2, 4, 0, 1)
    turned = np.ascontiguousarray(turned).reshape(groups * ci, co // groups, kh, kw)
    sizes = [d[0] for d in x.dims[1:3]]
    extra = [
        size + sum(p) - (n - 1) * s - d * (k - 1) - 1
        for size, p, n, s, d, k in zip(
            options["size"],
            options["padding"],
            sizes,
            options["stride"],
            options["dilation"],
            (kh, kw),
            strict=True,
        )
    ]
    return _images(
        out.op(
            "ConvTranspose",
            out.first(x),
            out.initializer(turned, weight.name),
            None if bias is None else out.plain(bias),
            strides=list(options["stride"]),
            pads=pads_of(options["padding"]),
            dilations=list(options["dilation"]),
            group=groups,
            output_padding=extra,
        ),
        site,
    )


def _pool(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        options, x = site.options, out.first(site.inputs[0])
        padding, window = options["padding"], options["window"]
        wide = any(max(p) >= k for p, k in zip(padding, window, strict=True))
        given: dict[str, Any] = {"kernel_shape": list(window), "strides": list(options["stride"])}
        if set(options["dilation"]) != {1}:
            given["dilations"] = list(options["dilation"])
        border, value = padding if wide else ((0, 0), (0, 0)), -np.inf
        if operator == "AveragePool":  # Pad makes the padding that counts, if not all does
            counted = options["counted"]
            given["count_include_pad"] = int(counted == padding)
            border, value = counted if wide or counted != padding else ((0, 0), (0, 0)), 0
        if any(map(any, border)):  # ONNX Runtime takes no padding as wide as the kernel
            (top, bottom), (left, right) = border
            x = out.op(
                "Pad",
                x,
                np.array([0, 0, top, left, 0, 0, bottom, right], np.int64),
                scalar(value, site.dtype),
            )
            padding = [(p[0] - b[0], p[1] - b[1]) for p, b in zip(padding, border, strict=True)]
        return _images(out.op(operator, x, pads=pads_of(padding), **given), site)

    return emit


def _global_avg_pool(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    return Written(
        out.op("Flatten", out.op("GlobalAveragePool", out.first(x)), axis=1), site.dims[0]
    )


# --------------------------------------------------------------------------------- normalizations


def factor(out: Writer, x: Any, features: int, dtype: np.dtype, default: float) -> ir.Value:
    """gamma, beta or statistics (features,) in a dtype; an array of the default for None."""
    if x is None:
        return out.initializer(np.full(features, default, dtype), "ones" if default else "zeros")
    if isinstance(x, Known) and x.array.dtype != dtype:
        x = Known(x.name, *(a.astype(dtype) for a in x.arrays))
    return out.plain(x)


def _channels(out: Writer, site: Site) -> int:
    """How many values a row has; refused if that depends on the batch."""
    if not fixed(site.dims[0][-1]):
        raise out.refusal("values cannot be normalized along the batch axis")
    return site.dims[0][-1][0]


def _batch_norm(out: Writer, site: Site) -> Written:
    x, gamma, beta, *given = site.inputs
    features, dtype = _channels(out, site), site.dtype
    if site.options.get("correction") is not None:
        raise out.refusal("batch renormalization in training is not supported")
    if site.options["training"]:
        return _with_batch_statistics(out, site)
    values = [
        factor(out, v, features, dtype, default)
        for v, default in zip((gamma, beta, *given[:2]), (1, 0, 0, 1), strict=True)
    ]
    return _images(
        out.op("BatchNormalization", out.first(x), *values, epsilon=float(site.options["eps"])),
        site,
    )


def _with_batch_statistics(out: Writer, site: Site) -> Written:
    """A normalization that has no running statistics, and takes those of the batch in evaluation
    mode, too."""
    x, gamma, beta, *_ = site.inputs
    value = out.first(x)
    axes = np.array([k for k in range(x.ndim) if k != 1], np.int64)
    centred = out.op("Sub", value, out.op("ReduceMean", value, axes, keepdims=1))
    square = out.op("ReduceMean", out.op("Mul", centred, centred), axes, keepdims=1)
    return _images(scaled(out, site, centred, square, gamma, beta, x.ndim), site)


def scaled(
    out: Writer, site: Site, centred: ir.Value, square: ir.Value, gamma: Any, beta: Any, ndim: int
) -> ir.Value:
    """gamma centred / sqrt(square + eps) + beta, with the channels second."""
    eps = scalar(site.options["eps"], site.dtype)
    y = out.op("Div", centred, out.op("Sqrt", out.op("Add", square, eps)))
    for operator, by in (("Mul", gamma), ("Add", beta)):
        if by is not None:
            y = out.op(operator, y, _per_channel(out, by, ndim))
    return y


def _per_channel(out: Writer, x: Operand, ndim: int) -> ir.Value:
    """(C,) as (C, 1, ...), which broadcasts over places."""
    if isinstance(x, Known):
        x = Known(x.name, *(a.reshape(-1, *(1,) * (ndim - 2)) for a in x.arrays))
        return out.plain(x)
    return out.op("Reshape", out.plain(x), np.array([-1, *(1,) * (ndim - 2)], np.int64))


def _masked_batch_norm(out: Writer, site: Site) -> Written:
    *inputs, mask = site.inputs
    if site.options["training"] or mask is None:
        raise out.refusal("virtual batches in training are not supported")
    site.inputs = inputs
    y = _batch_norm(out, site)
    last = out.op("Unsqueeze", out.plain(mask), np.array([1], np.int64))
    return Written(out.op("Where", last, y.value, scalar(0, site.dtype)), site.dims[0], y.axes)


def _layer_norm(out: Writer, site: Site) -> Written:
    x, gamma, beta = site.inputs
    value, eps = out.plain(x), float(site.options["eps"])
    if site.options["centre"]:
        scale = factor(out, gamma, _channels(out, site), site.dtype, 1)
        shift = None if beta is None else out.plain(beta)
        return Written(
            out.op("LayerNormalization", value, scale, shift, axis=-1, epsilon=eps), site.dims[0]
        )
    square = out.op("ReduceMean", out.op("Mul", value, value), np.array([-1], np.int64), keepdims=1)
    y = out.op("Div", value, out.op("Sqrt", out.op("Add", square, scalar(eps, site.dtype))))
    return Written(y if gamma is None else out.op("Mul", y, out.plain(gamma)), site.dims[0])


def _group_norm(out: Writer, site: Site) -> Written:
    x, gamma, beta = site.inputs[:3]
    options, features = site.options, _channels(out, site)
    value = out.first(x)
    if not options["centre"]:
        axes = np.arange(2, x.ndim)
        square = out.op("ReduceMean", out.op("Mul", value, value), axes, keepdims=1)
        return _images(scaled(out, site, value, square, gamma, beta, x.ndim), site)
    factors = [
        factor(out, v, features, site.dtype, default) for v, default in ((gamma, 1), (beta, 0))
    ]
    eps = float(options["eps"])
    if x.ndim == 2:
        value = out.op("Unsqueeze", value, np.array([2], np.int64))
    if options["groups"] == features:
        y = out.op("InstanceNormalization", value, *factors, epsilon=eps)
    else:
        y = out.op("GroupNormalization", value, *factors, epsilon=eps, num_groups=options["groups"])
    if x.ndim == 2:
        y = out.op("Squeeze", y, np.array([2], np.int64))
    return _images(y, site)


def _filter_response_norm(out: Writer, site: Site) -> Written:
    """A filter response normalization, which learns an eps for each channel."""
    x, gamma, beta, eps = site.inputs
    value = out.first(x)
    square = out.op("ReduceMean", out.op("Mul", value, value), np.arange(2, x.ndim), keepdims=1)
    small = out.op("Abs", _per_channel(out, eps, x.ndim))
    y = out.op("Div", value, out.op("Sqrt", out.op("Add", square, small)))
    for operator, by in (("Mul", gamma), ("Add", beta)):
        if by is not None:
            y = out.op(operator, y, _per_channel(out, by, x.ndim))
    return _images(y, site)


IMAGES: dict[str, Emit] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool"),
    "GlobalAvgPool": _global_avg_pool,
    "BatchNorm": _batch_norm,
    "PartedBatchNorm": _masked_batch_norm,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
    "FilterResponseNorm": _filter_response_norm,
}
