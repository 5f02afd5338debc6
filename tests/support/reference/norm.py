"""The references of normalizations follow their papers, in NumPy.

They do not use minidl. x is (..., C) in float64, or complex for derivatives: a function f that is
real for real numbers has f'(x) = Im f(x + ih) / h, without the loss of digits of a difference
(Squire & Trapp 1998). So nothing here may take an absolute value.
"""

import numpy as np

STEP = 1e-30


def batch_norm(
    x,
    gamma,
    beta,
    state,
    *,
    training=True,
    momentum=0.1,
    eps=1e-5,
    unbiased=True,
    mask=None,
    ghost_batch=None,
    renorm=None,
    affine=True,
    tracked=True,
):
    """Compute algorithm 1 of Ioffe & Szegedy 2015, with the virtual batches of Hoffer et al. 2017,
    and algorithm 1 of Ioffe 2017. `state` is a dict of running mean, var and batches, which is
    updated.
    """
    mask = np.ones(x.shape[:-1], bool) if mask is None else mask
    y = np.zeros(x.shape, np.result_type(x, gamma, beta) if affine else x.dtype)
    size = ghost_batch if ghost_batch and training else len(x)
    for first in range(0, len(x), size):
        part = slice(first, first + size)
        chosen = x[part][mask[part]]
        if len(chosen) == 0:
            continue
        m = len(chosen)
        r, d = 1.0, 0.0
        if training or not tracked:
            mean = chosen.sum(axis=0) / m
            var = ((chosen - mean) ** 2).sum(axis=0) / m
            if training and renorm is not None:
                r_max, d_max = renorm(state["batches"])
                sigma = np.sqrt(state["var"] + eps)
                r = np.clip(np.sqrt(var.real + eps) / sigma, 1 / r_max, r_max)
                d = np.clip((mean.real - state["mean"]) / sigma, -d_max, d_max)
            if training and tracked:
                weight = 1 / (state["batches"] + 1) if momentum is None else momentum
                state["mean"] = (1 - weight) * state["mean"] + weight * mean.real
                state["var"] = (1 - weight) * state["var"] + weight * var.real * (
                    m / (m - 1) if unbiased else 1
                )
                state["batches"] += 1
        else:
            mean, var = state["mean"], state["var"]
        out = (chosen - mean) / np.sqrt(var + eps) * r + d
        y[part][mask[part]] = gamma * out + beta if affine else out
    return y


def relu(x):
    return np.where(x.real > 0, x, 0)


def normalized(x, axis, eps, centre=True):
    mean = x.mean(axis=axis, keepdims=True) if centre else 0
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axis, keepdims=True) + eps)


def affine(y, gamma, beta):
    """Return gamma y + beta, without what is None."""
    return y * (1 if gamma is None else gamma) + (0 if beta is None else beta)


def layer_norm(x, gamma, beta=None, eps=1e-5, axis=-1):
    """Compute the layer normalization of Ba, Kiros & Hinton 2016, over the last axis."""
    return affine(normalized(x, axis, eps), gamma, beta)


def rms_norm(x, gamma, eps=1e-5, beta=None, axis=-1):
    """Compute the root-mean-square normalization of Zhang & Sennrich 2019."""
    return affine(normalized(x, axis, eps, centre=False), gamma, beta)


def group_norm(x, groups, gamma, beta=None, eps=1e-5):
    """Compute the group normalization of Wu & He 2018, over the positions and a group's channels of
    each image.
    """
    positions = int(np.prod(x.shape[1:-1]))
    parts = x.reshape(len(x), positions, groups, x.shape[-1] // groups)
    return affine(normalized(parts, (1, 3), eps).reshape(x.shape), gamma, beta)


def instance_norm(x, gamma, beta=None, eps=1e-5):
    """Compute the instance normalization of Ulyanov et al. 2016, over the positions of each image
    and channel.
    """
    return affine(normalized(x, tuple(range(1, x.ndim - 1)), eps), gamma, beta)


def filter_response_norm(x, gamma, beta=None, eps=1e-6):
    """Compute equations 1 to 3 of Singh & Krishnan 2019, where nu2 is the mean square over the
    positions. A learned eps counts by its absolute value, which is written as the root of its
    square here.
    """
    nu2 = (x**2).mean(axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    return affine(x / np.sqrt(nu2 + np.sqrt(eps**2)), gamma, beta)


def threshold(x, tau):
    """Compute the thresholded linear unit of the same paper: max(x, tau)."""
    return np.where(x.real > np.real(tau), x, tau)


def weight_norm(v, gain):
    """Compute the weight normalization of Salimans & Kingma 2016: each output's weights are gain v
    /

    v

    .
    """
    return gain * v / np.sqrt((v**2).sum(axis=tuple(range(v.ndim - 1)), keepdims=True))


def weight_standardization(v, eps=1e-5):
    """Compute equation 4 of Qiao et al. 2019: each output's weights have mean 0 and variance 1."""
    return normalized(v, tuple(range(v.ndim - 1)), eps)


def gradients(f, dy, *arrays):
    """Return the gradient of sum(f(*arrays) dy) with respect to each array, by complex steps."""
    result = []
    for k, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * STEP
            moved = (*arrays[:k], moved, *arrays[k + 1 :])
            gradient[index] = (f(*moved) * dy).sum().imag / STEP
        result.append(gradient)
    return result
