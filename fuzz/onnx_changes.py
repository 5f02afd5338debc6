"""This module changes ONNX models, which `fuzz.onnx_nodes` describes, by their parts: attributes,
names, shapes, dtypes, arrays, the order of nodes, cycles, versions and functions.
"""

from collections.abc import Callable
from typing import Any

from .draw import Draw, Value
from .mutate import mutated
from .onnx_nodes import FORMS, Model

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    -5,
    1000,
    2**16,
    2**31 - 1,
    2**31,
    2**62,
    2**63 - 1,
    -(2**31),
    -(2**63),
)
FLOATS = (0.0, -1.0, 0.5, 1e30, -1e30, 1e-30, float("inf"))
WORDS = (
    "",
    "x",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "NOTSET",
    "linear",
    "cubic",
    "reflect",
    "tanh",
    "ij->ji",
    "...i,i",
    "LEFT",
    "bidirectional",
    "ä",
    "a" * 3000,
)
ODD = (
    *NUMBERS,
    *FLOATS,
    *WORDS,
    [],
    [0],
    [1, 1],
    [-1, 0, 2, 2**40],
    [0.5, 2.0],
    ["Tanh"],
    ["Relu", "x"],
    {"tensor": {"numbers": [1.0], "dtype": "float32"}},
    {"tensor": {"numbers": [2**40], "dtype": "int64"}},
    {"tensor": {"array": [0, 2**40], "dtype": "float32"}},
)
OPSETS = (-1, 0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 23, 24, 25, 99, 2**31)
NAMES = (
    "",
    ".",
    "x",
    "y0",
    "a.b",
    "a..b",
    "/a/b",
    "__init__",
    "training",
    "forward",
    "0",
    "ä",
    "unregistered",
    "__dict__",
    "a" * 3000,
    "running_mean",
    "head.weight.x",
)
DTYPES = (
    "float64",
    "float16",
    "int64",
    "int32",
    "int8",
    "uint8",
    "uint64",
    "bool",
    "complex64",
    "object",
)
ATTRIBUTES = sorted(
    {name for form in FORMS for name in form.options}
    | {
        "nix",
        "layout",
        "activations",
        "clip",
        "auto_pad",
        "broadcast",
        "is_test",
        "spatial",
        "training_mode",
        "consumed_inputs",
        "num_scan_inputs",
        "body",
    }
)


def attribute(draw: Draw, model: Model) -> None:
    """Change the value of an attribute, or add or remove one."""
    node = draw.pick(*model["nodes"])
    options = node["options"]
    if not options or draw.chance(0.25):
        options[draw.pick(*ATTRIBUTES)] = draw.pick(*ODD)
        return
    name = draw.pick(*options)
    value = options[name]
    if draw.chance(0.1):
        del options[name]
    elif isinstance(value, list) and value and draw.chance(0.8):
        options[name] = _list(draw, value)
    elif isinstance(value, float):
        options[name] = draw.pick(*FLOATS)
    elif isinstance(value, int) and draw.chance(0.7):
        options[name] = draw.pick(*NUMBERS)
    elif isinstance(value, str) and draw.chance(0.7):
        options[name] = draw.pick(*WORDS)
    else:
        options[name] = draw.pick(*ODD)


def _list(draw: Draw, items: list[Any]) -> list[Any]:
    """Change, remove or add one item."""
    items = list(items)
    at = draw.integer(0, len(items) - 1)
    how = draw.pick("set", "set", "set", "gone", "more")
    if how == "set":
        items[at] = draw.pick(*(FLOATS if isinstance(items[at], float) else NUMBERS))
    elif how == "gone":
        del items[at]
    else:
        items.insert(at, items[at])
    return items


def _names(model: Model) -> list[str]:
    """Return all names of values in the model."""
    return [
        *model["inputs"],
        *model["arrays"],
        *(name for node in model["nodes"] for name in (*node["in"], *node["out"])),
    ]


def wiring(draw: Draw, model: Model) -> None:
    """Change the input or output of a node: to none, to one that does not exist, or to its own (a
    cycle).
    """
    node = draw.pick(*model["nodes"])
    side = draw.pick("in", "in", "out")
    names = list(node[side])
    name = draw.pick(*_names(model), "", "nix", *node["out"])
    if not names or draw.chance(0.2):
        names.append(name)
    elif draw.chance(0.2):
        del names[draw.integer(0, len(names) - 1)]
    else:
        names[draw.integer(0, len(names) - 1)] = name
    node[side] = names


def operator(draw: Draw, model: Model) -> None:
    """Change an operator or its domain."""
    node = draw.pick(*model["nodes"])
    if draw.chance(0.2):
        node["domain"] = draw.pick("ai.onnx", "ai.onnx.ml", "nix", "com.microsoft")
    else:
        node["op"] = draw.pick(*FORMS).op if draw.chance(0.9) else draw.pick("", "If", "Loop", "ä")


def order(draw: Draw, model: Model) -> None:
    """Reorder the nodes, repeat or remove one, or change its kind."""
    nodes = model["nodes"]
    how, at = draw.pick("turn", "twice", "gone", "new"), draw.integer(0, len(nodes) - 1)
    if how == "turn":
        nodes.reverse()
    elif how == "twice":
        nodes.insert(at, {**nodes[at], "options": dict(nodes[at]["options"])})
    elif how == "gone" and len(nodes) > 1:
        del nodes[at]
    else:
        nodes.append(
            {
                "op": draw.pick(*FORMS).op,
                "in": [draw.pick(*_names(model), "")],
                "out": [f"new{len(nodes)}"],
                "options": {},
            }
        )


