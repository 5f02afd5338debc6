"""The profiler: time, work and memory of a thread's operations, layers and kernels.

While a profile is on, `switch` replaces a few entry points by wrappers that report the begin and
end of each call to the thread's `Recorder`. Everything else happens after the block: `spans` nests
the calls, `rows` adds them up, `memory` finds the peak, `table` and `trace` write the results.
`work` counts the operations and bytes of a kernel, `peaks` measures the machine's peak rates.
"""

from .block import Profile, profile
from .rows import Row, Summary

__all__ = ["Profile", "Row", "Summary", "profile"]
