"""Models for inference alone: `compile` and `Compiled`."""

from .compiled import Compiled, compile

__all__ = ["Compiled", "compile"]
