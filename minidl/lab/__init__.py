"""The normalization lab: what is said of batch normalization, as experiments that can fail.

`minidl lab run all` tries every claim, `minidl lab report` shows what came out. A `Probe` measures
the same of a model of one's own while it trains, and `compare` a choice of normalizations on one's
own data.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparison import compare
    from .probe import Probe
else:  # to a type checker a module with __getattr__ has every name
    HOMES = {"Probe": "probe", "compare": "comparison"}

    def __getattr__(name):
        """What is loaded when it is first asked for: a list of the claims needs no trainer."""
        if name in HOMES:
            import importlib

            return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Probe", "compare"]
