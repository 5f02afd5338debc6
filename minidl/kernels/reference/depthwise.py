"""Depthwise convolution and its gradients: convolution in as many groups as channels."""

from . import conv as general


def depthwise_conv(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), out=None,
                   threads=0):
    """y (N, OH, OW, C) of x (N, H, W, C) and w (KH, KW, 1, C)."""
    return general.conv(x, w, None, stride, padding, dilation, x.shape[3], out)


def depthwise_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                         dilation=(1, 1), out=None, threads=0):
    """dx (N, H, W, C) from dy (N, OH, OW, C)."""
    return general.conv_input_grad(dy, w, input_shape, stride, padding, dilation, w.shape[3], out)


def depthwise_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                          dilation=(1, 1), out=None, threads=0):
    """dw (KH, KW, 1, C) from x (N, H, W, C) and dy (N, OH, OW, C)."""
    return general.conv_weight_grad(x, dy, kernel_shape, stride, padding, dilation, x.shape[3],
                                    out)
