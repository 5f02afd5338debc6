"""Finds which entry of a PyTorch state belongs to which entry of a model: by name, by a mapping, or
in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import checks
from ..nn.state import StateError
from .layouts import COUNT, DIRECTION, GAIN

Shape = tuple[int, ...]
# Older names of the entries of weight normalization.
OLDER = {"weight_g": GAIN, "weight_v": DIRECTION}
# Names of the entries of a single recurrent cell; those of a layer end with the layer's number.
OF_CELLS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclasses.dataclass
class Loaded:
    """What `load_state` did: `loaded`, a dict of the state's names to the model's; `missing`, the
    names of the model that nothing was found for, which are as they were; `unexpected`, the names
    of the state that were not used.

    >>> model = nn.Dense(4, 2)
    >>> md.torch.load_state(model, {"weight": np.zeros((2, 4)), "bias": np.zeros(2)})
    Loaded(loaded={'weight': 'weight', 'bias': 'bias'}, missing=[], unexpected=[])
    """

    loaded: dict[str, str]
    missing: list[str]
    unexpected: list[str]


@dataclasses.dataclass
class Match:
    """`pairs` has the names of the state's entries by those of the model's, as PyTorch would call
    them; `problems` says why other entries have no pair."""

    pairs: dict[str, str]
    problems: list[str]


Layers = dict[str, dict[str, str]]  # by the name of a layer: its fields and their full names


def layers_of(names: Any) -> Layers:
    """The entries of a state layer by layer, in order. Older names of fields are replaced by the
    newer ones."""
    found: Layers = {}
    for name in names:
        place, _, field = name.rpartition(".")
        if place.endswith("parametrizations.weight"):
            place = place.removesuffix("parametrizations.weight").rstrip(".")
            field = f"parametrizations.weight.{field}"
        found.setdefault(place, {})[OLDER.get(field, field)] = name
    for fields in found.values():
        if all(field in OF_CELLS for field in fields):
            for field in list(fields):
                fields[f"{field}_l0"] = fields.pop(field)
    return found


def match(
    ours: dict[str, Shape],
    theirs: dict[str, Shape],
    repeated: set[str],
    mapping: Mapping[str, str] | None,
    where: str,
) -> Match:
    """The entries that belong together. No entry of a layer is paired if one of them does not fit.

    `ours` and `theirs` are shapes by name. `repeated` holds names of layers of ours that occur
    before, in another place.
    """
    mine, given = layers_of(ours), layers_of(theirs)
    if mapping is not None:
        return _paired(_mapped(ours, theirs, mapping, where), mine, ours, theirs)
    named = {
        name: given[place][field]
        for place, fields in mine.items()
        for field, name in fields.items()
        if field in given.get(place, ())
    }
    by_name = _paired(named, mine, ours, theirs)
    required = [
        name
        for place, fields in mine.items()
        if place not in repeated
        for field, name in fields.items()
        if field != COUNT
    ]
    if all(name in named for name in required) and len(set(named.values())) == len(theirs):
        return by_name
    if not _in_order(theirs, given):
        by_order = Match(
            {},
            [
                "the names are others, and the entries are not in the order of "
                "layers (files of safetensors are sorted by name): give a mapping"
            ],
        )
    else:
        if len(given) != len(mine):
            mine = {place: fields for place, fields in mine.items() if place not in repeated}
        by_order = _by_order(mine, given, ours, theirs)
    return by_name if len(by_name.pairs) >= max(len(by_order.pairs), 1) else by_order


def _mapped(
    ours: dict[str, Shape], theirs: dict[str, Shape], mapping: Mapping[str, str], where: str
) -> dict[str, str]:
    """Pairs by a mapping of names of layers or entries. Of several the longest counts; names that
    it lacks are the same on both sides."""
    check_mapping(mapping, ours, theirs, where)
    pairs = {}
    known = {name: name for name in theirs}
    for place, fields in layers_of(theirs).items():  # a mapping may have the newer names
        known.update({f"{place}.{field}".lstrip("."): name for field, name in fields.items()})
    for name in ours:
        other = renamed(name, mapping)
        if other in known:
            pairs[name] = known[other]
    return pairs


def check_mapping(
    mapping: Any, ours: Iterable[str], theirs: Iterable[str] | None, where: str
) -> None:
    """Check a mapping: TypeError unless it is a dict of names to names, StateError for a name that
    the model has no entry of, or the state, unless `theirs` is None."""
    for name, other in checks.instance(
        mapping, where, "mapping", Mapping, "a dict of names to names"
    ).items():
        if not (isinstance(name, str) and isinstance(other, str)):
            raise TypeError(checks.message(where, "mapping", "a dict of names to names", mapping))
        for names, place, whose in ((ours, name, "model"), (theirs, other, "state")):
            if names is not None and not any(_begins(entry, place) for entry in names):
                raise StateError(f"{where}: mapping: the {whose} has nothing named {place!r}")


def renamed(name: str, mapping: Mapping[str, str]) -> str:
    """The name after the mapping has replaced the longest beginning of it that it knows."""
    begin = max((key for key in mapping if _begins(name, key)), key=len, default=None)
    if begin is None:
        return name
    return ".".join(part for part in (mapping[begin], name[len(begin) :].lstrip(".")) if part)


def _begins(name: str, place: str) -> bool:
    return not place or name == place or name.startswith(f"{place}.")


def _paired(
    named: dict[str, str], mine: Layers, ours: dict[str, Shape], theirs: dict[str, Shape]
) -> Match:
    """The pairs of layers all of whose fields fit."""
    found = Match({}, [])
    for fields in mine.values():
        pairs = {name: named[name] for name in fields.values() if name in named}
        wrong = [
            f"{pairs[name]}: {ours[name]} expected, got {theirs[pairs[name]]}"
            for name in pairs
            if not fits(ours[name], theirs[pairs[name]])
        ]
        found.problems += wrong
        if not wrong:
            found.pairs |= pairs
    return found


def fits(ours: Shape, theirs: Shape) -> bool:
    """Whether two shapes are the same apart from axes of length 1 after the second axis, which the
    weights of a 1x1 convolution have and those of a dense layer lack."""

    def plain(shape: Shape) -> Shape:
        return (*shape[:2], *[n for n in shape[2:] if n != 1])

    return plain(ours) == plain(theirs)


def _in_order(theirs: dict[str, Shape], given: Layers) -> bool:
    """Whether the entries can be in the order in which a module holds them: a weight before its
    bias, and 2 before 10."""
    for fields in given.values():
        order = list(fields)
        if "weight" in order and "bias" in order[: order.index("weight")]:
            return False
    names = list(theirs)
    return names != sorted(names) or names == sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def _by_order(
    mine: Layers, given: Layers, ours: dict[str, Shape], theirs: dict[str, Shape]
) -> Match:
    """Pair the layers of both sides in order. If one side has more of them, this stops at the first
    that does not fit."""
    found = Match({}, [])
    different = len(mine) != len(given)
    for (place, fields), (other, entries) in zip(mine.items(), given.items(), strict=False):
        if set(fields) - {COUNT} == set(entries) - {COUNT} and all(
            fits(ours[fields[field]], theirs[entries[field]])
            for field in fields
            if field in entries
        ):
            found.pairs |= {fields[field]: entries[field] for field in fields if field in entries}
            continue
        if not found.problems:  # the first problem may well cause the others
            found.problems.append(
                f"in order, {_shown(place, fields, ours)} meets {_shown(other, entries, theirs)}"
            )
        if different:
            break
    if different:
        found.problems.append(
            f"the model has {len(mine)} layers that hold something, the state {len(given)}"
        )
    return found


def _shown(place: str, fields: dict[str, str], shapes: dict[str, Shape]) -> str:
    held = ", ".join(f"{field} {shapes[name]}" for field, name in fields.items())
    return f"{place or 'the model'!r} ({held})"


def array_of(value: Any, name: str, where: str) -> np.ndarray | None:
    """An entry of a state, which may be a tensor of PyTorch, as an array; float16 and bfloat16
    become float32. None for what holds no numbers."""
    if hasattr(value, "detach"):
        value = value.detach()
        if hasattr(value, "cpu"):
            value = value.cpu()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            value = value.float()
    if hasattr(value, "keys") or isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        array = np.asarray(value)
    except Exception as error:  # each library has errors of its own
        raise StateError(
            f"{where}: {name}, a {type(value).__name__}, gives no array: {error}"
        ) from None
    if array.dtype.kind not in "fiub":
        return None
    return array.astype(np.float32) if array.dtype == np.float16 else array
