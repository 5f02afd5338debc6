"""Forward hooks: functions that `Layer.register_forward_hook` adds to a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .layer import Layer

Hook = Callable[["Layer", tuple[Any, ...], Any], Any]


def after_hooks(layer: Layer, inputs: tuple[Any, ...], output: Any) -> Any:
    """A layer's output, after each of its hooks has seen it and perhaps replaced it."""
    for hook in list(layer.__dict__.get("_hooks", {}).values()):
        replaced = hook(layer, inputs, output)
        if replaced is not None:
            output = replaced
    return output


class HookHandle:
    """A registered hook, as `register_forward_hook` returns it."""

    def __init__(self, hooks: dict[HookHandle, Hook]) -> None:
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._hooks.pop(self, None)
