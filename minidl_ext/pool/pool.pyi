# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.pool.pool import *  # noqa: F403
