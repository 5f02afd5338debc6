"""The gradient of a depthwise convolution by its weights: that of as many groups as channels."""

from .direct_weight_grad import conv_weight_grad


def depthwise_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                          dilation=(1, 1), out=None, threads=0):
    """Return dw (KH, KW, 1, C) for x (N, H, W, C) and dy (N, OH, OW, C)."""
    return conv_weight_grad(x, dy, kernel_shape, stride, padding, dilation, x.shape[3], out)
