"""This module makes random valid arguments of kernels."""

from typing import Any

from minidl.kernels import FAMILIES

from .draw import FLOATS, Draw, Value
from .kernel_curves import OPTIONS
from .kernel_norm_cases import NORMS
from .kernel_picture_cases import PICTURES
from .kernel_rules import WILD
from .kernel_window_cases import WINDOWS, tuples

Args = dict[str, Value]


def arguments(draw: Draw, kernel: str) -> Args:
    """Return the description of arguments that the kernel must accept."""
    return MAKERS[kernel](Kernel(draw, kernel))


class Kernel:
    """The random choices for one call: its arrays have one dtype, and mostly one distribution."""

    def __init__(self, draw: Draw, name: str) -> None:
        self.draw, self.name = draw, name
        self.dtype = draw.pick(*FLOATS)
        self.values = draw.values()
        # If steps follow one another, wild values overflow in some of them, and then no result is
        # right.
        if name not in WILD:
            self.values = draw.pick("normal", "uniform", "whole", "offset", "zeros", "equal")
        self.elements = draw.pick(60, 600, 4000, 4000, 60_000)

    def array(self, shape: list[int], **more: Value) -> Value:
        """Describe an array of the call's dtype. One in ten has its start moved, which must not
        change anything.
        """
        if self.draw.chance(0.1):
            more = {"memory": self.draw.pick("shifted", "readonly", "subclass"), **more}
        more = {"values": self.values, "dtype": self.dtype, **more}
        return self.draw.array(shape, **more)

    def shape(self, axes: int, least: int = 0) -> list[int]:
        return self.draw.shape(axes, self.elements, least)

    def blocks(self, most: int = 5) -> int:
        """Return a number of channels for the kernels that take channels in blocks."""
        return 16 * self.draw.integer(1, most)

    def maybe(self, share: float, **options: Value) -> Args:
        """Return some of the options."""
        return {name: value for name, value in options.items() if self.draw.chance(share)}

    def geometry(self) -> tuple[list[int], list[int], list[int], list[Any]]:
        """Return (kernel, stride, dilation, padding) for which fitting images can be drawn."""
        draw = self.draw
        kernel = [draw.pick(1, 2, 3, 3, 5, 7), draw.pick(1, 2, 3, 3, 4)]
        stride = [draw.pick(1, 1, 2, 3), draw.pick(1, 1, 2, 5)]
        dilation = [draw.pick(1, 1, 2, 3), draw.pick(1, 1, 2)]
        pads = [draw.pick(0, 0, 1, 1, 2, 3) for _ in range(4)]
        return kernel, stride, dilation, [pads[:2], pads[2:]]

    def image(
        self, kernel: list[int], dilation: list[int], padding: list[Any], channels: int
    ) -> list[int]:
        """Return the shape of images that are at least as large as the kernel."""
        sizes = []
        for axis in range(2):
            least = max(1, dilation[axis] * (kernel[axis] - 1) + 1 - sum(padding[axis]))
            sizes.append(self.draw.size(max(40, least), least))
        room = max(1, self.elements // max(1, sizes[0] * sizes[1] * channels))
        n = 0 if self.draw.chance(0.03) else self.draw.integer(1, min(5, room))
        return [n, *sizes, channels]


def _unary(k: Kernel) -> Args:
    return {"x": k.array(k.shape(k.draw.integer(0, 4)))}


def _numeric(k: Kernel) -> Args:
    if k.draw.chance(0.2):
        k.dtype = k.draw.pick("int64", "int32", "uint8", "int8")
    return _unary(k)


def _two(first: str, second: str) -> Any:
    def make(k: Kernel) -> Args:
        shape = k.shape(k.draw.integer(0, 4))
        return {first: k.array(shape), second: k.array(shape)}

    return make


def _binary(k: Kernel) -> Args:
    shape = k.shape(k.draw.integer(0, 4))
    other = [1 if k.draw.chance(0.25) else n for n in shape][k.draw.integer(0, len(shape)) :]
    if k.draw.chance(0.15):
        k.dtype = k.draw.pick("int64", "int32", "uint8")
    a, b = k.array(shape), k.array(other)
    if k.draw.chance(0.2):
        b = k.draw.pick(0, 1, 2, -1.5, 0.5, 3.0) if k.dtype in FLOATS else k.draw.pick(0, 1, 2)
    if k.name == "power" and isinstance(b, dict) and k.dtype not in FLOATS:
        b["low"] = 0
    return {"a": a, "b": b} if k.draw.chance(0.7) else {"a": b, "b": a}


def _activation(k: Kernel) -> Args:
    shape = k.shape(k.draw.integer(1, 3))
    args = {"x": k.array(shape)}
    if k.name.endswith("_backward"):
        args = {"dy": k.array(shape), **args}
    options = OPTIONS.get(k.name.removesuffix("_backward"), {})
    return args | {name: k.draw.pick(*values) for name, values in options.items()}


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
    stack = [draw.integer(0, 4)] if draw.chance(0.4) else []
    ta, tb = draw.chance(0.5), draw.chance(0.5)
    if k.name == "matmul_panels":
        return {"b": k.array([n, depth]), **k.maybe(0.5, transpose_b=True)}
    return {
        "a": k.array(stack + ([depth, m] if ta else [m, depth])),
        "b": k.array(stack + ([n, depth] if tb else [depth, n])),
        "transpose_a": ta,
        "transpose_b": tb,
    }


def _global_pool(k: Kernel) -> Args:
    shape = k.shape(k.draw.integer(3, 4), least=1)
    if k.name == "global_avg_pool":
        return {"x": k.array(shape)}
    return {"dy": k.array([shape[0], shape[-1]]), "input_shape": tuples(shape)}


def _cell(k: Kernel) -> Args:
    n, h = k.shape(2)
    gates = 4 if "lstm" in k.name else 3
    wide, narrow = [n, gates * h], [n, h]
    if k.name == "lstm_cell":
        args = {"x": k.array(wide), "hidden": k.array(wide), "c": k.array(narrow)}
        return args | k.maybe(0.3, squash=False)
    if k.name == "lstm_cell_backward":
        args = {"dh": k.array(narrow), "dc": k.array(narrow), "gates": k.array(wide)}
        args |= {"c": k.array(narrow), "c_new": k.array(narrow)}
        return args | k.maybe(0.3, squash=False)
    bias = {"bias": k.array([h]) if k.draw.chance(0.5) else None}
    if k.name == "gru_cell":
        return {"x": k.array(wide), "hidden": k.array(wide), **bias, "h": k.array(narrow)}
    args = {"dy": k.array(narrow), "gates": k.array(wide), "hidden": k.array(wide)}
    return {**args, **bias, "h": k.array(narrow)}


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
        # Rows of probabilities must sum to 1; for other rows the twins may return anything.
        args = {"dlosses": k.array([m]), "probabilities": k.array([m, classes], values="shares")}
    args["labels"] = k.draw.array([m], "int64", low=k.draw.pick(0, -1), high=classes - 1)
    return args | k.maybe(0.4, weight=k.array([classes], values="uniform"), smoothing=0.1)


def _update(k: Kernel) -> Args:
    draw = k.draw
    shapes = [k.shape(draw.integer(0, 3)) for _ in range(draw.integer(0, 3))]

    # The kernel writes to them, so they are never read-only.
    def arrays(values: str = k.values) -> Value:
        return [draw.array(shape, k.dtype, values) for shape in shapes]

    args: Args = {"params": arrays(), "grads": arrays()}
    rate, eps = draw.pick(0.1, 1e-3, 1.0), draw.pick(1e-8, 1e-5)
    decay = {"weight_decay": draw.pick(0.0, 0.01)}
    momentum = draw.chance(0.6)
    velocities = {"velocities": arrays() if momentum else None}
    if k.name == "square_sum":
        return {"grads": args["grads"]}
    if k.name == "sgd_update":
        args |= velocities | decay | {"lr": rate, "momentum": 0.9 if momentum else 0.0}
        return {**args, "nesterov": momentum and draw.chance(0.5)}
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
    args |= velocities | decay | {"lr": rate, "momentum": 0.9 if momentum else 0.0}
    return {**args, "trust": 0.001, "eps": eps}


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
    **dict.fromkeys(FAMILIES["elementwise.activation"], _activation),
    **dict.fromkeys(("sum", "mean", "max", "min", "moments"), _reduce),
    "deviations": _deviations,
    **dict.fromkeys(("matmul", "matmul_panels"), _matmul),
    **WINDOWS,
    **dict.fromkeys(("global_avg_pool", "global_avg_pool_backward"), _global_pool),
    **dict.fromkeys(("lstm_cell", "lstm_cell_backward", "gru_cell", "gru_cell_backward"), _cell),
    **dict.fromkeys(("embedding", "embedding_backward"), _embedding),
    **dict.fromkeys(("softmax", "softmax_backward", "log_softmax", "log_softmax_backward"), _rows),
    **dict.fromkeys(("cross_entropy", "cross_entropy_backward"), _cross_entropy),
    **dict.fromkeys(FAMILIES["optim.updates"], _update),
    "dropout": _dropout,
    **NORMS,
    **PICTURES,
}