def array(draw: Draw, model: Model) -> None:
    """Change the numbers, the shape or the dtype of an array, or let its header contradict it."""
    kind = draw.pick("arrays", "arrays", "inputs")
    if not model[kind]:
        return
    name = draw.pick(*model[kind])
    item = dict(model[kind][name])
    how = draw.pick("mutated", "mutated", "mutated", "dims", "type", "gone", "elsewhere")
    if how == "gone":
        del model[kind][name]
        return
    if how == "dims":
        item["dims"] = [draw.pick(*NUMBERS) for _ in range(draw.integer(0, 4))]
    elif how == "type":
        item["type"] = draw.integer(-1, 26)
    elif how == "elsewhere":
        item["elsewhere"] = draw.pick("weights.bin", "../weights.bin", "/dev/zero", "")
    elif "numbers" in item:
        numbers = item["numbers"]
        item["numbers"] = (
            _list(draw, numbers)
            if isinstance(numbers, list) and numbers
            else draw.pick(*NUMBERS, [], [1, 2], [[1, 2]])
        )
    else:
        made = mutated(draw, item, Draw.absurd)
        item = made if isinstance(made, dict) and "array" in made else item
    model[kind][name] = item


def dtypes(draw: Draw, model: Model) -> None:
    """Change the dtype of an array, or of all floats."""
    dtype = draw.pick(*DTYPES)
    for kind in ("arrays", "inputs"):
        for name, item in model[kind].items():
            if draw.chance(0.5):
                model[kind][name] = {**item, "dtype": dtype}


def told(draw: Draw, model: Model) -> None:
    """Change what the file says of an input or output: no shape, words or absurd sizes in it; or a
    value that is both, or does not exist.
    """
    if model["inputs"] and draw.chance(0.6):
        name = draw.pick(*model["inputs"])
        shape: Value = draw.pick(
            None,
            "none",
            [],
            [2**40, 2],
            [-1, 4],
            ["N"],
            ["N", 4, "H", "W"],
            [0, 4, 5, 6],
            [2, 4, 5, 6, 1],
            [2, 4, 6],
        )
        model["inputs"][name] = {**model["inputs"][name], "told": shape}
        return
    outputs = model["outputs"]
    name = draw.pick(*_names(model), "nix", "")
    if outputs and draw.chance(0.3):
        del outputs[draw.pick(*outputs)]
    else:
        outputs[name] = draw.pick("float32", "int64", "object", "float64")


def version(draw: Draw, model: Model) -> None:
    """Change the operator set, remove it or add a second one, or change the version of the
    format.
    """
    if draw.chance(0.8):
        model["opset"] = draw.pick(*OPSETS)
    else:
        model["ir"] = draw.pick(-1, 0, 1, 3, 4, 99, 2**62)


def naming(draw: Draw, model: Model) -> None:
    """Rename a value everywhere."""
    old, new = draw.pick(*_names(model), ""), draw.pick(*NAMES)
    for kind in ("inputs", "arrays", "outputs"):
        model[kind] = {new if name == old else name: item for name, item in model[kind].items()}
    for node in model["nodes"]:
        for side in ("in", "out"):
            node[side] = [new if name == old else name for name in node[side]]
    if draw.chance(0.3):
        draw.pick(*model["nodes"])["name"] = draw.pick(*NAMES)


def function(draw: Draw, model: Model) -> None:
    """Replace a node by a call of a function of the file, which may call itself, or call others
    many times over.
    """
    at = draw.integer(0, len(model["nodes"]) - 1)
    node = model["nodes"][at]
    inside = {**node, "domain": "own", "op": "F"} if draw.chance(0.3) else dict(node)
    functions = [{"name": "F", "in": node["in"], "out": node["out"], "nodes": [inside]}]
    if draw.chance(0.2) and node["in"] and node["out"]:
        first, last = node["in"][0], node["out"][0]
        functions = [
            {
                "name": "F" if k == 0 else f"F{k}",
                "in": [first],
                "out": [last],
                "nodes": [
                    {
                        "op": f"F{k + 1}" if k < 29 else "Relu",
                        "domain": "own" if k < 29 else "",
                        "in": [first if j == 0 else "mid"],
                        "out": ["mid" if j == 0 else last],
                        "options": {},
                    }
                    for j in range(2)
                ],
            }
            for k in range(30)
        ]
    model["functions"] = functions
    model["nodes"][at] = {
        "op": "F",
        "domain": "own",
        "in": node["in"],
        "out": node["out"],
        "options": node["options"] if draw.chance(0.3) else {},
    }


CHANGES: tuple[Callable[[Draw, Model], None], ...] = (
    *(attribute,) * 6,
    *(wiring,) * 3,
    *(array,) * 5,
    operator,
    order,
    dtypes,
    told,
    told,
    version,
    naming,
    function,
)


def change(draw: Draw, model: Model) -> None:
    """Change something in a model."""
    if model["nodes"]:
        draw.pick(*CHANGES)(draw, model)
