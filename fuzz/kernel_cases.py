"""Arguments of kernels that are in order, at random."""

from typing import Any

from minidl.kernels import FAMILIES

from .draw import FLOATS, Draw, Value
from .kernel_norm_cases import NORMS, factors
from .kernel_picture_cases import PICTURES
from .kernel_rules import WILD

Args = dict[str, Value]


def arguments(draw: Draw, kernel: str) -> Args:
    """Arguments that the kernel must take, described."""
    return MAKERS[kernel](Kernel(draw, kernel))


class Kernel:
    """The draw of one call: its arrays are of one dtype, and mostly of one distribution."""

    def __init__(self, draw: Draw, name: str) -> None:
        self.draw, self.name = draw, name
        self.dtype = draw.pick(*FLOATS)
        self.values = draw.values()
        # Where steps follow one another, wild values overflow in some of them: nothing is right.
        if name not in WILD:
            self.values = draw.pick("normal", "uniform", "whole", "offset", "zeros", "equal")
        self.elements = draw.pick(60, 600, 4000, 4000, 60_000)

    def array(self, shape: list[int], **more: Value) -> Value:
        """An array of the call's dtype; once in ten with its start moved, which changes nothing."""
        if self.draw.chance(0.1):
            more = {"memory": self.draw.pick("shifted", "readonly", "subclass"), **more}
        more = {"values": self.values, "dtype": self.dtype, **more}
        return self.draw.array(shape, **more)

    def shape(self, axes: int, least: int = 0) -> list[int]:
        return self.draw.shape(axes, self.elements, least)

    def blocks(self, most: int = 5) -> int:
        """A number of channels of the kernels that take them in blocks."""
        return 16 * self.draw.whole(1, most)

    def maybe(self, share: float, **options: Value) -> Args:
        """Some of the options."""
        return {name: value for name, value in options.items() if self.draw.chance(share)}

    def geometry(self) -> tuple[list[int], list[int], list[int], list[Any]]:
        """(kernel, stride, dilation, padding) for images that fit."""
        draw = self.draw
        kernel = [draw.pick(1, 2, 3, 3, 5, 7), draw.pick(1, 2, 3, 3, 4)]
        stride = [draw.pick(1, 1, 2, 3), draw.pick(1, 1, 2, 5)]
        dilation = [draw.pick(1, 1, 2, 3), draw.pick(1, 1, 2)]
        pads = [draw.pick(0, 0, 1, 1, 2, 3) for _ in range(4)]
        return kernel, stride, dilation, [pads[:2], pads[2:]]

    def image(
        self, kernel: list[int], dilation: list[int], padding: list[Any], channels: int
    ) -> list[int]:
        """The shape of images that are at least as large as the kernel."""
        sizes = []
        for axis in range(2):
            least = max(1, dilation[axis] * (kernel[axis] - 1) + 1 - sum(padding[axis]))
            sizes.append(self.draw.size(max(40, least), least))
        room = max(1, self.elements // max(1, sizes[0] * sizes[1] * channels))
        n = 0 if self.draw.chance(0.03) else self.draw.whole(1, min(5, room))
        return [n, *sizes, channels]


def tuples(value: Any) -> Value:
    """Lists as tuples, all through."""
    return {"tuple": [tuples(item) for item in value]} if isinstance(value, list) else value


def outputs(
    shape: list[int],
    kernel: list[int],
    stride: list[int],
    dilation: list[int],
    padding: list[Any],
    channels: int,
) -> list[int]:
    """The shape of a convolution's (or pool's) output."""
    sizes = []
    for axis in range(2):
        room = shape[1 + axis] + sum(padding[axis]) - dilation[axis] * (kernel[axis] - 1) - 1
        sizes.append(room // stride[axis] + 1)
    return [shape[0], *sizes, channels]


def _unary(k: Kernel) -> Args:
    return {"x": k.array(k.shape(k.draw.whole(0, 4)))}


def _numeric(k: Kernel) -> Args:
    if k.draw.chance(0.2):
        k.dtype = k.draw.pick("int64", "int32", "uint8", "int8")
    return _unary(k)


def _two(first: str, second: str) -> Any:
    def make(k: Kernel) -> Args:
        shape = k.shape(k.draw.whole(0, 4))
        return {first: k.array(shape), second: k.array(shape)}

    return make


def _binary(k: Kernel) -> Args:
    shape = k.shape(k.draw.whole(0, 4))
    other = [1 if k.draw.chance(0.25) else n for n in shape][k.draw.whole(0, len(shape)) :]
    if k.draw.chance(0.15):
        k.dtype = k.draw.pick("int64", "int32", "uint8")
    a, b = k.array(shape), k.array(other)
    if k.draw.chance(0.2):
        b = k.draw.pick(0, 1, 2, -1.5, 0.5, 3.0) if k.dtype in FLOATS else k.draw.pick(0, 1, 2)
    if k.name == "power" and isinstance(b, dict) and k.dtype not in FLOATS:
        b["low"] = 0
    return {"a": a, "b": b} if k.draw.chance(0.7) else {"a": b, "b": a}


def _activation(**options: tuple[float, ...]) -> Any:
    def make(k: Kernel) -> Args:
        shape = k.shape(k.draw.whole(1, 3))
        args = {"x": k.array(shape)}
        if k.name.endswith("_backward"):
            args = {"dy": k.array(shape), **args}
        return args | {name: k.draw.pick(*values) for name, values in options.items()}

    return make


def _reduce(k: Kernel) -> Args:
    return {"x": k.array(k.shape(3))}


def _deviations(k: Kernel) -> Args:
    a, r, b = k.shape(3)
    return {
        "x": k.array([a, r, b]),
        "mean": k.array([a, b], dtype="float64"),
        "factor": k.array([a, b], dtype="float64"),
    }


def _matmul(k: Kernel) -> Args:
    draw = k.draw
    m, n, depth = k.shape(3)
    stack = [draw.whole(0, 4)] if draw.chance(0.4) else []
    ta, tb = draw.chance(0.5), draw.chance(0.5)
    if k.name == "matmul_panels":
        return {"b": k.array([n, depth]), **k.maybe(0.5, transpose_b=True)}
    return {
        "a": k.array(stack + ([depth, m] if ta else [m, depth])),
        "b": k.array(stack + ([n, depth] if tb else [depth, n])),
        "transpose_a": ta,
        "transpose_b": tb,
    }


def _conv(k: Kernel) -> Args:
    draw = k.draw
    kernel, stride, dilation, padding = k.geometry()
    groups = draw.pick(1, 1, 1, 2, 3, 8)
    ci, co = draw.size(40, 1), groups * draw.size(48 // groups, 1)
    shape = k.image(kernel, dilation, padding, ci * groups)
    return _convolution(k, shape, kernel, stride, dilation, padding, ci, co, {"groups": groups})


def _depthwise(k: Kernel) -> Args:
    k.dtype, c = "float32", k.blocks()
    kernel, stride, dilation, padding = k.geometry()
    shape = k.image(kernel, dilation, padding, c)
    return _convolution(k, shape, kernel, stride, dilation, padding, 1, c, {})


def _convolution(
    k: Kernel,
    shape: list[int],
    kernel: list[int],
    stride: list[int],
    dilation: list[int],
    padding: list[Any],
    ci: int,
    co: int,
    args: Args,
) -> Args:
    """The arguments of a convolution, or of one of its gradients, by the kernel's name."""
    # A zero of the padding times infinity is NaN, or was never computed: what meets zeros is finite
    # and stays so where something else is made wrong.
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
        return {
            "x": x,
            "w": w,
            **args,
            **k.maybe(0.7, factors=factors(k, shape[3]), stats=True),
            "relu": k.draw.chance(0.5),
        }
    return {
        "x": x,
        "w": w,
        **args,
        **k.maybe(0.4, bias=k.array([co]), residual=k.array(y), relu_out=True),
    }


def between_norms(k: Kernel, before: int, y: list[int]) -> Args:
    """The options of a convolution's backward between two normalizations."""
    options = k.maybe(0.6, factors=factors(k, before), relu=True)
    if k.draw.chance(0.5):
        centre = k.array([2, y[3]]) if k.draw.chance(0.6) else None
        consumer = [k.array(y), factors(k, y[3]), k.draw.chance(0.5), centre]
        options["consumer"] = {"tuple": consumer}
    return options


def _pointwise(k: Kernel) -> Args:
    k.dtype, before, after = "float32", k.blocks(), k.blocks()
    shape = k.image([1, 1], [1, 1], [[0, 0], [0, 0]], before)
    x, w = k.array(shape), k.array([1, 1, before, after])
    y = [*shape[:3], after]
    if k.name == "pointwise_backward":
        return {"dy": k.array(y), "x": x, "w": w, **between_norms(k, before, y)}
    stats = {"stats": True} if shape[0] and k.draw.chance(0.5) else {}
    return {"x": x, "w": w, **k.maybe(0.6, factors=factors(k, before), relu=True), **stats}


def _winograd(k: Kernel) -> Args:
    k.dtype, ci, co = "float32", k.blocks(), k.blocks()
    padding = [[k.draw.whole(0, 3), k.draw.whole(0, 3)] for _ in range(2)]
    shape = k.image([3, 3], [1, 1], padding, ci)
    y = outputs(shape, [3, 3], [1, 1], [1, 1], padding, co)
    x, w, dy = k.array(shape), k.array([3, 3, ci, co]), k.array(y)
    if k.name == "winograd_weights":
        return {"w": w}
    if k.name == "winograd_conv":
        return {
            "x": x,
            "w": w,
            "padding": tuples(padding),
            **k.maybe(0.4, bias=k.array([co]), residual=dy, relu_out=True),
        }
    if k.name == "winograd_conv_pool":
        if min(y[1:3]) < 2:
            padding, x = [[1, 1], [1, 1]], k.array([*shape[:1], 9, 8, ci])
        return {
            "x": x,
            "w": w,
            "padding": tuples(padding),
            **k.maybe(0.4, bias=k.array([co]), relu_out=True),
        }
    consumer: Args = {}
    if k.draw.chance(0.4):  # a max-pool
        pooled = [y[0], y[1] // 2, y[2] // 2, y[3]]
        dy, place = k.array(pooled), k.draw.whole(0, 3)
        consumer = {"argmax": k.draw.array(pooled, "uint8", low=place, high=place)}
    if k.name == "winograd_input_grad":
        return {
            "dy": dy,
            "w": w,
            "input_shape": tuples(shape),
            "padding": tuples(padding),
            **consumer,
        }
    return {"x": x, "dy": dy, "padding": tuples(padding), **consumer}


def _pool(k: Kernel) -> Args:
    draw = k.draw
    window, stride, dilation, _ = k.geometry()
    if draw.chance(0.1):
        window = [17, 16]  # places that a byte does not number
    if draw.chance(0.3):
        window, stride, dilation = [2, 2], [2, 2], [1, 1]
    # The middle of a window is always inside, and its last values may be beyond the image.
    middle = [(taps - 1) // 2 for taps in window]
    padding = [
        [draw.whole(0, m * d), draw.whole(0, (taps - 1 - m) * d)]
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
        counted = draw.pick(
            None, None, [[0, 0], [0, 0]], [[draw.whole(0, n) for n in sides] for sides in padding]
        )
        args["counted"] = counted and tuples(counted)
    if k.name in ("max_pool", "avg_pool"):
        return {"x": k.array(shape), **args}
    args = {"dy": k.array(y), "input_shape": tuples(shape), **args}
    if k.name == "max_pool_backward":
        place = middle[0] * window[1] + middle[1]
        dtype = "uint8" if window[0] * window[1] <= 256 else "int32"
        args["argmax"] = draw.array(y, dtype, low=place, high=place)
    return args


def _global_pool(k: Kernel) -> Args:
    shape = k.shape(k.draw.whole(3, 4), least=1)
    if k.name == "global_avg_pool":
        return {"x": k.array(shape)}
    return {"dy": k.array([shape[0], shape[-1]]), "input_shape": tuples(shape)}


def _cell(k: Kernel) -> Args:
    n, h = k.shape(2)
    gates = 4 if "lstm" in k.name else 3
    wide, narrow = [n, gates * h], [n, h]
    if k.name == "lstm_cell":
        return {
            "x": k.array(wide),
            "hidden": k.array(wide),
            "c": k.array(narrow),
            **k.maybe(0.3, squash=False),
        }
    if k.name == "lstm_cell_backward":
        return {
            "dh": k.array(narrow),
            "dc": k.array(narrow),
            "gates": k.array(wide),
            "c": k.array(narrow),
            "c_new": k.array(narrow),
            **k.maybe(0.3, squash=False),
        }
    bias = {"bias": k.array([h]) if k.draw.chance(0.5) else None}
    if k.name == "gru_cell":
        return {"x": k.array(wide), "hidden": k.array(wide), **bias, "h": k.array(narrow)}
    return {
        "dy": k.array(narrow),
        "gates": k.array(wide),
        "hidden": k.array(wide),
        **bias,
        "h": k.array(narrow),
    }


def _embedding(k: Kernel) -> Args:
    rows, width, count = k.shape(3, least=1)
    ids = k.draw.array([count], "int64", low=0, high=rows - 1)
    if k.name == "embedding":
        return {"weight": k.array([rows, width]), "ids": ids}
    return {"dy": k.array([count, width]), "ids": ids, "rows": rows}


def _rows(k: Kernel) -> Args:
    shape = k.shape(2, least=1)
    if k.name.endswith("_backward"):
        return {"dy": k.array(shape), "y": k.array(shape)}
    return {"x": k.array(shape)}


def _cross_entropy(k: Kernel) -> Args:
    m, classes = k.shape(2, least=1)
    args = {"logits": k.array([m, classes])}
    if k.name.endswith("_backward"):
        # Rows of probabilities sum to 1; of others the twins may make what they like.
        args = {"dlosses": k.array([m]), "probabilities": k.array([m, classes], values="shares")}
    args["labels"] = k.draw.array([m], "int64", low=k.draw.pick(0, -1), high=classes - 1)
    return args | k.maybe(0.4, weight=k.array([classes], values="uniform"), smoothing=0.1)


def _update(k: Kernel) -> Args:
    draw = k.draw
    shapes = [k.shape(draw.whole(0, 3)) for _ in range(draw.whole(0, 3))]

    def arrays(values: str = k.values) -> Value:  # written to, so never read-only
        return [draw.array(shape, k.dtype, values) for shape in shapes]

    args: Args = {"params": arrays(), "grads": arrays()}
    rate, eps = draw.pick(0.1, 1e-3, 1.0), draw.pick(1e-8, 1e-5)
    decay = {"weight_decay": draw.pick(0.0, 0.01)}
    momentum = draw.chance(0.6)
    velocities = {"velocities": arrays() if momentum else None}
    if k.name == "square_sum":
        return {"grads": args["grads"]}
    if k.name == "sgd_update":
        return (
            args
            | velocities
            | decay
            | {
                "lr": rate,
                "momentum": 0.9 if momentum else 0.0,
                "nesterov": momentum and draw.chance(0.5),
            }
        )
    if k.name == "adam_update":
        return args | {
            "means": arrays(),
            "squares": arrays("uniform"),
            "lr": rate,
            "beta1": 0.9,
            "beta2": 0.999,
            "eps": eps,
            "weight_decay": decay["weight_decay"],
            "decoupled": draw.chance(0.5),
            "step": draw.pick(1, 2, 10, 1000),
        }
    if k.name == "rmsprop_update":
        return args | {
            "squares": arrays("positive"),
            "means": arrays("zeros") if draw.chance(0.5) else None,
            **velocities,
            "lr": rate,
            "alpha": 0.99,
            "eps": eps,
            "momentum": 0.9 if momentum else 0.0,
            **decay,
        }
    if k.name == "adagrad_update":
        return args | {"sums": arrays("uniform"), "lr": rate, "eps": eps, **decay}
    return (
        args
        | velocities
        | decay
        | {"lr": rate, "momentum": 0.9 if momentum else 0.0, "trust": 0.001, "eps": eps}
    )


def _dropout(k: Kernel) -> Args:
    return {
        "x": k.array(k.shape(2)),
        "p": k.draw.pick(0.0, 0.1, 0.5, 0.999, 1.0),
        "key": k.draw.pick(0, 1, 12345, 2**63, 2**64 - 1),
    }


MAKERS: dict[str, Any] = {
    **dict.fromkeys(("exp", "log", "sqrt", "tanh", "sigmoid", "relu"), _unary),
    **dict.fromkeys(("absolute", "negative"), _numeric),
    "relu_backward": _two("dy", "y"),
    **dict.fromkeys(
        ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"), _binary
    ),
    **dict.fromkeys(FAMILIES["elementwise.activation"], _activation()),  # those without options
    **dict.fromkeys(("leaky_relu", "leaky_relu_backward"), _activation(slope=(0.01, 0.0, -2.0))),
    **dict.fromkeys(("elu", "elu_backward"), _activation(alpha=(1.0, 0.3))),
    **dict.fromkeys(
        ("softplus", "softplus_backward"), _activation(beta=(1.0, 0.5, 3.0), threshold=(20.0, 5.0))
    ),
    **dict.fromkeys(("gelu", "gelu_backward"), _activation(tanh=(False, True))),
    **dict.fromkeys(("sum", "mean", "max", "min", "moments"), _reduce),
    "deviations": _deviations,
    **dict.fromkeys(("matmul", "matmul_panels"), _matmul),
    **dict.fromkeys(("conv", "conv_input_grad", "conv_weight_grad"), _conv),
    **dict.fromkeys(
        ("depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad", "depthwise_backward"),
        _depthwise,
    ),
    **dict.fromkeys(("pointwise_conv", "pointwise_backward"), _pointwise),
    **dict.fromkeys(
        (
            "winograd_weights",
            "winograd_conv",
            "winograd_conv_pool",
            "winograd_input_grad",
            "winograd_weight_grad",
        ),
        _winograd,
    ),
    **dict.fromkeys(("max_pool", "max_pool_backward", "avg_pool", "avg_pool_backward"), _pool),
    **dict.fromkeys(("global_avg_pool", "global_avg_pool_backward"), _global_pool),
    **dict.fromkeys(("lstm_cell", "lstm_cell_backward", "gru_cell", "gru_cell_backward"), _cell),
    **dict.fromkeys(("embedding", "embedding_backward"), _embedding),
    **dict.fromkeys(("softmax", "softmax_backward", "log_softmax", "log_softmax_backward"), _rows),
    **dict.fromkeys(("cross_entropy", "cross_entropy_backward"), _cross_entropy),
    **dict.fromkeys(
        (
            "sgd_update",
            "adam_update",
            "rmsprop_update",
            "adagrad_update",
            "lars_update",
            "square_sum",
        ),
        _update,
    ),
    "dropout": _dropout,
    **NORMS,
    **PICTURES,
}
