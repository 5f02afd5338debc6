"""The normalization lab tests claims about batch normalization by experiments that can fail.

`minidl lab run all` runs the experiment of every claim, and `minidl lab report` writes a report of
the results. For your own work there are two tools: a `Probe` takes the lab's measurements of your
model while it trains, and `compare` compares several normalizations on your data.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparison import compare
    from .probe import Probe
else:  # a type checker must not see __getattr__: it would accept every name of this module
    HOMES = {"Probe": "probe", "compare": "comparison"}

    def __getattr__(name):
        """Import `Probe` and `compare` at their first use, because most commands of the lab, such
        as listing the claims, do not need the trainer that both of them import."""
        if name in HOMES:
            import importlib

            return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Probe", "compare"]
