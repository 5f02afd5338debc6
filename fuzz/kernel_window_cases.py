"""This module makes random valid arguments of the kernels of convolutions and of pools with
windows.
"""

from typing import Any

from minidl.kernels import FAMILIES

from .kernel_norm_cases import factors

Args = dict[str, Any]


def tuples(value: Any) -> Any:
    """Describe lists as tuples, at every depth."""
    return {"tuple": [tuples(item) for item in value]} if isinstance(value, list) else value


def outputs(
    shape: list[int],
    kernel: list[int],
    stride: list[int],
    dilation: list[int],
    padding: list[Any],
    channels: int,
) -> list[int]:
    """Return the shape of the output of a convolution or a pool."""
    sizes = []
    for axis in range(2):
        room = shape[1 + axis] + sum(padding[axis]) - dilation[axis] * (kernel[axis] - 1) - 1
        sizes.append(room // stride[axis] + 1)
    return [shape[0], *sizes, channels]


def _conv(k: Any) -> Args:
    draw = k.draw
    kernel, stride, dilation, padding = k.geometry()
    groups = draw.pick(1, 1, 1, 2, 3, 8)
    ci, co = draw.size(40, 1), groups * draw.size(48 // groups, 1)
    shape = k.image(kernel, dilation, padding, ci * groups)
    return _convolution(k, shape, kernel, stride, dilation, padding, ci, co, {"groups": groups})


def _depthwise(k: Any) -> Args:
    k.dtype, c = "float32", k.blocks()
    kernel, stride, dilation, padding = k.geometry()
    shape = k.image(kernel, dilation, padding, c)
    return _convolution(k, shape, kernel, stride, dilation, padding, 1, c, {})


def _convolution(
    k: Any,
    shape: list[int],
    kernel: list[int],
    stride: list[int],
    dilation: list[int],
    padding: list[Any],
    ci: int,
    co: int,
    args: Args,
) -> Args:
    """Return the arguments of a convolution or of one of its gradients, by the kernel's name."""
    # A zero of the padding times infinity is NaN, or is never computed. So arrays that meet these
    # zeros are finite, and stay finite if something else is made wrong.
    finite = k.draw.pick("normal", "whole") if k.values == "special" else k.values
    k.values = k.values if k.name == "conv" else finite
    args = args | {
        "stride": tuples(stride),
        "padding": tuples(padding),
        "dilation": tuples(dilation),
    }
    x = k.array(shape, finite=k.name != "conv")
    w = k.array([*kernel, ci, co], values=finite, finite=True)
    y = outputs(shape, kernel, stride, dilation, padding, co)
    dy = k.array(y, finite=True)
    if k.name.endswith("input_grad"):
        return {"dy": dy, "w": w, "input_shape": tuples(shape), **args}
    if k.name.endswith("weight_grad"):
        return {"x": x, "dy": dy, "kernel_shape": tuples(kernel), **args}
    if k.name == "depthwise_backward":
        return {"dy": dy, "x": x, "w": w, **args, **between_norms(k, shape[3], y)}
    if k.name == "depthwise_conv" and k.draw.chance(0.5) and shape[0]:
        args |= k.maybe(0.7, factors=factors(k, shape[3]), stats=True)
        return {"x": x, "w": w, **args, "relu": k.draw.chance(0.5)}
    ends = k.maybe(0.4, bias=k.array([co]), residual=k.array(y), relu_out=True)
    return {"x": x, "w": w, **args, **ends}


def between_norms(k: Any, before: int, y: list[int]) -> Args:
    """Return the options of a convolution's backward between two normalizations."""
    options = k.maybe(0.6, factors=factors(k, before), relu=True)
    if k.draw.chance(0.5):
        centre = k.array([2, y[3]]) if k.draw.chance(0.6) else None
        consumer = [k.array(y), factors(k, y[3]), k.draw.chance(0.5), centre]
        options["consumer"] = {"tuple": consumer}
    return options


def _pointwise(k: Any) -> Args:
    k.dtype, before, after = "float32", k.blocks(), k.blocks()
    shape = k.image([1, 1], [1, 1], [[0, 0], [0, 0]], before)
    x, w = k.array(shape), k.array([1, 1, before, after])
    y = [*shape[:3], after]
    if k.name == "pointwise_backward":
        return {"dy": k.array(y), "x": x, "w": w, **between_norms(k, before, y)}
    stats = {"stats": True} if shape[0] and k.draw.chance(0.5) else {}
    return {"x": x, "w": w, **k.maybe(0.6, factors=factors(k, before), relu=True), **stats}


def _winograd(k: Any) -> Args:
    k.dtype, ci, co = "float32", k.blocks(), k.blocks()
    padding = [[k.draw.integer(0, 3), k.draw.integer(0, 3)] for _ in range(2)]
    shape = k.image([3, 3], [1, 1], padding, ci)
    y = outputs(shape, [3, 3], [1, 1], [1, 1], padding, co)
    x, w, dy = k.array(shape), k.array([3, 3, ci, co]), k.array(y)
    if k.name == "winograd_weights":
        return {"w": w}
    if k.name == "winograd_conv":
        ends = k.maybe(0.4, bias=k.array([co]), residual=dy, relu_out=True)
        return {"x": x, "w": w, "padding": tuples(padding), **ends}
    if k.name == "winograd_conv_pool":
        if min(y[1:3]) < 2:
            padding, x = [[1, 1], [1, 1]], k.array([*shape[:1], 9, 8, ci])
        ends = k.maybe(0.4, bias=k.array([co]), relu_out=True)
        return {"x": x, "w": w, "padding": tuples(padding), **ends}
    args: Args = {"padding": tuples(padding)}
    if k.draw.chance(0.4):  # a max-pool
        pooled = [y[0], y[1] // 2, y[2] // 2, y[3]]
        dy, place = k.array(pooled), k.draw.integer(0, 3)
        args["argmax"] = k.draw.array(pooled, "uint8", low=place, high=place)
    if k.name == "winograd_input_grad":
        return {"dy": dy, "w": w, "input_shape": tuples(shape), **args}
    return {"x": x, "dy": dy, **args}


def _pool(k: Any) -> Args:
    draw = k.draw
    window, stride, dilation, _ = k.geometry()
    if draw.chance(0.1):
        window = [17, 16]  # has more positions than a byte can number
    if draw.chance(0.3):
        window, stride, dilation = [2, 2], [2, 2], [1, 1]
    # The middle of a window is always inside of the image, and its last values may be beyond it.
    middle = [(taps - 1) // 2 for taps in window]
    padding = [
        [draw.integer(0, m * d), draw.integer(0, (taps - 1 - m) * d)]
        for taps, m, d in zip(window, middle, dilation, strict=True)
    ]
    shape = k.image(window, dilation, padding, draw.size(70, 1))
    shape[1:3] = [max(n, d) for n, d in zip(shape[1:3], dilation, strict=True)]
    y = outputs(shape, window, stride, dilation, padding, shape[3])
    args = {
        "window": tuples(window),
        "stride": tuples(stride),
        "padding": tuples(padding),
        "dilation": tuples(dilation),
    }
    if k.name.startswith("avg"):
        some = [[draw.integer(0, n) for n in sides] for sides in padding]
        counted = draw.pick(None, None, [[0, 0], [0, 0]], some)
        args["counted"] = counted and tuples(counted)
    if k.name in ("max_pool", "avg_pool"):
        return {"x": k.array(shape), **args}
    args = {"dy": k.array(y), "input_shape": tuples(shape), **args}
    if k.name == "max_pool_backward":
        place = middle[0] * window[1] + middle[1]
        dtype = "uint8" if window[0] * window[1] <= 256 else "int32"
        args["argmax"] = draw.array(y, dtype, low=place, high=place)
    return args


WINDOWS: dict[str, Any] = {
    **dict.fromkeys(("conv", "conv_input_grad", "conv_weight_grad"), _conv),
    **dict.fromkeys(
        ("depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad", "depthwise_backward"),
        _depthwise,
    ),
    **dict.fromkeys(("pointwise_conv", "pointwise_backward"), _pointwise),
    **dict.fromkeys(FAMILIES["conv.winograd_forward"], _winograd),
    **dict.fromkeys(("winograd_input_grad", "winograd_weight_grad"), _winograd),
    **dict.fromkeys(("max_pool", "max_pool_backward", "avg_pool", "avg_pool_backward"), _pool),
}
