"""`save` and `load`: a trained model in one file. The class of what `load` returns is in `saved`.

The file is a plain safetensors file of the model's state. Its metadata has one entry,
"minidl_model", with JSON:

    {"format": 1,
     "model": {"name": "resnet20"},         or {"class": "package.module:Net"}, {"name": "onnx"}
     "options": {"classes": 5, ...},        the constructor's arguments; an imported model's graph
     "dtype": "float32",
     "classes": ["cat", ...],
     "preprocess": {"size": 32, "channels": 3, "mean": [...], "std": [...]},     or null
     "info": {...}}

Nothing in the file is executed. A class outside of the registry is imported only with `trust=True`.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import checks
from ..files import damaged, read_arrays, write_arrays
from ..nn.layer import Layer
from ..nn.state import StateError
from ..random import own_generator
from ..version import __version__
from .network import Network
from .registry import class_of, name_of
from .saved import Saved, checked_preprocess

EXPORT = ", or write it with md.onnx.export(model, path, example)"
KEY = "minidl_model"
FORMAT = 1
MOST_DEPTH = 100
ONNX = "onnx"  # the name of models that md.onnx.load makes; their options hold the graph
ENTRIES = {"format", "model", "options", "dtype", "classes", "preprocess", "info"}


def save(
    path: str | os.PathLike[str],
    model: Layer,
    classes: Iterable[str | int] = (),
    preprocess: Mapping[str, Any] | None = None,
    **info: Any,
) -> None:
    """Write a model with all that is needed to use it into one safetensors file: its state, how to
    build it, its classes, and the preprocessing of its images. `load` reads the file, and so does
    any safetensors reader.

    model: a model of `minidl.models`, one that `md.onnx.load` returned, or a layer of your own
        class `Net` with a method `config()` that returns the constructor's arguments as a dict:
        `load` builds the model by `Net(**config)`. A class whose `__init__` has no arguments needs
        no `config()`.
    classes: the names of the classes, in the order of the model's outputs; if empty, predictions
        are numbers
    preprocess: a dict with some of "size", "channels", "mean" and "std", or None. Pictures are
        scaled to `size` (an int: the shorter side, and the centre is cropped to a square; a pair:
        height and width) with 1 or 3 `channels`, converted to values from 0 to 1, and normalized
        to (x - mean) / std. `mean` and `std` are a number or one for each channel.
    info: further values to store (epoch=10, accuracy=0.94): numbers, strings, lists, dicts

    The file is written completely or not at all, as by `md.save`, with the same OSErrors. Before
    writing, the model is built again as a test, so that every file can be loaded. TypeError for a
    model without `config()`, or if options, classes, preprocessing or info are not plain values;
    ValueError if the options build another model, the class is defined inside a function, the
    number of classes is not the model's, or the preprocessing is invalid.

    >>> import tempfile
    >>> from minidl import models
    >>> model = models.create("mlp", classes=2, input_shape=(4, 4, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     models.save(folder + "/model.safetensors", model, ["cross", "circle"], epoch=3)
    ...     saved = models.load(folder + "/model.safetensors")
    >>> saved.classes, saved.info
    (['cross', 'circle'], {'epoch': 3})
    """
    import json

    path = checks.path(path, "save")
    checks.instance(model, "save", "model", Layer, "a layer")
    made_by, options = _origin(model)
    if isinstance(classes, str):
        raise TypeError(checks.message("save", "classes", "a list of names", classes))
    listed = [
        _plain(name, "classes")
        for name in checks.members(classes, "save", "classes", "a list of names")
    ]
    _check_classes("save", listed, options)
    prepared = checked_preprocess(preprocess, "save")
    _check_channels(model, prepared)
    description = {
        "format": FORMAT,
        "model": made_by,
        "options": options,
        "dtype": model._dtype().name,
        "classes": listed,
        "preprocess": prepared,
        "info": _plain(info, "info"),
    }
    state = {
        name: np.ascontiguousarray(value).reshape(value.shape)
        for name, value in model.state_dict().items()
    }
    _check_made_again(model, json.loads(json.dumps(description)), state)
    write_arrays(path, state, {KEY: description})


def load(path: str | os.PathLike[str], trust: bool = False) -> Saved:
    """Read a model that `save` wrote. Returns a `Saved` with `.model`, in evaluation mode,
    `.classes`, `.preprocess`, `.info` and `.predict(pictures)`.

    trust: whether a class outside of `minidl.models` may be imported, which executes the module
        that the file names. Use it only for files from people whose programs you would run.

    ValueError for a file that is damaged, not of a model, of a later version, or that needs
    `trust`, and if the state does not fit the model; FileNotFoundError, IsADirectoryError and
    PermissionError as for `md.load`. All errors name `path`. minidl's random generator is not
    changed.

    >>> import tempfile
    >>> from minidl import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     models.save(folder + "/model.safetensors", models.create("mlp"))
    ...     saved = models.load(folder + "/model.safetensors")
    >>> saved.predict(np.zeros((2, 28, 28, 1), np.uint8))      # a class and its probability
    [[(0, 0.1)], [(0, 0.1)]]
    """
    import json

    path = checks.path(path, "load")
    trust = checks.flag(trust, "load", "trust")
    arrays, metadata = read_arrays(path)
    if KEY not in metadata:
        from ..compiled.file import KEY as COMPILED

        reader = "md.Compiled.load reads it" if COMPILED in metadata else "md.load reads its arrays"
        raise ValueError(
            f"load: {path} is not a file that models.save wrote: it does not say how to build a "
            f"model; {reader}"
        )
    try:
        description = _checked(json.loads(metadata[KEY]), path)
        preprocess = checked_preprocess(description["preprocess"], path)
    except RecursionError:
        raise ValueError(f"load: the metadata of {path} is nested too deep to be read") from None
    except (ValueError, TypeError) as error:
        if str(error).startswith(f"load: {path}"):
            raise
        raise damaged(path, error) from None
    model = _built(description, path, trust)
    try:
        model.load_state_dict(arrays)
    except StateError as error:
        raise ValueError(f"load: the state in {path} does not fit its model: {error}") from None
    return Saved(model.eval(), description["classes"], preprocess, description["info"])


# ---------------------------------------------------------------------------------------- writing


def can_be_made_again(model: Layer) -> bool:
    """Return whether a model can be built again from its class and options, as `save` needs it."""
    try:
        _, options = _origin(model)
        _check_made_again(
            model, {"options": options, "dtype": model._dtype().name}, model.state_dict()
        )
    except (TypeError, ValueError):
        return False
    return True


def _origin(model: Layer) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what builds a model again: its name or class, and the constructor's options."""
    cls, name = type(model), name_of(model)
    if name is not None and isinstance(model, Network):
        return {"name": name}, _plain(model.config(), "options")
    place = f"{cls.__module__}:{cls.__qualname__}"
    if "<" in place:  # <locals>, <lambda>
        raise ValueError(
            f"save: the class {cls.__qualname__} is defined inside a function and cannot be "
            f"imported: move it to the top level of a module"
        )
    if cls.__module__ == "minidl.onnx.model":
        from ..onnx import kept

        if not isinstance(model, kept.Model):
            raise TypeError(
                "save: model must be a whole model, got a part of one that md.onnx.load returned: "
                "save that one, or the arrays of the part: md.save(path, part.state_dict())"
            )
        return {"name": ONNX}, dict(kept.options(model))
    config = getattr(model, "config", None)
    if not callable(config):
        if len(inspect.signature(cls.__init__).parameters) == 1:  # self
            return {"class": place}, {}
        raise TypeError(
            f"save: {cls.__name__} does not say how to build it again: give the class a method "
            f"config() that returns the arguments of {cls.__name__}(...) as a dict, such as "
            f"{{'width': self.width}}"
        )
    options = config()
    if not isinstance(options, dict):
        raise TypeError(
            f"save: {cls.__name__}.config() must return a dict of arguments, got "
            f"{checks.shown(options)}"
        )
    return {"class": place}, _plain(options, "options")


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """Convert a value to types of JSON; TypeError or ValueError, naming it, if it has others."""
    if depth > MOST_DEPTH:
        raise ValueError(
            f"save: {name[:60]}... must not contain itself or be nested more than {MOST_DEPTH} deep"
        )
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"save: {name} must be finite, got {value}: JSON has no such number")
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"save: the keys of {name} must be strings, got {key!r}")
        return {key: _plain(item, f"{name}.{key}", depth + 1) for key, item in value.items()}
    raise TypeError(checks.message("save", name, "a number, string, list, dict or None", value))


