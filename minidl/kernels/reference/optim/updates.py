"""Parameter updates, in place, over the lists of a parameter group."""

import numpy as np

from ..common import Array, apart, floats


def _apart(where: str, grads: list[Array], **states: list[Array] | None) -> None:
    """Check that no two arrays that are written share memory, and none with a gradient; parameters
    may share a gradient, which is only read."""
    written = {
        f"{name}[{i}]": a
        for name, arrays in states.items()
        if arrays is not None
        for i, a in enumerate(arrays)
    }
    apart(where, written, {f"grads[{i}]": g for i, g in enumerate(grads)})


def sgd_update(
    params: list[Array],
    grads: list[Array],
    velocities: list[Array] | None,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    threads: int = 0,
) -> None:
    """g += weight_decay p;  v = momentum v + g;  p -= lr (v, or g + momentum v for Nesterov).

    `velocities` is None without momentum. Sutskever et al. 2013, in PyTorch's form.
    """
    _apart("sgd_update", grads, params=params, velocities=velocities)
    lr, momentum, weight_decay = floats(lr, momentum, weight_decay)
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if weight_decay:
            g = g + weight_decay * p
        if velocities is not None:
            v = velocities[i]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        p -= lr * g


def adam_update(
    params: list[Array],
    grads: list[Array],
    means: list[Array],
    squares: list[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    threads: int = 0,
) -> None:
    """m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  p -= lr m' / (sqrt(s') + eps).

    m' and s' are divided by 1 - b^step (Kingma & Ba 2015). weight_decay is added to g, or,
    `decoupled`, shrinks p by lr * weight_decay first (AdamW, Loshchilov & Hutter 2019).
    """
    _apart("adam_update", grads, params=params, means=means, squares=squares)
    lr, beta1, beta2, eps, weight_decay = floats(lr, beta1, beta2, eps, weight_decay)
    correction1 = 1 - beta1**step
    correction2 = np.sqrt(1 - beta2**step)
    for p, g, m, s in zip(params, grads, means, squares, strict=True):
        if decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        m += (1 - beta1) * (g - m)
        s *= beta2
        s += (1 - beta2) * g * g
        p -= (lr / correction1) * m / (np.sqrt(s) / correction2 + eps)


def rmsprop_update(
    params: list[Array],
    grads: list[Array],
    squares: list[Array],
    means: list[Array] | None,
    velocities: list[Array] | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    threads: int = 0,
) -> None:
    """g += weight_decay p;  s = alpha s + (1 - alpha) g^2;  d = g / (sqrt(s') + eps);
    v = momentum v + d;  p -= lr v.

    s' is s, or with `means` s - m^2, where m = alpha m + (1 - alpha) g. `means` is None if not
    centered, `velocities` without momentum (v is then d). Tieleman & Hinton 2012 and Graves 2013,
    in PyTorch's form.
    """
    _apart(
        "rmsprop_update", grads, params=params, squares=squares, means=means, velocities=velocities
    )
    lr, alpha, eps, momentum, weight_decay = floats(lr, alpha, eps, momentum, weight_decay)
    for i, (p, g, s) in enumerate(zip(params, grads, squares, strict=True)):
        if weight_decay:
            g = g + weight_decay * p
        s *= alpha
        s += (1 - alpha) * g * g
        square = s
        if means is not None:
            m = means[i]
            m += (1 - alpha) * (g - m)
            square = np.maximum(s - m * m, 0)  # below 0 by rounding only; NaN stays
        d = g / (np.sqrt(square) + eps)
        if velocities is not None:
            v = velocities[i]
            v *= momentum
            v += d
            d = v
        p -= lr * d


def adagrad_update(
    params: list[Array],
    grads: list[Array],
    sums: list[Array],
    lr: float,
    eps: float,
    weight_decay: float = 0.0,
    threads: int = 0,
) -> None:
    """g += weight_decay p;  s += g^2;  p -= lr g / (sqrt(s) + eps) (Duchi et al. 2011)."""
    _apart("adagrad_update", grads, params=params, sums=sums)
    lr, eps, weight_decay = floats(lr, eps, weight_decay)
    for p, g, s in zip(params, grads, sums, strict=True):
        if weight_decay:
            g = g + weight_decay * p
        s += g * g
        p -= lr * g / (np.sqrt(s) + eps)


def lars_update(
    params: list[Array],
    grads: list[Array],
    velocities: list[Array] | None,
    lr: float,
    momentum: float,
    trust: float,
    eps: float,
    weight_decay: float = 0.0,
    threads: int = 0,
) -> None:
    """v = momentum v + r (g + weight_decay p);  p -= lr v;
    r = trust |p| / (|g| + weight_decay |p| + eps), one number a parameter.

    r is 1 where |p| or |g| is 0. Parameters of one axis or none have r = 1 and no weight decay.
    `velocities` is None without momentum. You, Gitman & Ginsburg 2017, with the learning rate
    outside v, as in `sgd_update`.
    """
    _apart("lars_update", grads, params=params, velocities=velocities)
    lr, momentum, trust, eps, weight_decay = floats(lr, momentum, trust, eps, weight_decay)
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        rate = 1.0
        if p.ndim > 1:
            p_norm, g_norm = (square_sum([a]) ** 0.5 for a in (p, g))
            if p_norm != 0 and g_norm != 0:
                rate = trust * p_norm / (g_norm + weight_decay * p_norm + eps)
            g = g + weight_decay * p
        d = rate * g
        if velocities is not None:
            v = velocities[i]
            v *= momentum
            v += d
            d = v
        p -= lr * d


def square_sum(grads: list[Array], threads: int = 0) -> float:
    """The sum of the squares of all values of all arrays, in double."""
    return float(sum(np.square(g, dtype=np.float64).sum() for g in grads))
