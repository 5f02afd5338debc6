"""`load_state` and `state_dict`: weights of a PyTorch module for a model here, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from ..nn.layer import Layer
from ..nn.state import StateError
from .layouts import COUNT, Entry, entries
from .matching import Loaded, Match, array_of, check_mapping, match, renamed
from .orders import Orders, orders_of


def load_state(
    model: Layer,
    state_dict: Mapping[str, Any],
    mapping: Mapping[str, str] | None = None,
    example: Any = None,
    strict: bool = True,
) -> Loaded:
    """Give a model the weights of a PyTorch module: `module.state_dict()`, tensors or arrays.

    Weights change their axes (OIHW to HWIO, (out, in) to (in, out), transposed and grouped
    convolutions too), an attention's in_proj_weight becomes three weights, the biases of recurrent
    layers are added, and the rows of a dense layer after flattened images change their order, from
    (C, H, W) to (H, W, C); so do the columns of a dense layer whose result becomes images.

    Entries are found by name if the module has the same names ("bn.weight" is bn.gamma), otherwise
    by structure: layer by layer in order, each with the same fields and shapes. `mapping`, a dict
    of our names to theirs, of layers or entries, replaces both: {"fc": "head.0"} maps a layer, and
    {"": "module"} puts a prefix before all names. A name that it lacks is the same on both sides.

    A trace of the model shows what it flattens. It is made for `example`, a batch as the model
    takes it (or a tuple of several inputs). Without one, an input that fits the first layer is
    looked for; a model of dense layers alone is taken to flatten nothing.

    Returns what was loaded, and what is left on both sides. With `strict` nothing may be left (but
    a state may lack the count of batches of a BatchNorm); without it, layers that do not fit stay
    as they are. An error changes nothing. StateError (a KeyError and a ValueError) lists all
    entries that are missing, unexpected or of another shape, or says that the state is one of
    minidl's, if names and shapes show it; ValueError asks for an example; TypeError is for a model
    that is no layer and a state that is no dict.

    >>> model = nn.Sequential(nn.Conv(3, 16, 3), nn.BatchNorm(16))
    >>> theirs = md.torch.state_dict(model, arrays=True)
    >>> theirs["0.weight"].shape
    (16, 3, 3, 3)
    >>> md.torch.load_state(model, theirs).loaded["1.weight"]
    '1.gamma'
    """
    where = f"load_state of {type(model).__name__}"
    checks.instance(model, "load_state", "model", Layer, "a Layer")
    strict = checks.flag(strict, "load_state", "strict")
    given = _arrays(state_dict, where)
    layout = list(entries(model, given))
    orders = orders_of(model, example, where)
    own = {name: array for name, _, array in model._memory()}
    shapes = {name: array.shape for name, array in _theirs(layout, own, {}).items()}
    if mapping is None:
        _refuse_ours(given, own, shapes, where)
    repeated = _repeated_layers(layout)
    found = match(
        shapes,
        {name: array.shape for name, array in given.items() if array is not None},
        repeated,
        mapping,
        where,
    )
    values, loaded = _taken(layout, found, given, shapes, orders, where)
    missing = [name for name in own if name not in values]
    unexpected = [name for name in given if name not in loaded]
    wanted = [name for name in missing if name.rpartition(".")[2] != "num_batches"]
    if strict:
        _refuse(where, {"missing": wanted, "unexpected": unexpected}, found.problems)
    model.load_state_dict(values, strict=False)
    return Loaded(loaded, missing, unexpected)


def state_dict(
    model: Layer,
    mapping: Mapping[str, str] | None = None,
    example: Any = None,
    like: Mapping[str, Any] | None = None,
    arrays: bool = False,
) -> dict[str, Any]:
    """The state of a model as the state of a PyTorch module, for `module.load_state_dict(...)`.

    Names are the model's own, with PyTorch's names for the fields of layers ("bn.gamma" is
    bn.weight), in PyTorch's order. With `like`, the state of the module that it is for, names and
    shapes are those of that state. `like`, `mapping` (of our names to theirs) and `example` follow
    the rules of `load_state`. Of the two biases that a recurrent layer has in PyTorch the second is
    zeros.

    The values are tensors of PyTorch (ImportError without it), or NumPy arrays with `arrays`; they
    are copies. StateError (a KeyError and a ValueError) unless the two sides of `like` fit, or for
    a mapping with a name that the model lacks; ValueError if it gives two entries one name.

    >>> list(md.torch.state_dict(nn.BatchNorm(4), arrays=True))
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    where = f"state_dict of {type(model).__name__}"
    checks.instance(model, "state_dict", "model", Layer, "a Layer")
    arrays = checks.flag(arrays, "state_dict", "arrays")
    layout = list(entries(model, like))
    own = {name: array for name, _, array in model._memory()}
    theirs = _theirs(layout, own, orders_of(model, example, where))
    if like is not None:
        theirs = _named_like(theirs, _repeated_layers(layout), like, mapping, where)
    elif mapping is not None:
        theirs = _renamed(theirs, mapping, where)
    copies = {name: np.array(array, order="C") for name, array in theirs.items()}
    return copies if arrays else _tensors(copies, where)


