# Its functions have the signatures of their twins, which a test compares.
from minidl.kernels.reference.conv.winograd_weight_grad import *  # noqa: F403
