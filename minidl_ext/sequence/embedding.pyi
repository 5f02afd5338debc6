# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.sequence.embedding import *  # noqa: F403
