"""This module says how operators of ONNX are called. `fuzz.onnx_models` makes models of them.

A model is data: {"opset": ..., "nodes": [{"op", "in", "out", "options"}, ...], "inputs": {name:
description of an array}, "arrays": {name: the same} (initializers), "outputs": {name: dtype}}. An
array may also be given by its numbers, {"numbers": [...], "dtype": ...}. `fuzz.onnx` makes a file
of a model.
"""

from dataclasses import dataclass, field
from typing import Any

from .draw import Value

Model = dict[str, Value]
X = [2, 4, 5, 6]


@dataclass(frozen=True)
class Form:
    """A way to call an operator. `inputs` are shapes of floats (of `dtype`) or descriptions; a
    tuple of them offers a choice, and None is an input that is left out. `options` has the choices
    for each attribute, where None again leaves it out. `gives` has the dtypes of the outputs.
    """

    op: str
    inputs: tuple[Any, ...]
    options: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    gives: tuple[str, ...] = ("",)  # "" stands for the dtype of the floats
    dtype: str = "float32"
    opset: int = 0  # the oldest operator set that has the form; below 13, the only one


def ints(*numbers: int) -> Value:
    """Return a list of integers that is a constant of the file."""
    return {"numbers": list(numbers), "dtype": "int64"}


def number(value: float, dtype: str = "float32") -> Value:
    """Return a number that is a constant of the file."""
    return {"numbers": value, "dtype": dtype}


def integers(shape: list[int], dtype: str = "int64", low: int = 0, high: int = 3) -> Value:
    """Describe an array of integers."""
    return {"array": shape, "dtype": dtype, "low": low, "high": high, "seed": 1}


POSITIVE = {"array": [4], "dtype": "float32", "values": "positive", "seed": 1}
OTHER = (X, [4, 1, 1], [6], [5, 6], [1], [])  # shapes that broadcast with X
KEPT = {"keepdims": (None, 0, 1)}
WINDOW = {
    "kernel_shape": ([3, 2], [2, 2]),
    "strides": (None, [1, 1], [2, 1], [3, 2]),
    "dilations": (None, [1, 1], [2, 1]),
    "pads": (None, [0, 0, 0, 0], [1, 0, 0, 1]),
    "ceil_mode": (None, 0, 1),
}
CONV = {
    "strides": (None, [2, 1]),
    "dilations": (None, [1, 2]),
    "pads": (None, [1, 1, 1, 1], [0, 1, 2, 0]),
}
CELL = {"hidden_size": (3,), "direction": (None, "forward", "reverse")}
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")

UNARY = (
    "Relu",
    "Sigmoid",
    "HardSwish",
    "Mish",
    "Softplus",
    "Softsign",
    "Tanh",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Erf",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Identity",
    "GlobalAveragePool",
    "GlobalMaxPool",
)
REDUCTIONS = (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
)
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")

