"""Layer, the base class of all layers. `methods` puts `predict` and `summary`, which work on whole
models, on the class."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from reprlib import recursive_repr
from threading import get_ident
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import checks, hints
from ..changes import writes
from ..foreign_names import OF_LAYERS
from ..mode import mode
from ..storage import writable
from ..tracers import tracers
from .hooks import Hook, HookHandle, after_hooks
from .parameter import Parameter
from .registry import PLAIN, flatten, refuse_of_class, refuse_over, replaced, uniquely_named
from .state import copied_if_own, fitting

if TYPE_CHECKING:
    from .methods import Methods  # at run time that module puts them on the class
else:
    Methods = object

Self = TypeVar("Self", bound="Layer")
_OWN = frozenset(("_hooks", "_layers", "unregistered"))  # attributes that hold no parts
_set = object.__setattr__


@hints.with_names(OF_LAYERS)
class Layer(hints.Explained, Methods):
    """The base of all layers and models.

    A subclass makes its parts in `__init__` and computes in `forward`. The parts are found by their
    types among the layer's attributes: a `Parameter` is a parameter, a `Layer` is a child, and a
    NumPy array is a buffer (state that is saved but not learned) unless its name begins with an
    underscore. Parts may be inside lists, tuples and dicts too. A plain `Tensor` is no part: it is
    neither saved nor converted.

    A layer that should not become a part, for example a reference to a parent, goes into the
    namespace `unregistered`. A layer that can be reached in several ways, even through a circle, is
    visited once, under its first name.

    Assigning an array, number or plain tensor over a parameter is a TypeError, because it would no
    longer learn. The same holds for an array or plain tensor over a child, for anything but an
    array over a buffer (a NumPy scalar is none, and `count + 1` is one if `count` has no axes), and
    for a layer or parameter as an attribute of the class, which would belong to none of its layers.
    None may take the place of any part. `training` is True or False; `predict` and others set it
    for their own thread only.

    >>> class Net(nn.Layer):
    ...     def __init__(self, parent=None):
    ...         super().__init__()
    ...         self.fc = nn.Dense(4, 2)
    ...         self.unregistered.parent = parent
    ...     def forward(self, x):
    ...         return md.relu(self.fc(x))
    >>> net = Net(parent=nn.Dense(2, 2))
    >>> net(md.zeros(8, 4)).shape
    (8, 2)
    >>> [name for name, parameter in net.named_parameters()]
    ['fc.weight', 'fc.bias']
    """

    frozen: bool = False  # a class attribute, so that __init__ need not be called

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(cls.__dict__.get("training"), bool):
            raise TypeError(
                f"class {cls.__name__}: training is set for a layer, not for a class: "
                f"write self.training = {cls.__dict__['training']} in __init__"
            )
        for name, value in cls.__dict__.items():
            refuse_of_class(cls.__name__, name, value, (Parameter, Layer))

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__.get(name)
        if (
            type(held) not in PLAIN
            and type(held) is not type(value)
            and not isinstance(value, (Parameter, Layer))
        ):
            refuse_over(f"{type(self).__name__}.{name}", held, value, Layer)
        if type(value) is np.ndarray:  # training or a loaded state may write to a buffer
            value = writable(value)
        _set(self, name, value)

    @cached_property
    def unregistered(self) -> SimpleNamespace:
        """Attributes that are no part of the layer: neither saved nor converted nor visited."""
        return SimpleNamespace()

    @property
    def training(self) -> bool:
        """Whether the layer is in training mode, for the calling thread."""
        modes = mode.modes
        if modes is None:
            return self.__dict__.get("training", True)
        return id(self) in modes and modes[id(self)][1]

    @training.setter
    def training(self, value: Any) -> None:
        if value is not True and value is not False:
            value = checks.flag(value, type(self).__name__, "training")
        modes = mode.modes
        if modes is None:
            self.__dict__["training"] = value
        else:
            modes[id(self)] = self, value

    def forward(self, *inputs: Any) -> Any:
        """Compute the layer's output. Call the layer itself instead: `layer(x)`."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if tracers and (tracer := tracers.get(get_ident())) is not None:
            return tracer.call(self, self._run, inputs, options)
        output = self.forward(*inputs, **options)
        return after_hooks(self, inputs, output) if self.__dict__.get("_hooks") else output

    def _run(self, *inputs: Any, **options: Any) -> Any:
        """Call the layer without telling a tracer."""
        return after_hooks(self, inputs, self.forward(*inputs, **options))

    # --------------------------------------------------------------------------- what is inside

    def _items(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of each parameter, buffer and child that this layer holds itself."""
        # The attributes are copied at once, because some may be set during the walk.
        for name, value in list(self.__dict__.items()):
            if type(value) in PLAIN or name in _OWN:
                continue
            if isinstance(value, (Parameter, Layer)):
                yield name, value
            elif name.startswith("_"):
                yield from flatten(f"{type(self).__name__}.{name}", name, value, (Parameter, Layer))
            elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
                yield name, value
            else:
                yield from flatten(
                    f"{type(self).__name__}.{name}", name, value, (Parameter, Layer, np.ndarray)
                )

    def _walk(self, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of each parameter and buffer, depth first, each layer once."""
        seen = set() if seen is None else seen
        seen.add(id(self))
        for name, value in self._items():
            if not isinstance(value, Layer):
                yield prefix + name, value
            elif id(value) not in seen:
                yield from value._walk(f"{prefix}{name}.", seen)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of all parameters inside, each parameter once. ValueError, as in
        `state_dict`, if two would have the same name, as in {1: a, "1": b}."""
        seen = set()
        for name, value in uniquely_named(self, self._walk()):
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters inside, each once."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) of all buffers inside, such as running statistics."""
        for name, value in uniquely_named(self, self._walk()):
            if not isinstance(value, Parameter):
                yield name, value

    def children(self) -> list[Layer]:
        """The layers directly inside."""
        return [value for _, value in self._items() if isinstance(value, Layer)]

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(name, layer) of this layer (named "") and all inside it, each once."""
        yield from uniquely_named(self, self._named_layers(prefix, set()))

    def _named_layers(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
        seen.add(id(self))
        yield prefix, self
        for name, value in self._items():
            if isinstance(value, Layer) and id(value) not in seen:
                yield from value._named_layers(f"{prefix}.{name}" if prefix else name, seen)

    def apply(self: Self, f: Callable[[Layer], Any]) -> Self:
        """Call f with every layer inside, the inner ones first, and with this one; each once."""
        checks.function(f, "apply", "f", "a function of a layer")
        self._apply(f, set())
        return self

    def _apply(self, f: Callable[[Layer], Any], seen: set[int]) -> None:
        seen.add(id(self))
        for child in self.children():
            if id(child) not in seen:
                child._apply(f, seen)
        f(self)

    # ------------------------------------------------------------------------------------ modes

    def train(self: Self, mode: bool = True) -> Self:
        """Put this layer and all inside into training mode: batch statistics, dropout."""
        for _, layer in self.named_layers():
            layer.training = mode
        return self

    def eval(self: Self) -> Self:
        """Put this layer and all inside into evaluation mode: running statistics, no dropout."""
        return self.train(False)

    def freeze(self: Self) -> Self:
        """Stop learning in this layer: parameters get no gradients, and normalization layers inside
        keep their statistics (they then normalize as in evaluation mode). `unfreeze()` undoes it.

        Like train and eval this is a mode and not part of the state: copies and pickles keep it,
        but a model that loads the `state_dict` must be frozen again.

        >>> layer = nn.Dense(2, 2).freeze()
        >>> layer.weight.requires_grad, layer.unfreeze().weight.requires_grad
        (False, True)
        """
        for p in self.parameters():
            if p.learned is None:
                p.learned = p.requires_grad
            p.requires_grad = False
            p.grad = None
        for _, layer in self.named_layers():
            layer.frozen = True
        return self

    def unfreeze(self: Self) -> Self:
        """Undo `freeze()`: this layer and all layers inside learn again.

        Parameters that required no gradient before they were frozen require none again, and those
        of a model that `nn.fold` made stay constants. `freeze_stats` is left as it is.
        """
        for p in self.parameters():
            if p.learned and not p.constant:
                p.requires_grad = True
            p.learned = None
        for _, layer in self.named_layers():
            layer.frozen = False
        return self

    @hints.for_newcomers
    def zero_grad(self) -> None:
        """Forget all gradients (`.grad` becomes None)."""
        # This runs at every step, so it does not use `_items`, which checks and names all parts.
        seen = {id(self)}
        stack: list[Any] = [self]
        while stack:
            held = stack.pop()
            if isinstance(held, Layer):
                held = list(held.__dict__.values())
            for value in list(held.values()) if isinstance(held, dict) else held:
                kind = type(value)
                if kind in PLAIN or kind is np.ndarray:
                    continue
                if isinstance(value, Parameter):
                    value._grad = None
                elif (
                    isinstance(value, (Layer, list, tuple, dict, deque))
                    and id(value) not in seen
                    and not (isinstance(value, tuple) and PLAIN.issuperset(map(type, value)))
                ):
                    seen.add(id(value))
                    stack.append(value)

    def astype(self: Self, dtype: Any) -> Self:
        """Convert all floating parameters and buffers in place; returns the layer. TypeError for a
        dtype other than float32 and float64.
        """
        dtype = checks.dtype(dtype, "astype")
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"astype: layers are float32 or float64, got {dtype}")

        def converted(value: Any) -> Any:
            floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            return value.astype(dtype) if floats else value

        for p in self.parameters():
            p._set(p._values().astype(dtype))
            p._grad = None
        for _, layer in self.named_layers():
            for name, value in layer.__dict__.items():
                if not name.startswith("_") and name not in _OWN:
                    layer.__dict__[name] = replaced(value, converted)
        return self

    # ------------------------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as a flat dict, by dotted name. Modes (training,
        frozen, `freeze_stats`) are not part of it.
        """
        return {name: np.array(array) for name, _, array in self._memory()}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take all values from `state`, as `state_dict` gives them.

        Nothing is changed unless everything fits. StateError (a KeyError and a ValueError) lists
        the entries that are missing or unexpected, and those of another shape or kind of dtype.
        With `strict=False` missing and unexpected names are allowed, and only matching ones are
        loaded. Values are converted to the layer's dtype. A layer that can be reached in several
        ways may have any of its names.
        """
        given = copied_if_own(self, fitting(self, state, strict))
        for name, value in self._walk():
            if name not in given:
                continue
            if not isinstance(value, Parameter):
                writes("load_state_dict", (), [value])
                value[...] = given[name]
            elif value.constant:
                value._set(np.array(given[name], value.dtype, order="C"))
            else:
                writes("load_state_dict", [value])
                value.data[...] = given[name]

    def _memory(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """(name, kind, array) of each parameter and buffer."""
        for name, value in uniquely_named(self, self._walk()):
            if isinstance(value, Parameter):
                yield name, "parameter", value.data
            else:
                yield name, "buffer", value

    # -------------------------------------------------------------------------------------- use

    def register_forward_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(layer, inputs, output)` after every forward. If the hook returns something
        other than None, that replaces the output. The handle's `remove()` takes the hook away."""
        hooks = self.__dict__.setdefault("_hooks", {})
        handle = HookHandle(hooks)
        hooks[handle] = hook
        return handle

    def _dtype(self) -> np.dtype:
        """The dtype that the layer computes in, which is that of its first parameter."""
        return next((p.dtype for _, p in self.named_parameters()), np.dtype(np.float32))

    def _dtype_of_bytes(self) -> np.dtype | None:
        """The dtype that images of uint8 get, divided by 255, before a model is called with them.
        None for a model that takes them as they are."""
        return self._dtype()

    def extra_repr(self) -> str:
        """The text in the parentheses of the layer's repr; subclasses override it."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        children = [(n, v) for n, v in self._items() if isinstance(v, Layer)]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in children]
        return f"{type(self).__name__}({self.extra_repr()}\n" + "\n".join(lines) + "\n)"
