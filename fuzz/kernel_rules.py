"""This module says how close the result of a native kernel must be to that of its twin.

There are four rules, by what a kernel computes:
    exact       the same values (a zero of either sign, any NaN)
    ulp         each value within some units in the last place of the result in float64
    magnitude   a sum of products: within units of rounding of the sum of their absolute values,
                which the twin gives for absolute arguments
    norm        everything else: within units of rounding of the largest value of the array
The last rule also allows what happens to the result when each argument is perturbed by a rounding
error, which measures how ill-conditioned the result is. A value may instead equal what the twin
gives in the dtype of the arguments. Sums of numbers near the end of the range are not compared.
"""

import math
from typing import Any

import numpy as np

from minidl.kernels.reference.norm.batch_norm_stats import batch_stats

from . import compare
from .values import arrays_in, values_of
from .watch import Fault

EXACT = frozenset(
    [
        "relu",
        "relu_backward",
        "absolute",
        "negative",
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "sqrt",
        "max",
        "min",
        "max_pool",
        "embedding",
        "to_float",
        "dropout",
        "leaky_relu",
        "leaky_relu_backward",
        "crop",
        "warp",
        "blend",
    ]
)
ULP = {
    "exp": 4,
    "log": 4,
    "tanh": 4,
    "sigmoid": 8,
    "sigmoid_backward": 8,
    "tanh_backward": 8,
    "power": 16,
    "elu": 8,
    "elu_backward": 8,
    "softplus": 16,
    "softplus_backward": 16,
    "silu": 16,
}
# For sums of products: how many rounding errors a result has besides those of the sum.
MAGNITUDE = {
    "matmul": 4,
    "conv": 4,
    "conv_input_grad": 4,
    "conv_weight_grad": 4,
    "depthwise_input_grad": 4,
    "depthwise_weight_grad": 4,
    "embedding_backward": 4,
    "sum": 4,
    "mean": 4,
    "avg_pool": 4,
    "avg_pool_backward": 4,
    "global_avg_pool": 4,
    "global_avg_pool_backward": 4,
    "max_pool_backward": 4,
}
# Units of rounding, relative to the largest value; kernels that are not listed have 64.
NORM = {
    "winograd_conv": 400,
    "winograd_input_grad": 400,
    "winograd_weight_grad": 1000,
    "batch_norm_finish": 400,
    "depthwise_backward": 400,
    "pointwise_backward": 400,
    "pointwise_conv": 400,
    "depthwise_conv": 400,
}
WINOGRAD = ("winograd_conv", "winograd_input_grad", "winograd_weight_grad")
# These kernels must be right for wild values too. If steps follow one another in a kernel, some of
# them overflow, and then no result is right.
WILD = {
    *EXACT,
    *ULP,
    *MAGNITUDE,
    "gelu",
    "gelu_backward",
    "silu_backward",
    "softmax",
    "log_softmax",
    "cross_entropy",
    "batch_stats",
    "layer_norm",
    "group_norm",
}
STATISTICS = ("batch_stats", "layer_norm", "group_norm")
# The statistics are those of an example, along the first axis.
EXAMPLES = ("layer_norm", "group_norm")
# Results in an order of their own, or the winners of a maximum, which rounding errors choose among
# nearly equal values.
PRIVATE = ("matmul_panels", "winograd_weights", "winograd_conv_pool")


