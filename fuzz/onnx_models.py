"""This module makes random valid ONNX models: a single node of `fuzz.onnx_nodes`, or a small
network.
"""

from typing import Any

from .draw import Draw, Value
from .onnx_nodes import FORMS, POSITIVE, Form, Model, ints

NEWEST = (18, 20, 21, 22)  # the operator sets of valid models
LAYERS = (
    *("Conv", "Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "Concat"),
    *("Transpose", "Pad", "Resize", "Dropout"),
)


def random_model(draw: Draw) -> Model:
    """Return a valid model: a node, sometimes followed by others, or a small network."""
    return _network(draw) if draw.chance(0.25) else _single(draw, draw.pick(*FORMS))


def _single(draw: Draw, form: Form) -> Model:
    model: Model = {
        "opset": form.opset
        if 0 < form.opset < 13
        else draw.pick(*[n for n in NEWEST if n >= form.opset], form.opset or NEWEST[0]),
        "nodes": [],
        "inputs": {},
        "arrays": {},
        "outputs": {},
    }
    dtype = "float64" if draw.chance(0.1) and form.opset == 0 else form.dtype
    names = [
        _given(
            draw,
            model,
            f"x{k}",
            draw.pick(*item) if isinstance(item, tuple) else item,
            dtype,
            k == 0,
        )
        for k, item in enumerate(form.inputs)
    ]
    outputs = {f"y{k}": _dtype(given or "float32", dtype) for k, given in enumerate(form.gives)}
    _node(draw, model, form.op, names, list(outputs), form.options)
    first = next(iter(outputs))
    if outputs[first] == dtype and draw.chance(0.3):
        _node(draw, model, draw.pick("Relu", "Identity", "Neg", "Flatten"), [first], ["z"])
        outputs["z"] = outputs[first]
    model["outputs"] = outputs
    return model


def _given(draw: Draw, model: Model, name: str, item: Value, dtype: str, first: bool) -> str:
    """Add an input of a node to those of the file, or to its arrays, and return its name."""
    if item is None:
        return ""
    if isinstance(item, list):
        item = draw.array(item, "float32", draw.pick("normal", "normal", "normal", "uniform"))
    item = {**item, "dtype": _dtype(item["dtype"], dtype)}
    kind = "inputs" if first or draw.chance(0.15) else "arrays"
    model[kind if "array" in item else "arrays"][name] = item
    return name


def _dtype(given: str, floats: str) -> str:
    return floats if given == "float32" else given


def _node(
    draw: Draw,
    model: Model,
    op: str,
    inputs: list[str],
    outputs: list[str],
    options: dict[str, tuple[Any, ...]] | None = None,
) -> None:
    chosen = {name: draw.pick(*values) for name, values in (options or {}).items()}
    while inputs and not inputs[-1]:
        inputs.pop()
    model["nodes"].append(
        {
            "op": op,
            "in": inputs,
            "out": outputs,
            "options": {name: value for name, value in chosen.items() if value is not None},
        }
    )


def _network(draw: Draw) -> Model:
    """Return layers of images one after the other, followed by a classifier."""
    opset = draw.pick(*NEWEST)
    model: Model = {"opset": opset, "nodes": [], "inputs": {}, "arrays": {}, "outputs": {}}
    model["inputs"]["x"] = draw.array([2, 3, 9, 8])
    name, channels, arrays = "x", 3, model["arrays"]
    for k in range(draw.integer(1, 5)):
        y, op = f"v{k}", draw.pick(*LAYERS)
        if op == "Conv":
            arrays[f"w{k}"], arrays[f"b{k}"] = draw.array([4, channels, 3, 3]), draw.array([4])
            _node(draw, model, op, [name, f"w{k}", f"b{k}"], [y], {"pads": ([1, 1, 1, 1],)})
            channels = 4
        elif op == "BatchNormalization":
            given = {
                f"{word}{k}": {**POSITIVE, "array": [channels], "seed": k}
                for word in ("gamma", "beta", "mean", "var")
            }
            arrays |= given
            _node(draw, model, op, [name, *given], [y])
        elif op == "MaxPool":
            window = {"kernel_shape": ([2, 2],), "pads": ([1, 0, 0, 1],)}
            _node(draw, model, op, [name], [y], window)
        elif op in ("Add", "Concat"):
            _node(draw, model, op, [name, name], [y], {"axis": (1,)} if op == "Concat" else {})
            channels *= 2 if op == "Concat" else 1
        elif op == "Transpose":
            _node(draw, model, op, [name], [f"t{k}"], {"perm": ([0, 2, 3, 1],)})
            _node(draw, model, "Sigmoid", [f"t{k}"], [f"s{k}"])
            _node(draw, model, op, [f"s{k}"], [y], {"perm": ([0, 3, 1, 2],)})
        elif op == "Pad":
            arrays[f"a{k}"] = ints(0, 0, 1, 0, 0, 0, 0, 1)
            _node(draw, model, op, [name, f"a{k}"], [y])
        elif op == "Resize":
            arrays[f"a{k}"] = {"numbers": [1.0, 1.0, 1.5, 2.0], "dtype": "float32"}
            _node(draw, model, op, [name, "", f"a{k}"], [y])
        else:
            _node(draw, model, op, [name], [y])
        name = y
    _node(draw, model, "GlobalAveragePool", [name], ["pooled"])
    _node(draw, model, "Flatten", ["pooled"], ["rows"])
    arrays["head.weight"], arrays["head.bias"] = draw.array([3, channels]), draw.array([3])
    _node(draw, model, "Gemm", ["rows", "head.weight", "head.bias"], ["logits"], {"transB": (1,)})
    _node(draw, model, "Softmax", ["logits"], ["y"], {"axis": (-1,)})
    model["outputs"] = {"y": "float32", **({name: "float32"} if draw.chance(0.3) else {})}
    return model
