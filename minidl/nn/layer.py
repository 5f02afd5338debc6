"""Layer and Parameter: what every layer can do. The layers themselves are in the other files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import hints
from ..arrays import plain_array
from ..changes import writes
from ..grad_mode import no_grad
from ..ops.common import whole
from ..tensor import Tensor

if TYPE_CHECKING:
    from .fold import FoldReport

Self = TypeVar("Self", bound="Layer")
_PLAIN = frozenset((int, float, bool, str, type(None)))     # types of attributes that hold nothing
Hook = Callable[["Layer", tuple[Any, ...], Any], Any]


class Parameter(Tensor):
    """A tensor that a layer learns: a leaf that requires a gradient.

    >>> nn.Parameter([1., 2.])
    Parameter([1., 2.])
    """

    constant: bool = False      # read-only, of a model that nn.fold made

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def fix(self) -> None:
        """Learn no more: no gradient, and nobody can write to the array, nor to that of a copy."""
        self.requires_grad, self.grad, self.constant = False, None, True
        self._expose()
        self._set(self._values())

    def _set(self, array: np.ndarray) -> None:
        """Another array of the same shape, an array of the parameter's own."""
        self._replace(array)
        if self.constant:
            array.flags.writeable = False

    def __repr__(self) -> str:
        return f"Parameter({np.array2string(self.data, separator=', ', prefix='Parameter(')})"