def _arrays(state: Any, where: str) -> dict[str, np.ndarray | None]:
    """The entries of a state as arrays."""
    if not isinstance(state, Mapping):
        hint = ": give module.state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(
            f"{where}: state_dict must be a dict of tensors or arrays, "
            f"got {type(state).__name__}{hint}"
        )
    inner = [name for name, value in state.items() if isinstance(value, Mapping)]
    if inner:
        raise TypeError(
            f"{where}: state_dict must be a dict of tensors or arrays, and "
            f"{inner[0]!r} holds a dict: give that, if it is the state of the module"
        )
    return {str(name): array_of(value, str(name), where) for name, value in state.items()}


def _refuse_ours(
    given: dict[str, Any], own: dict[str, np.ndarray], shapes: dict[str, Any], where: str
) -> None:
    """Raise StateError for the state of a model of minidl, if names and shapes tell it from one of
    PyTorch: dense weights that are square would be transposed."""
    if (
        given.keys() == own.keys()
        and any(shapes.get(name) != array.shape for name, array in own.items())
        and all(
            given[name] is not None and given[name].shape == array.shape
            for name, array in own.items()
        )
    ):
        raise StateError(
            f"{where}: this is a state of minidl's, not of PyTorch: "
            f"model.load_state_dict(state) takes it"
        )


def _repeated_layers(layout: list[Entry]) -> set[str]:
    """The layers, by their names in a PyTorch state, that occur before in another place."""
    seen: set[tuple[str, ...]] = set()
    found = set()
    for entry in layout:
        if entry.ours in seen:
            found.add(entry.theirs[0].rpartition(".")[0].removesuffix(".parametrizations.weight"))
        seen.add(entry.ours)
    return found


def _theirs(
    layout: list[Entry], own: dict[str, np.ndarray], orders: Orders
) -> dict[str, np.ndarray]:
    """All arrays of a model by PyTorch's names, in its layouts."""
    found: dict[str, np.ndarray] = {}
    for entry in layout:
        held = [_ordered(name, own[name], orders, back=True) for name in entry.ours]
        found.update(zip(entry.theirs, entry.give(*held), strict=True))
    return found


def _taken(
    layout: list[Entry],
    found: Match,
    given: dict[str, Any],
    shapes: dict[str, Any],
    orders: Orders,
    where: str,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The given arrays that have a pair, as arrays of ours by our names; and, by the given names,
    ours."""
    values: dict[str, np.ndarray] = {}
    loaded: dict[str, str] = {}
    for entry in layout:
        if not all(name in found.pairs for name in entry.theirs):
            continue
        arrays = [given[found.pairs[name]].reshape(shapes[name]) for name in entry.theirs]
        for name, array in zip(entry.ours, entry.take(*arrays), strict=True):
            array = _ordered(name, array, orders)
            if name in values and not np.array_equal(values[name], array, equal_nan=True):
                raise StateError(
                    f"{where}: wrong: {entry.theirs[0]} has other values than the "
                    f"same layer of the model has in another place"
                )
            values[name] = array
        for k, name in enumerate(entry.theirs):
            loaded[found.pairs[name]] = entry.ours[min(k, len(entry.ours) - 1)]
    return values, loaded


def _ordered(name: str, array: np.ndarray, orders: Orders, back: bool = False) -> np.ndarray:
    """An array in our layout with its entries in our order, or with `back` in PyTorch's order."""
    for axis in range(array.ndim):
        order = orders.get((name, axis))
        if order is not None:
            array = array.take(np.argsort(order) if back else order, axis)
    return array


def _named_like(
    theirs: dict[str, np.ndarray],
    repeated: set[str],
    like: Any,
    mapping: Mapping[str, str] | None,
    where: str,
) -> dict[str, np.ndarray]:
    """The arrays by the names of another state, in its order and shapes."""
    given = {name: array for name, array in _arrays(like, where).items() if array is not None}
    found = match(
        {name: array.shape for name, array in theirs.items()},
        {name: array.shape for name, array in given.items()},
        repeated,
        mapping,
        where,
    )
    back = {other: name for name, other in found.pairs.items()}
    left = [
        name
        for name in theirs
        if name not in found.pairs
        and not name.endswith(COUNT)
        and name.rpartition(".")[0] not in repeated
    ]
    without = [name for name in given if name not in back]
    _refuse(f"{where}: like", {"without a place": left, "without a value": without}, found.problems)
    return {name: theirs[back[name]].reshape(array.shape) for name, array in given.items()}


def _refuse(where: str, left: dict[str, list[str]], problems: list[str]) -> None:
    """Raise StateError with all names that are left, by what they lack, and all problems, if there
    are any."""
    said = [f"{what}: {', '.join(names)}" for what, names in left.items() if names]
    if problems:
        said.append("wrong: " + "; ".join(problems))
    if said:
        raise StateError(f"{where}: " + " | ".join(said))


def _renamed(
    theirs: dict[str, np.ndarray], mapping: Mapping[str, str], where: str
) -> dict[str, np.ndarray]:
    """The arrays by the names that a mapping gives them."""
    check_mapping(mapping, theirs, None, where)
    found: dict[str, np.ndarray] = {}
    for name, array in theirs.items():
        other = renamed(name, mapping)
        if other in found:
            raise ValueError(f"{where}: mapping: two entries would be named {other!r}")
        found[other] = array
    return found


def _tensors(arrays: dict[str, np.ndarray], where: str) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{where}: PyTorch is not installed; arrays=True gives NumPy arrays"
        ) from None
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
