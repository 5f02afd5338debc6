# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.data.picture import *  # noqa: F403