class Rule:
    """The rule of a kernel: its twin, the references that the twin gives for a case, and the
    bound.
    """

    def __init__(self, name: str, twin: Any, case: dict[str, Any]) -> None:
        self.name, self.twin, self.case = name, twin, case
        arrays = arrays_in(values_of(case["args"]))
        # The number of terms that a value may be a sum of.
        self.terms = max((a.size for a in arrays), default=1)
        # Rounding errors go in both directions, but those of equal terms go in one direction.
        self.rounded = self.terms if "'equal'" in repr(case["args"]) else self.terms**0.5
        floats = [a.dtype for a in arrays if a.dtype.kind == "f"]
        self.dtype = min(floats, key=lambda d: d.itemsize, default=np.dtype(np.float64))
        self.wild = any(
            f"'{values}'" in repr(case["args"])
            for values in ("special", "tiny", "huge", "denormal", "mixed")
        )
        # If a mean or a deviation from it leaves the range of the dtype, results are infinite or
        # NaN.
        self.beyond = self.name in STATISTICS and any(
            not np.isfinite(np.abs(a[np.isfinite(a)]).sum(dtype=a.dtype))
            for a in arrays
            if a.dtype.kind == "f"
        )
        # If a share or an eps is a number of this size, nothing remains of what it is added to.
        self.absurd = any(
            isinstance(v, int | float) and abs(v) >= 2**31
            for name, v in case["args"].items()
            if name not in ("key", "step")
        )
        self.largest = max(
            (
                float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
                for a in arrays
                if a.dtype.kind == "f"
            ),
            default=0.0,
        )
        self.eps = float(np.finfo(self.dtype).eps)
        # Winograd's transforms mix the values of a tile, whose products cancel afterwards.
        self.mixed = (
            math.prod(
                [max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0.0))) for a in arrays[:2]]
            )
            if name in WINOGRAD
            else 0.0
        )

    def reference(self) -> tuple[Any, Any]:
        """Return (result, arguments afterwards) of the twin, in the dtype of the arguments."""
        args = values_of(self.case["args"])
        return self.twin(**args), args

    def check(self, got: Any, want: Any) -> None:
        """Raise Fault unless `got` is as close to the twin's result as the rule asks."""
        if self.name in PRIVATE:
            return
        compare.check_shapes(got, want)
        if (self.name not in WILD and self.wild) or (self.absurd and self.name not in EXACT):
            return
        if self.beyond:
            return
        # The statistics are those of the kernel's own y.
        if isinstance(got, tuple) and self.case["args"].get("stats"):
            want = (want[0], *batch_stats(got[0].astype(np.float64)))
        if isinstance(got, float):
            got, want = np.float64(got), np.float64(want)
        later: list[list[np.ndarray]] = []  # computed only when it is needed
        for i, (a, b) in enumerate(zip(arrays_in(got), arrays_in(want), strict=True)):
            if a.dtype != b.dtype and self.name not in NUMPY_DTYPES:
                raise Fault("dtype", f"result {i} is {a.dtype}, right {b.dtype}")
            if a.size == 0:
                continue
            bad = compare.outside(a, b, self._bound(b))
            if bad.any() and a.dtype.kind == "f" and self.name not in EXACT:
                later = later or self._references()
                exact, magnitude, moved = (parts[i] if parts else None for parts in later)
                if exact is not None:
                    b = exact
                    bad &= compare.outside(a, b, self._bound(b, magnitude, moved))
                    bad &= ~(self._near_the_end(b) | self._near_the_end(magnitude))
                if self.name in EXAMPLES:
                    bad &= ~(np.isnan(a) & self._lost(a.shape))
            if bad.any():
                raise compare.report(f"result {i}", a, b, bad)

    def _bound(self, b: np.ndarray, magnitude: Any = None, moved: Any = None) -> Any:
        """Return how far a result may be from b."""
        if self.name in EXACT or b.dtype.kind != "f":
            return 0.0
        tiny = float(np.finfo(self.dtype).tiny)
        if self.name in ULP:
            return ULP[self.name] * self.eps * np.abs(b) + tiny
        # The rounding errors of the twin itself.
        own = self.terms / 4 if self.dtype == np.float64 else 0
        if self.name in MAGNITUDE:
            if magnitude is None:
                return 0.0
            return (MAGNITUDE[self.name] + self.rounded + own) * self.eps * magnitude + tiny
        finite = np.isfinite(b)
        largest = float(np.abs(b[finite]).max(initial=0.0))
        bound = (NORM.get(self.name, 64) + own) * self.eps * largest + tiny
        if not self.wild:  # for values that are 0 because their parts cancel
            bound += 64 * self.eps * max(self.largest, self.mixed)
        if moved is not None:
            far = np.abs(moved - b)
            bound += (64 + 4 * self.terms**0.5) * float(far[np.isfinite(far)].max(initial=0.0))
        return bound

    def _lost(self, shape: tuple[int, ...]) -> Any:
        """Return where a value belongs to an example that holds an infinite one. With an infinite
        root mean square its finite values become 0 in theory; the kernels only promise that what is
        not finite stays in its example.
        """
        x = values_of(self.case["args"])["x"]
        lost = ~np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
        return lost.reshape(-1, *(1,) * (len(shape) - 1))

    def _near_the_end(self, values: Any) -> Any:
        if values is None or self.name in ULP:
            return np.False_
        return ~(np.abs(values) < float(np.finfo(self.dtype).max) / 64)

    def _references(self) -> list[list[np.ndarray]]:
        """Return the twin's results in float64: for the arguments, for their absolute values, and
        for arguments that are perturbed by a rounding error each.
        """
        rng = np.random.default_rng(0)

        def moved(a: np.ndarray) -> np.ndarray:
            return a * (1 + self.eps * rng.choice([-1.0, 1.0], a.shape))

        return [
            self._transformed(lambda a: a),
            self._transformed(np.abs) if self.name in MAGNITUDE else [],
            self._transformed(moved) if self.name not in MAGNITUDE else [],
        ]

    def _transformed(self, f: Any) -> list[np.ndarray]:
        """Return the twin's results (the arguments afterwards, for an update) for changed
        arrays.
        """
        args = _mapped(
            values_of(self.case["args"]),
            lambda a: f(a.astype(np.float64)) if a.dtype.kind == "f" else a,
        )
        try:
            result = self.twin(**args)
        except Exception:
            return []
        return arrays_in(args if result is None else result)


NUMPY_DTYPES = (
    "absolute",
    "negative",
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "power",
)


def _mapped(value: Any, f: Any) -> Any:
    if isinstance(value, np.ndarray):
        return f(value)
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, f) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(item, f) for key, item in value.items()}
    return np.dtype(np.float64) if isinstance(value, np.dtype) else value