class Layer:
    """The base of all layers and models.

    A subclass makes its parts in `__init__` and computes in `forward`. Its public attributes are
    the registry: a `Parameter` is a parameter, a NumPy array is a buffer (state that is saved but
    not learned), a `Layer` is a child; so are those in lists, tuples and dicts. A plain `Tensor` is
    none of these: it is neither saved nor converted. Names that begin with an underscore are
    private and left alone.

    >>> class Net(nn.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Dense(4, 2)
    ...     def forward(self, x):
    ...         return md.relu(self.fc(x))
    >>> net = Net()
    >>> net(md.zeros(8, 4)).shape
    (8, 2)
    >>> [name for name, parameter in net.named_parameters()]
    ['fc.weight', 'fc.bias']
    """

    training: bool = True       # class attributes, so that __init__ need not be called
    frozen: bool = False
    fold_report: FoldReport     # of a copy that nn.fold made

    def __init__(self) -> None:
        self.training = True

    def forward(self, *inputs: Any) -> Any:
        """Compute the layer's output. Call the layer itself instead: `layer(x)`."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        output = self.forward(*inputs, **options)
        hooks = self.__dict__.get("_hooks")
        if hooks:
            for hook in list(hooks.values()):
                replaced = hook(self, inputs, output)
                if replaced is not None:
                    output = replaced
        return output

    if not TYPE_CHECKING:
        def __getattr__(self, name):
            return hints.attribute(self, name, hints.OF_LAYERS)

    # --------------------------------------------------------------------------- what is inside

    def _items(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of each parameter, buffer and child that this layer holds itself."""
        for name, value in self.__dict__.items():
            if type(value) in _PLAIN or name.startswith("_"):
                continue
            if isinstance(value, (Parameter, Layer, np.ndarray)):
                yield name, value
            else:
                yield from _flatten(name, value)

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of each parameter and buffer, depth first."""
        for name, value in self._items():
            if isinstance(value, Layer):
                yield from value._walk(f"{prefix}{name}.")
            else:
                yield prefix + name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of all parameters inside, each parameter once."""
        seen = set()
        for name, value in self._walk():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters inside, each once."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) of all buffers inside, such as running statistics."""
        for name, value in self._walk():
            if not isinstance(value, Parameter):
                yield name, value

    def children(self) -> list[Layer]:
        """The layers directly inside."""
        return [value for _, value in self._items() if isinstance(value, Layer)]

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(name, layer) of this layer (named "") and all inside it."""
        yield prefix, self
        for name, value in self._items():
            if isinstance(value, Layer):
                yield from value.named_layers(f"{prefix}.{name}" if prefix else name)

    def apply(self: Self, f: Callable[[Layer], Any]) -> Self:
        """Call f with every layer inside, the inner ones first, and with this one."""
        if not callable(f):
            raise TypeError(f"apply: f must be a function of a layer, got {type(f).__name__}")
        for child in self.children():
            child.apply(f)
        f(self)
        return self

    # ------------------------------------------------------------------------------------ modes

    def train(self: Self, mode: bool = True) -> Self:
        """Training mode, for this layer and all inside: batch statistics, dropout."""
        for _, layer in self.named_layers():
            layer.training = mode
        return self

    def eval(self: Self) -> Self:
        """Evaluation mode: running statistics, no dropout."""
        return self.train(False)

    def freeze(self: Self) -> Self:
        """Stop learning here: parameters get no gradients, and normalization layers inside keep
        their statistics (they then normalize as in eval mode)."""
        for p in self.parameters():
            p.requires_grad = False
            p.grad = None
        for _, layer in self.named_layers():
            layer.frozen = True
        return self

    def zero_grad(self) -> None:
        """Forget all gradients (`.grad` becomes None)."""
        for _, value in self._items():
            if isinstance(value, Parameter):
                value._grad = None
            elif isinstance(value, Layer):
                value.zero_grad()

    def astype(self: Self, dtype: Any) -> Self:
        """Convert all floating parameters and buffers, in place; returns the layer. TypeError for
        another dtype than float32 and float64.
        """
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"astype: layers are float32 or float64, got {dtype}")
        done = set()

        def converted(value: Any) -> Any:
            floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            return value.astype(dtype) if floats else value

        for _, layer in self.named_layers():
            for _, value in layer._items():
                if isinstance(value, Parameter) and id(value) not in done:
                    done.add(id(value))
                    value._expose()
                    value._set(value._values().astype(dtype))
                    value._grad = None
            for name, value in layer.__dict__.items():
                if not name.startswith("_"):
                    layer.__dict__[name] = replaced(value, converted)
        return self

    # ------------------------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, np.ndarray]:
        """All parameters and buffers as a flat dict of copies, by dotted name."""
        return {name: np.array(array) for name, _, array in self._memory()}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take all values from `state`, as `state_dict` gives them.

        Nothing is changed unless everything fits: StateError (a KeyError and a ValueError) lists
        the entries that are missing or unexpected (unless `strict` is False: then only names
        that match are loaded) and those of another shape or kind of dtype. Values are converted
        to the layer's dtype.
        """
        where = f"load_state_dict of {type(self).__name__}"
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: state must be a dict of arrays, "
                            f"got {type(state).__name__}")
        own = dict(self._walk())
        given = {}
        for name, value in state.items():
            try:
                given[name] = np.asarray(value.data if isinstance(value, Tensor) else value)
            except ValueError as error:
                raise StateError(f"{where}: wrong: {name}: {error}") from None
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        wrong = [f"{name}: {own[name].shape} expected, got {value.shape}"
                 for name, value in given.items()
                 if name in own and value.shape != own[name].shape]
        wrong += [f"{name}: {own[name].dtype} expected, got {value.dtype}"
                  for name, value in given.items() if name in own
                  and not np.can_cast(value.dtype, own[name].dtype, "same_kind")]
        wrong += [f"{name}: the memory of the {kind} is read-only"
                  for name, kind, array in self._memory() if name in given
                  and not array.flags.writeable and not getattr(own[name], "constant", False)]
        problems = []
        if strict and missing:
            problems.append("missing: " + ", ".join(missing))
        if strict and unexpected:
            problems.append("unexpected: " + ", ".join(unexpected))
        if wrong:
            problems.append("wrong: " + "; ".join(wrong))
        if problems:
            raise StateError(f"{where}: " + " | ".join(problems))
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
        for name, value in self._walk():
            if isinstance(value, Parameter):
                yield name, "parameter", value.data
            else:
                yield name, "buffer", value

    # -------------------------------------------------------------------------------------- use

    def register_forward_hook(self, hook: Hook) -> HookHandle:
        """Call `hook(layer, inputs, output)` after every forward; what it returns, unless None,
        replaces the output. The handle's `remove()` takes the hook away again."""
        hooks = self.__dict__.setdefault("_hooks", {})
        handle = HookHandle(hooks)
        hooks[handle] = hook
        return handle

    def predict(self, x: Any, batch_size: int = 256) -> np.ndarray:
        """Outputs for all of x, in eval mode, without a graph, batch by batch: a NumPy array.

        x is an array or tensor whose first axis counts examples; uint8 images are divided by
        255, as a DataLoader does. The modes of the layers are restored afterwards.
        """
        batch_size = whole(batch_size, "predict", "batch_size", 1)
        values = x.data if isinstance(x, Tensor) else plain_array(x)
        if values.ndim == 0:
            raise ValueError("predict: x needs a batch axis, got a number")
        outputs = []
        with self._evaluating():
            for start in range(0, max(len(values), 1), batch_size):
                output = self(self._input(values[start:start + batch_size]))
                if not isinstance(output, Tensor):
                    raise TypeError(f"predict: {type(self).__name__} returns a "
                                    f"{type(output).__name__}, not a tensor")
                outputs.append(output.data)
        return np.concatenate(outputs) if len(outputs) > 1 else outputs[0]

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Within the block: eval mode and no graph. The modes of the layers are restored."""
        modes = [(layer, layer.training) for _, layer in self.named_layers()]
        try:
            self.eval()
            with no_grad():
                yield
        finally:
            for layer, mode in modes:
                layer.training = mode

    def _input(self, x: Any) -> Tensor:
        """A batch of arrays or tensors as the model takes it: uint8 images divided by 255."""
        from .. import kernels

        batch = x.data if isinstance(x, Tensor) else np.asarray(plain_array(x), order="C")
        if batch.dtype == np.uint8:
            batch = kernels.to_float(batch).astype(self._dtype(), copy=False)
        return Tensor(batch)

    def _dtype(self) -> np.dtype:
        """The dtype that the layer computes in: that of its first parameter."""
        return next((p.dtype for p in self.parameters()), np.dtype(np.float32))

    def summary(self, input_shape: int | tuple[int, ...]) -> str:
        """A table of the layers with their output shapes and parameters, for one example.

        `input_shape` is that of one example, without the batch axis: (28, 28, 1).
        """
        from .summary import summarize

        return summarize(self, input_shape)

    def extra_repr(self) -> str:
        """What stands in the parentheses of a layer's repr; subclasses define it."""
        return ""

    def __repr__(self) -> str:
        children = [(n, v) for n, v in self._items() if isinstance(v, Layer)]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in children]
        return f"{type(self).__name__}({self.extra_repr()}\n" + "\n".join(lines) + "\n)"


class HookHandle:
    """What `register_forward_hook` returns."""

    def __init__(self, hooks: dict[HookHandle, Hook]) -> None:
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._hooks.pop(self, None)


class StateError(KeyError, ValueError):
    """A state that does not belong to the model; its text is shown as it is.

    >>> nn.Dense(4, 2).load_state_dict({"weight": np.zeros((4, 2))})
    Traceback (most recent call last):
    minidl.nn.layer.StateError: load_state_dict of Dense: missing: bias
    """

    def __str__(self) -> str:
        return str(self.args[0])


def replaced(value: Any, f: Callable[[Any], Any]) -> Any:
    """f(value); of lists, tuples and dicts, as `_flatten` looks into them, f of what is inside."""
    if isinstance(value, list):
        value[:] = [replaced(item, f) for item in value]
    elif isinstance(value, dict):
        for key in value:
            value[key] = replaced(value[key], f)
    elif isinstance(value, tuple):
        items = [replaced(item, f) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    else:
        return f(value)
    return value


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Parameters, arrays and layers in a value, and in lists, tuples and dicts of them."""
    if isinstance(value, (Parameter, Layer, np.ndarray)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if type(item) not in _PLAIN:
                yield from _flatten(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}", item)
