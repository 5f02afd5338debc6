"""Operators of one tensor that work value by value: activations, functions, casts. The order of the
axes does not matter to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...ops.operation import Operation
from ...ops.reduce import sum_to
from ...tensor import Tensor
from ..dtypes import dtype_of
from ..steps import ANY, FLOATS, NUMBERS, Operator, Step, refuse
from ..values import Held, aligned, unrecorded
from .functions import FORMULAS, STEPS, computed, formula, stepwise


def _one(
    f: Callable[[Step, Tensor], Tensor],
    *attributes: str,
    types: tuple[str, ...] = FLOATS,
    gives: Any = 0,
) -> Operator:
    """An operator that is computed by a function of the node and a tensor."""
    return Operator(
        lambda step, x: x.like(f(step, x.tensor)), attributes, types, places="any", gives=gives
    )


def _clipped(x: Tensor, low: float, high: float) -> Tensor:
    return ops.clip(x, low, high)


def _hard_sigmoid(step: Step, x: Tensor) -> Tensor:
    return _clipped(x * step.get("alpha", 0.2) + step.get("beta", 0.5), 0.0, 1.0)


def _selu(step: Step, x: Tensor) -> Tensor:
    alpha = step.get("alpha", 1.67326319217681884765625)
    return ops.elu(x, alpha) * step.get("gamma", 1.05070102214813232421875)


def _celu(step: Step, x: Tensor) -> Tensor:
    alpha = step.get("alpha", 1.0)
    return ops.elu(x / alpha, 1.0) * alpha


def _shrunk(step: Step, x: Tensor) -> Tensor:
    bias, limit = step.get("bias", 0.0), step.get("lambd", 0.5)
    return ops.where(x < -limit, x + bias, ops.where(x > limit, x - bias, ops.multiply(x, 0)))


def _swish(step: Step, x: Tensor) -> Tensor:
    alpha = step.get("alpha", 1.0)
    return ops.silu(x) if alpha == 1 else x * ops.sigmoid(x * alpha)


def _gelu(step: Step, x: Tensor) -> Tensor:
    return ops.gelu(x, step.get("approximate", "none"))


def _threshold(step: Step, x: Tensor) -> Tensor:
    return ops.where(x > step.get("alpha", 1.0), x, 0.0)


def _infinite(step: Step, x: Tensor) -> Tensor:
    up, down = step.get("detect_positive", 1), step.get("detect_negative", 1)
    return computed("IsInf", x, up=bool(up), down=bool(down))


def _check_celu(step: Step) -> None:
    refuse(step, not step.get("alpha", 1.0) > 0, "alpha that is not above 0 is not supported")


def _check_gelu(step: Step) -> None:
    word = step.get("approximate", "none")
    refuse(step, word not in ("none", "tanh"), f"approximate={word!r} is not supported")


class PReLU(Operation):
    """y = x where x > 0, else slope x;  dx = dy, or slope dy, dslope = sum of x dy elsewhere."""

    def forward(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        self.x, self.slope = x, slope
        return np.where(x < 0, x * slope, x)

    def backward(self, dy: np.ndarray) -> tuple[Any, Any]:
        below = self.x < 0
        dslope = None
        if self.needs_grad[1]:
            dslope = sum_to(np.where(below, self.x * dy, dy.dtype.type(0)), self.slope.shape)
        return np.where(below, dy * self.slope, dy), dslope


def _prelu(step: Step, x: Held, slope: Held) -> Held:
    if step.opset < 7 and slope.ndim == 1 and x.ndim > 1 and slope.shape != (1,):
        slope = Held(ops.reshape(slope.plain, (slope.shape[0], *(1,) * (x.ndim - 2))))
    (a, b), axes = aligned([x, slope])
    return Held(PReLU.apply(a, b), axes)


def _cast(step: Step, x: Held) -> Held:
    return x.like(_converted(x.tensor, dtype_of(step.get("to"))))


def _converted(x: Tensor, dtype: np.dtype | None) -> Tensor:
    assert dtype is not None
    if x.dtype.kind == "f" and dtype.kind in "iu":  # towards 0, and without a warning of NaN
        with np.errstate(invalid="ignore"):
            return ops.astype(x, dtype)
    return ops.astype(x, dtype)


def _check_cast(step: Step) -> None:
    refuse(
        step,
        dtype_of(step.get("to")) is None,
        "a cast to a dtype that is no float32, float64, integer or bool is not supported",
    )


def _cast_like(step: Step, x: Held, like: Held) -> Held:
    """x in the dtype of another value, on which it depends in no other way."""
    if not x.constant:
        return x.like(_converted(x.tensor, like.dtype))
    with unrecorded():
        return Held(_converted(x.tensor, like.dtype), x.axes, True)


def _identity(step: Step, x: Held) -> Held:
    return x


def _dropout(step: Step, x: Held, ratio: Held | None = None, training: Held | None = None) -> Any:
    """x itself, unless the file has the node in training mode: a share of the values is then 0."""
    share = step.get("ratio", 0.5) if ratio is None else ratio.scalar()
    on = step.attributes["training"] or (training is not None and bool(training.scalar()))
    if not step.makes(1):
        return x.like(ops.dropout(x.tensor, share) if on and share else x.tensor)
    factors = ops.ones_like(x.tensor)
    factors = ops.dropout(factors, share) if on and share else factors
    return x.like(x.tensor * factors), x.like(factors != 0)


def _check_dropout(step: Step) -> None:
    step.attributes["training"] = step.opset < 7 and not step.get("is_test", 0)


ELEMENTWISE = {
    "Relu": _one(lambda step, x: ops.relu(x)),
    "LeakyRelu": _one(lambda step, x: ops.leaky_relu(x, step.get("alpha", 0.01)), "alpha"),
    "Elu": _one(lambda step, x: ops.elu(x, step.get("alpha", 1.0)), "alpha"),
    "Selu": _one(_selu, "alpha", "gamma"),
    "Celu": Operator(
        lambda step, x: x.like(_celu(step, x.tensor)), ("alpha",), check=_check_celu, places="any"
    ),
    "Sigmoid": _one(lambda step, x: ops.sigmoid(x)),
    "HardSigmoid": _one(_hard_sigmoid, "alpha", "beta"),
    "HardSwish": _one(lambda step, x: x * _clipped(x * (1 / 6) + 0.5, 0.0, 1.0)),
    "Swish": _one(_swish, "alpha"),
    "Mish": _one(lambda step, x: x * ops.tanh(ops.softplus(x))),
    "Softplus": _one(lambda step, x: ops.softplus(x, 1, np.inf)),
    "Softsign": _one(lambda step, x: x / (ops.abs(x) + 1)),
    "Tanh": _one(lambda step, x: ops.tanh(x)),
    "ThresholdedRelu": _one(_threshold, "alpha"),
    "Shrink": _one(_shrunk, "bias", "lambd"),
    "Exp": _one(lambda step, x: ops.exp(x)),
    "Log": _one(lambda step, x: ops.log(x)),
    "Sqrt": _one(lambda step, x: ops.sqrt(x)),
    "Sin": _one(lambda step, x: ops.sin(x)),
    "Cos": _one(lambda step, x: ops.cos(x)),
    "Reciprocal": _one(lambda step, x: 1 / x),
    "Abs": _one(lambda step, x: ops.abs(x), types=NUMBERS),
    "Neg": _one(lambda step, x: ops.negative(x), types=NUMBERS),
    "IsInf": _one(_infinite, "detect_positive", "detect_negative", gives="bool"),
    **{name: _one(lambda step, x: formula(step.operator, x)) for name in FORMULAS},
    **{
        name: _one(
            lambda step, x: stepwise(step.operator, x),
            types=ANY,
            gives="bool" if name == "IsNaN" else 0,
        )
        for name in STEPS
    },
    "Gelu": Operator(
        lambda step, x: x.like(_gelu(step, x.tensor)),
        ("approximate",),
        check=_check_gelu,
        places="any",
    ),
    "PRelu": Operator(_prelu, places="any"),
    "Cast": Operator(
        _cast,
        ("to", "saturate", "round_mode"),
        ANY,
        _check_cast,
        "any",
        lambda step: dtype_of(step.get("to")),
    ),
    "CastLike": Operator(_cast_like, ("saturate", "round_mode"), ANY, places="any", gives=1),
    "Identity": Operator(_identity, (), ANY, places="any"),
    "Dropout": Operator(
        _dropout, ("ratio", "is_test", "seed"), FLOATS, _check_dropout, "any", (0, "bool")
    ),
}
