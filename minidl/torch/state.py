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


def load_state(model: Layer, state_dict: Mapping[str, Any],
               mapping: Mapping[str, str] | None = None, example: Any = None,
               strict: bool = True) -> Loaded:
    """Give a model the weights of a PyTorch module: `module.state_dict()`, tensors or arrays.

    Weights change their axes (OIHW to HWIO, (out, in) to (in, out), transposed and grouped
    convolutions too), an attention's in_proj_weight becomes three, biases of recurrent layers are
    added, and the rows of a dense layer behind
    flattened images change their order, from (C, H, W) to (H, W, C); so do the columns of one whose
    result becomes images.

    Entries are found by name if the module has the same names ("bn.weight" is bn.gamma), otherwise
    by structure: layer by layer in order, each with the same fields and shapes. Or by `mapping`, a
    dict of our names to theirs, of layers or entries: {"fc": "head.0"}; {"": "module"} puts a
    prefix before all. What it does not name has the same name on both sides.

    What was flattened is seen in a trace of the model, for `example`, a batch as the model takes it
    (or a tuple of several inputs). Without one an input of the first layer's channels is looked
    for; a model of dense layers alone is taken as one of rows.

    Returns what was loaded, and what is left on both sides. With `strict` nothing may be left (but
    a state may lack the count of batches of a BatchNorm); without, layers that do not fit stay as
    they are. Nothing is changed after an error: StateError (a KeyError and a ValueError) lists all
    that is missing, unexpected or of another shape, or says that the state is one of minidl's,
    where names and shapes tell; ValueError asks for an example, TypeError for a
    model and a dict.

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
    there = list(entries(model, given))
    orders = orders_of(model, example, where)
    own = {name: array for name, _, array in model._memory()}
    shapes = {name: array.shape for name, array in _theirs(there, own, {}).items()}
    if mapping is None:
        _refuse_ours(given, own, shapes, where)
    again = _again(there)
    found = match(shapes, {name: array.shape for name, array in given.items() if array is not None},
                  again, mapping, where)
    values, loaded = _taken(there, found, given, shapes, orders, where)
    missing = [name for name in own if name not in values]
    unexpected = [name for name in given if name not in loaded]
    wanted = [name for name in missing if name.rpartition(".")[2] != "num_batches"]
    if strict:
        _refuse(where, {"missing": wanted, "unexpected": unexpected}, found.problems)
    model.load_state_dict(values, strict=False)
    return Loaded(loaded, missing, unexpected)


def state_dict(model: Layer, mapping: Mapping[str, str] | None = None, example: Any = None,
               like: Mapping[str, Any] | None = None, arrays: bool = False) -> dict[str, Any]:
    """The state of a model as that of a PyTorch module: `module.load_state_dict(...)` takes it.

    Names are the model's own, with PyTorch's for those of layers ("bn.gamma" is bn.weight), in
    PyTorch's order. `like`, the state of the module that it is for, gives its names and shapes
    instead, by the rules of `load_state`, as do `mapping` (of our names to theirs) and `example`.
    Of the two biases of a recurrent layer in PyTorch the second one is zeros.

    The values are tensors of PyTorch (ImportError without it), or NumPy arrays with `arrays`; they
    are copies. StateError (a KeyError and a ValueError) unless the two sides of `like` fit, or for
    a mapping with a name that the model lacks; ValueError if it gives two entries one name.

    >>> list(md.torch.state_dict(nn.BatchNorm(4), arrays=True))
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    where = f"state_dict of {type(model).__name__}"
    checks.instance(model, "state_dict", "model", Layer, "a Layer")
    arrays = checks.flag(arrays, "state_dict", "arrays")
    there = list(entries(model, like))
    own = {name: array for name, _, array in model._memory()}
    theirs = _theirs(there, own, orders_of(model, example, where))
    if like is not None:
        theirs = _named_like(theirs, _again(there), like, mapping, where)
    elif mapping is not None:
        theirs = _renamed(theirs, mapping, where)
    copies = {name: np.array(array, order="C") for name, array in theirs.items()}
    return copies if arrays else _tensors(copies, where)


def _arrays(state: Any, where: str) -> dict[str, np.ndarray | None]:
    """The entries of a state as arrays."""
    if not isinstance(state, Mapping):
        hint = (": give module.state_dict()" if hasattr(state, "state_dict") else "")
        raise TypeError(f"{where}: state_dict must be a dict of tensors or arrays, "
                        f"got {type(state).__name__}{hint}")
    inner = [name for name, value in state.items() if isinstance(value, Mapping)]
    if inner:
        raise TypeError(f"{where}: state_dict must be a dict of tensors or arrays, and "
                        f"{inner[0]!r} holds a dict: give that, if it is the state of the module")
    return {str(name): array_of(value, str(name), where) for name, value in state.items()}


