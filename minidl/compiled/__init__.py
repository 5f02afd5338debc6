"""Models for inference alone: `compile` makes a `Compiled` of a model."""

from .compiled import Compiled, compile

__all__ = ["Compiled", "compile"]