def _check_classes(where: str, classes: list[Any], options: dict[str, Any]) -> None:
    for i, name in enumerate(classes):
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise TypeError(checks.message(where, f"classes[{i}]", "a name", name))
    if len(set(classes)) < len(classes):
        raise ValueError(f"{where}: classes must be different names, got {checks.shown(classes)}")
    count = options.get("classes")
    if classes and isinstance(count, int) and count != len(classes):
        raise ValueError(
            f"{where}: classes must be {count} names, as many as the model has "
            f"classes, got {len(classes)}"
        )


def _check_channels(model: Layer, preprocess: dict[str, Any] | None) -> None:
    """Raise a ValueError if the preprocessing has another number of channels than the model."""
    given = (preprocess or {}).get("channels")
    shape = model.input_shape if isinstance(model, Network) else ()
    if given is not None and len(shape) == 3 and given != shape[2]:
        raise ValueError(
            f"save: preprocess channels must be {shape[2]}, as the model's "
            f"input_shape {shape} has, got {given}"
        )


def _check_made_again(
    model: Layer, description: dict[str, Any], state: dict[str, np.ndarray]
) -> None:
    """Raise a ValueError if `load` would fail to build the model or build another one."""
    try:
        again = _made(_maker(model), description)
        shapes = {name: array.shape for name, array in again.state_dict().items()}
    except Exception as error:
        raise ValueError(
            f"save: {type(model).__name__}(**{checks.shown(description['options'])}), by which "
            f"load would build the model, fails: {error}"
        ) from error
    given = {name: array.shape for name, array in state.items()}
    for name in [*given, *shapes]:
        if given.get(name) != shapes.get(name):
            raise ValueError(
                f"save: load would build another model by {type(model).__name__}"
                f"(**{checks.shown(description['options'])}): {name} is "
                f"{shapes.get(name, 'missing')} in that and {given.get(name, 'missing')} in this "
                f"model; if the model was changed after its construction, write a class for it"
                f"{EXPORT if _maker(model) is not type(model) else ''}"
            )