def _refuse_ours(given: dict[str, Any], own: dict[str, np.ndarray], shapes: dict[str, Any],
                 where: str) -> None:
    """StateError for a state of a model of minidl, where names or shapes tell it from PyTorch's:
    dense weights that are square would come out transposed."""
    if given.keys() == own.keys() and any(
            shapes.get(name) != array.shape for name, array in own.items()) and all(
            given[name] is not None and given[name].shape == array.shape
            for name, array in own.items()):
        raise StateError(f"{where}: this is a state of minidl's, not of PyTorch: "
                         f"model.load_state_dict(state) takes it")


def _again(there: list[Entry]) -> set[str]:
    """The layers, by their names in a PyTorch state, that have been before in another place."""
    seen: set[tuple[str, ...]] = set()
    found = set()
    for entry in there:
        if entry.ours in seen:
            found.add(entry.theirs[0].rpartition(".")[0].removesuffix(".parametrizations.weight"))
        seen.add(entry.ours)
    return found


def _theirs(there: list[Entry], own: dict[str, np.ndarray], orders: Orders
            ) -> dict[str, np.ndarray]:
    """All arrays of a model by PyTorch's names, in its layouts."""
    found: dict[str, np.ndarray] = {}
    for entry in there:
        held = [_ordered(name, own[name], orders, back=True) for name in entry.ours]
        found.update(zip(entry.theirs, entry.give(*held), strict=True))
    return found


def _taken(there: list[Entry], found: Match, given: dict[str, Any], shapes: dict[str, Any],
           orders: Orders, where: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Our arrays of those that were given, by our names, and the names of the two."""
    values: dict[str, np.ndarray] = {}
    loaded: dict[str, str] = {}
    for entry in there:
        if not all(name in found.pairs for name in entry.theirs):
            continue
        arrays = [given[found.pairs[name]].reshape(shapes[name]) for name in entry.theirs]
        for name, array in zip(entry.ours, entry.take(*arrays), strict=True):
            array = _ordered(name, array, orders)
            if name in values and not np.array_equal(values[name], array, equal_nan=True):
                raise StateError(f"{where}: wrong: {entry.theirs[0]} has other values than the "
                                 f"same layer of the model has in another place")
            values[name] = array
        for k, name in enumerate(entry.theirs):
            loaded[found.pairs[name]] = entry.ours[min(k, len(entry.ours) - 1)]
    return values, loaded


def _ordered(name: str, array: np.ndarray, orders: Orders, back: bool = False) -> np.ndarray:
    """An array of ours with its entries in our order, or (back) in PyTorch's."""
    for axis in range(array.ndim):
        order = orders.get((name, axis))
        if order is not None:
            array = array.take(np.argsort(order) if back else order, axis)
    return array


def _named_like(theirs: dict[str, np.ndarray], again: set[str], like: Any,
                mapping: Mapping[str, str] | None, where: str) -> dict[str, np.ndarray]:
    """The arrays by the names of another state, in its order and shapes."""
    given = {name: array for name, array in _arrays(like, where).items() if array is not None}
    found = match({name: array.shape for name, array in theirs.items()},
                  {name: array.shape for name, array in given.items()}, again, mapping, where)
    back = {other: name for name, other in found.pairs.items()}
    left = [name for name in theirs if name not in found.pairs and not name.endswith(COUNT)
            and name.rpartition(".")[0] not in again]
    without = [name for name in given if name not in back]
    _refuse(f"{where}: like", {"without a place": left, "without a value": without},
            found.problems)
    return {name: theirs[back[name]].reshape(array.shape) for name, array in given.items()}


def _refuse(where: str, left: dict[str, list[str]], problems: list[str]) -> None:
    """StateError of all names that are left, by what they lack, and of all problems, if any."""
    said = [f"{what}: {', '.join(names)}" for what, names in left.items() if names]
    if problems:
        said.append("wrong: " + "; ".join(problems))
    if said:
        raise StateError(f"{where}: " + " | ".join(said))


def _renamed(theirs: dict[str, np.ndarray], mapping: Mapping[str, str], where: str
             ) -> dict[str, np.ndarray]:
    """The arrays by other names."""
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
        raise ImportError(f"{where}: PyTorch is not installed; arrays=True gives NumPy arrays"
                          ) from None
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
