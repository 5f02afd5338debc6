"""Parameter updates, in place, over the lists of a parameter group."""

import numpy as np


def sgd_update(params, grads, velocities, lr, momentum=0.0, nesterov=False, weight_decay=0.0,
               threads=0):
    """g += weight_decay p;  v = momentum v + g;  p -= lr (v, or g + momentum v for Nesterov).

    `velocities` is None without momentum. Sutskever et al. 2013, in PyTorch's form.
    """
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if weight_decay:
            g = g + weight_decay * p
        if velocities is not None:
            v = velocities[i]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        p -= lr * g


def adam_update(params, grads, means, squares, lr, beta1, beta2, eps, weight_decay, decoupled,
                step, threads=0):
    """m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  p -= lr m' / (sqrt(s') + eps).

    m' and s' are divided by 1 - b^step (Kingma & Ba 2015). weight_decay is added to g, or,
    `decoupled`, shrinks p by lr * weight_decay first (AdamW, Loshchilov & Hutter 2019).
    """
    correction1 = 1 - beta1 ** step
    correction2 = np.sqrt(1 - beta2 ** step)
    for p, g, m, s in zip(params, grads, means, squares, strict=True):
        if decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        m += (1 - beta1) * (g - m)
        s *= beta2
        s += (1 - beta2) * g * g
        p -= (lr / correction1) * m / (np.sqrt(s) / correction2 + eps)
