"""The profiler: what a thread's operations, layers and kernels take, forward and backward.

While a profile is on, `switch` puts other functions in the place of a few entry points; these tell
the thread's `Recorder` what begins and ends. All else happens after the block: `spans` finds out
what lies inside what, `rows` adds up, `memory` finds the peak, `table` and `trace` write. How much
a kernel does is in `work`, what the machine could do in `peaks`.
"""

from .block import Profile, profile
from .rows import Row, Summary

__all__ = ["Profile", "Row", "Summary", "profile"]
