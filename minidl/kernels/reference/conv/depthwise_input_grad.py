"""The gradient of a depthwise convolution by its input: that of as many groups as channels."""

from .direct_input_grad import conv_input_grad


def depthwise_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                         dilation=(1, 1), out=None, threads=0):
    """Return dx (N, H, W, C) for dy (N, OH, OW, C) and w (KH, KW, 1, C)."""
    return conv_input_grad(dy, w, input_shape, stride, padding, dilation, w.shape[3], out)
