# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.gemm.matmul import *  # noqa: F403