# ---------------------------------------------------------------------------------------- reading


def _checked(description: Any, path: str) -> dict[str, Any]:
    """Return the metadata of a file; ValueError or TypeError if `save` cannot have written it."""
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ValueError("it has no format")
    if description["format"] > FORMAT:
        raise ValueError(
            f"load: {path} has format {description['format']}, of a later version of "
            f"minidl; {__version__}, which runs here, reads up to {FORMAT}: update it"
        )
    if set(description) != ENTRIES or description["format"] != FORMAT:
        raise ValueError(f"it has format {description['format']} and {sorted(description)}")
    for name in ("model", "options", "info"):
        checks.instance(description[name], "metadata", name, dict, "a dict")
    made_by = description["model"]
    if list(made_by) not in (["name"], ["class"]) or any(
        not isinstance(value, str) for value in made_by.values()
    ):
        raise ValueError(checks.message("metadata", "model", "a name or a class", made_by))
    checks.choice(description["dtype"], "metadata", "dtype", ("float32", "float64"))
    checks.instance(description["classes"], "metadata", "classes", list, "a list")
    _check_classes("metadata", description["classes"], description["options"])
    return description


def _built(description: dict[str, Any], path: str, trust: bool) -> Layer:
    """Build the model of a description; a ValueError names the file."""
    made_by = description["model"]
    if "class" in made_by and not trust:
        place = made_by["class"]
        raise ValueError(
            f"load: {path} needs the class {checks.shown(place)}, which is not one of "
            f"minidl.models. Importing it runs code: if you trust the file and the module, call "
            f"load(path, trust=True)"
        )
    try:
        if "class" in made_by:
            maker: Callable[..., Layer] = _imported(made_by["class"])
        elif made_by["name"] == ONNX:
            maker = _imported_graph()
        else:
            maker = class_of(made_by["name"], "models")
        return _made(maker, description)
    except Exception as error:  # the user's module or class may raise any error
        what = made_by.get("name") or made_by["class"]
        raise ValueError(
            f"load: the model of {path}, {checks.shown(what)} with "
            f"{checks.shown(description['options'])}, cannot be built: "
            f"{type(error).__name__}: {error}"
        ) from error


def _maker(model: Layer) -> Callable[..., Layer]:
    """Return what builds a model like this one from its options."""
    return _imported_graph() if type(model).__module__ == "minidl.onnx.model" else type(model)


def _imported_graph() -> Callable[..., Layer]:
    from .. import onnx

    onnx.needed("load")
    from ..onnx import kept

    return kept.again


def _made(cls: Callable[..., Layer], description: dict[str, Any]) -> Layer:
    with own_generator():  # the initial weights are overwritten, so the user's generator is kept
        model = cls(**description["options"])
    return model if description["dtype"] == "float32" else model.astype(description["dtype"])


def _imported(place: str) -> type[Layer]:
    """Import the class "package.module:Name"."""
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise TypeError(f"{place} is not a subclass of Layer")
    return found
