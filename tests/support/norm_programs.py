"""This module has programs with normalizations that other operations can be fused with, in minidl
and in NumPy.

A program takes a namespace (relu, bn, maximum), x and a residual s.
"""

from types import SimpleNamespace

import numpy as np

import minidl as md
from tests.support.arrays import uniform

GAMMA, BETA = np.array([1.5, -0.5, 0.75]), np.array([0.25, 0.5, -0.125])
MEAN, VAR = np.array([0.5, -0.25, 0.125]), np.array([1.0, 0.5, 2.0])


def numpys(training):
    def bn(x):
        mean, var = (x.mean((0, 1)), x.var((0, 1))) if training else (MEAN, VAR)
        return GAMMA * (x - mean) / np.sqrt(var + 1e-5) + BETA

    return SimpleNamespace(relu=lambda x: np.maximum(x, 0), bn=bn, maximum=np.maximum)


def ours(training):
    def bn(x):
        gamma, beta = (md.tensor(v, dtype=x.dtype) for v in (GAMMA, BETA))
        return md.batch_norm(x, gamma, beta, MEAN.copy(), VAR.copy(), training)

    return SimpleNamespace(relu=md.relu, bn=bn, maximum=md.maximum)


def pending_twice(m, x, s):
    p = m.bn(x)
    return m.relu(p) * p + p


def sum_twice(m, x, s):
    q = m.bn(x) + s
    return m.relu(q) + q


def relu_twice(m, x, s):
    p = m.bn(x)
    return m.relu(p) * m.relu(p)


def sum_and_relu(m, x, s):
    p = m.bn(x)
    return m.relu(p + s) * m.relu(p)


def block(m, x, s):
    """Run two blocks of a residual network."""
    y = m.relu(m.bn(m.relu(m.bn(x)) * s) + x)
    return m.relu(m.bn(m.relu(m.bn(y)) * s) + y)


PROGRAMS = {
    "bn": lambda m, x, s: m.bn(x),
    "relu": lambda m, x, s: m.relu(m.bn(x)),
    "residual": lambda m, x, s: m.bn(x) + s,
    "residual left": lambda m, x, s: s + m.bn(x),
    "residual and relu": lambda m, x, s: m.relu(m.bn(x) + s),
    "residual left and relu": lambda m, x, s: m.relu(s + m.bn(x)),
    "the input as residual": lambda m, x, s: m.relu(m.bn(x) + x),
    "relu as residual": lambda m, x, s: m.relu(m.bn(x) + m.relu(m.bn(s))),
    "two normalizations": lambda m, x, s: m.bn(x) + m.bn(s),
    "two normalizations and relu": lambda m, x, s: m.relu(m.bn(x) + m.bn(s)),
    "residual normalized before": lambda m, x, s: next(m.relu(m.bn(x) + t) for t in [m.bn(s)]),
    "twice the same input": lambda m, x, s: m.relu(m.bn(x) + m.bn(x)),
    "two residuals": lambda m, x, s: m.relu(m.bn(x) + s + x),
    "relu twice over": lambda m, x, s: m.relu(m.relu(m.bn(x))),
    "relu plus residual": lambda m, x, s: m.relu(m.bn(x)) + s,
    "normalized again": lambda m, x, s: m.bn(m.bn(x)),
    "normalized after relu": lambda m, x, s: m.relu(m.bn(m.relu(m.bn(x) + s))),
    "plus a number": lambda m, x, s: m.relu(m.bn(x) + 0.5),
    "plus a row": lambda m, x, s: m.relu(m.bn(x) + s[0, 0]),
    "plus a column": lambda m, x, s: m.relu(s[:, :1, :1] + m.bn(x)),
    "grown by the residual": lambda m, x, s: m.relu(m.bn(x) + s[None]),
    "minus": lambda m, x, s: m.relu(s - m.bn(x)),
    "reshaped": lambda m, x, s: m.relu(m.bn(x).reshape(-1) + s.reshape(-1)),
    "a maximum": lambda m, x, s: m.maximum(m.bn(x), s),
    "p + p": lambda m, x, s: (lambda p: m.relu(p + p))(m.bn(x)),
    "pending twice": pending_twice,
    "sum twice": sum_twice,
    "relu twice": relu_twice,
    "sum and relu": sum_and_relu,
    "block": block,
}


def inputs():
    return [md.tensor(uniform(5, 4, 3, seed=k), requires_grad=True) for k in (0, 1)]
