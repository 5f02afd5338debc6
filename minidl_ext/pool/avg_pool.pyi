# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.pool.avg_pool import *  # noqa: F403
