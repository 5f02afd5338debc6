# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.pool.max_pool import *  # noqa: F403