FORMS = (
    *(Form(op, (X,)) for op in UNARY),
    *(Form(op, (X, OTHER)) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
    *(Form(op, (X, OTHER), gives=("bool",)) for op in COMPARISONS),
    *(
        Form(op, (integers(X, "bool"), integers([5, 6], "bool")), gives=("bool",))
        for op in ("And", "Or", "Xor")
    ),
    *(
        Form(op, (integers(X, "int32"), integers([6], "int32")), gives=("int32",))
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    *(
        Form(op, (X, ints(1, -1)), {**KEPT, "noop_with_empty_axes": (None, 0, 1)})
        for op in REDUCTIONS
    ),
    *(
        Form(
            op, (X,), {"axis": (None, 1, -1), "select_last_index": (None, 0, 1), **KEPT}, ("int64",)
        )
        for op in ("ArgMax", "ArgMin")
    ),
    *(Form(op, (X,), {"axis": (None, 1, -1)}) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    Form("LeakyRelu", (X,), {"alpha": (None, 0.1)}),
    Form("Elu", (X,), {"alpha": (None, 0.5)}),
    Form("Selu", (X,), {"alpha": (None, 1.5), "gamma": (None, 2.0)}),
    Form("Celu", (X,), {"alpha": (None, 0.5)}),
    Form("HardSigmoid", (X,), {"alpha": (None, 0.3), "beta": (None, 0.4)}),
    Form("Swish", (X,), {"alpha": (None, 0.5)}, opset=24),
    Form("ThresholdedRelu", (X,), {"alpha": (None, 0.5)}),
    Form("Shrink", (X,), {"bias": (None, 0.1), "lambd": (None, 0.3)}),
    Form("Gelu", (X,), {"approximate": (None, "none", "tanh")}, opset=20),
    Form("IsNaN", (X,), gives=("bool",)),
    Form("IsInf", (X,), {"detect_positive": (None, 0)}, ("bool",)),
    Form("Not", (integers(X, "bool"),), gives=("bool",)),
    Form("BitwiseNot", (integers(X, "int32"),), gives=("int32",)),
    Form(
        "BitShift",
        (integers(X, "uint8"), integers([6], "uint8")),
        {"direction": ("LEFT", "RIGHT")},
        ("uint8",),
    ),
    Form("Mod", (integers(X, "int32"), integers([6], "int32", 1)), gives=("int32",)),
    Form("Mod", (X, [6]), {"fmod": (1,)}),
    Form("Pow", ({**POSITIVE, "array": X}, ([6], number(2.0)))),
    Form("PRelu", (X, ([4, 1, 1], [1]))),
    Form("Clip", (X, (number(-0.5), None), (number(0.5), None))),
    Form("Where", (integers(X, "bool"), X, OTHER)),
    Form("Cast", (X,), {"to": (7,)}, ("int64",)),
    Form("Cast", (integers(X, "int8"),), {"to": (11,)}, ("float64",)),
    Form("CastLike", (X, integers([1], "int32")), gives=("int32",)),
    Form("Dropout", (X, (number(0.5), None)), {"seed": (None, 1)}),
    Form(
        "Conv", ([2, 4, 7, 8], [6, 4, 3, 3], ([6], None)), {**CONV, "kernel_shape": (None, [3, 3])}
    ),
    Form("Conv", ([2, 4, 7, 8], [6, 2, 3, 3], [6]), {**CONV, "group": (2,)}),
    Form(
        "Conv",
        ([2, 4, 9], [6, 4, 3]),
        {"auto_pad": ("SAME_UPPER", "VALID"), "strides": (None, [2])},
    ),
    Form(
        "ConvTranspose",
        ([2, 4, 5, 6], [4, 3, 3, 2], ([3], None)),
        {"strides": ([2, 3],), "pads": (None, [1, 0, 0, 1]), "output_padding": (None, [1, 1])},
    ),
    Form("MaxPool", (X,), WINDOW),
    Form("AveragePool", (X,), {**WINDOW, "count_include_pad": (None, 0, 1)}, opset=20),
    Form("LpPool", (X,), {**WINDOW, "p": (None, 1, 2)}),
    Form("GlobalLpPool", (X,), {"p": (None, 1)}),
    Form("BatchNormalization", (X, [4], [4], [4], POSITIVE), {"epsilon": (None, 1e-3)}),
    Form("InstanceNormalization", (X, [4], [4]), {"epsilon": (None, 1e-3)}),
    Form("GroupNormalization", (X, [4], [4]), {"num_groups": (2, 4)}, opset=21),
    Form("LayerNormalization", (X, [6], ([6], None)), {"axis": (None, -1, 3)}),
    Form("RMSNormalization", (X, [6]), {"axis": (None, -1)}, opset=23),
    Form("LRN", (X,), {"size": (1, 3), "alpha": (None, 0.1), "bias": (None, 2.0)}),
    Form("LpNormalization", (X,), {"axis": (None, 1), "p": (None, 1)}),
    Form("MeanVarianceNormalization", (X,), {"axes": (None, [0, 2, 3], [1])}),
    Form(
        "Gemm", ([3, 5], [5, 4], ([4], [3, 1], None)), {"alpha": (None, 0.5), "beta": (None, 2.0)}
    ),
    Form("Gemm", ([5, 3], [4, 5], [4]), {"transA": (1,), "transB": (1,)}),
    Form("MatMul", (([3, 5], [2, 3, 5]), ([5, 4], [2, 5, 4]))),
    Form("Einsum", ([3, 5], [5, 4]), {"equation": ("ij,jk->ik", "ij,jk", "ij,jk->ki")}),
    Form("LSTM", ([3, 2, 4], [1, 12, 4], [1, 12, 3], ([1, 24], None)), CELL, ("", "", "")),
    Form(
        "GRU",
        ([3, 2, 4], [1, 9, 4], [1, 9, 3], ([1, 18], None)),
        {**CELL, "linear_before_reset": (None, 0, 1)},
        ("", ""),
    ),
    Form("RNN", ([3, 2, 4], [1, 3, 4], [1, 3, 3]), CELL, ("", "")),
    Form("CumSum", (X, number(1, "int64")), {"exclusive": (None, 1), "reverse": (None, 1)}),
    Form("TopK", (X, ints(2)), {"axis": (None, 1), "largest": (None, 0)}, ("", "int64")),
    Form("Reshape", (X, (ints(0, -1, 3), ints(-1), ints(2, 2, 60))), {"allowzero": (None, 0)}),
    Form("Flatten", (X,), {"axis": (None, 0, 2, 4, -1)}),
    Form("Transpose", (X,), {"perm": (None, [0, 2, 3, 1], [3, 1, 0, 2])}),
    Form("Squeeze", ([2, 1, 3, 1], (ints(1), ints(1, -1), None))),
    Form("Unsqueeze", (X, (ints(0), ints(1, -1)))),
    Form("Expand", ([4, 1, 6], (ints(2, 4, 5, 6), ints(1, 5, 1)))),
    Form("Tile", (X, ints(1, 2, 1, 3))),
    Form("Concat", (X, X, X), {"axis": (0, 1, -1)}),
    Form("Split", (X,), {"axis": (1,), "num_outputs": (2,)}, ("", "")),
    Form("Split", (X, ints(1, 3, 1)), {"axis": (2,)}, ("", "", "")),
    Form("Slice", (X, ints(1, -1), ints(3, -100), ints(1, 3), (ints(1, -2), ints(2, -1)))),
    Form(
        "Gather",
        (X, (integers([2], high=1), integers([2, 2], high=1), number(-1, "int64"))),
        {"axis": (None, 1, 3)},
    ),
    Form("GatherElements", (X, integers([2, 3, 5, 6], high=1)), {"axis": (None, 1, 2)}),
    Form("GatherND", (X, integers([2, 3, 2], high=1)), {"batch_dims": (None, 1)}),
    Form(
        "Pad",
        (X, ints(0, 0, 1, 2, 0, 0, 0, 3), (number(2.0), None)),
        {"mode": (None, "constant", "reflect", "edge", "wrap")},
    ),
    Form(
        "Resize",
        (X, None, {"numbers": [1.0, 1.0, 2.0, 0.6], "dtype": "float32"}),
        {"mode": (None, "nearest", "linear"), "coordinate_transformation_mode": COORDINATES},
    ),
    Form("Resize", (X, None, None, ints(2, 4, 3, 9)), {"mode": (None, "linear")}),
    Form(
        "Upsample",
        (X, {"numbers": [1.0, 1.0, 2.0, 3.0], "dtype": "float32"}),
        {"mode": (None, "linear")},
        opset=9,
    ),
    Form("DepthToSpace", (X,), {"blocksize": (1, 2), "mode": (None, "DCR", "CRD")}),
    Form("SpaceToDepth", ([2, 4, 4, 6],), {"blocksize": (1, 2)}),
    Form("Trilu", (X, (number(1, "int64"), None)), {"upper": (None, 0)}),
    Form(
        "OneHot",
        (integers([3]), number(5, "int64"), {"numbers": [0.0, 2.0], "dtype": "float32"}),
        {"axis": (None, 0)},
    ),
    Form("NonZero", (integers([3, 4]),), gives=("int64",)),
    Form("EyeLike", ([3, 4],), {"k": (None, 1)}),
    Form("Constant", (), {"value_floats": ([1.0, 2.0],)}),
    Form("Constant", (), {"value": ({"tensor": {"array": X, "dtype": "float32", "seed": 1}},)}),
    Form(
        "ConstantOfShape",
        (ints(2, 3),),
        {"value": (None, {"tensor": {"numbers": [2.0], "dtype": "float32"}})},
    ),
    Form("Range", (number(0.0), number(5.0), number(0.5))),
    Form("Shape", (X,), {"start": (None, 1), "end": (None, -1)}, ("int64",)),
    Form("Size", (X,), gives=("int64",)),
    Form("QuantizeLinear", (X, number(0.1), number(3, "uint8")), gives=("uint8",)),
    Form("DequantizeLinear", (integers(X, "int8"), number(0.1), (number(3, "int8"), None))),
)
