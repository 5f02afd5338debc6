"""This module has programs in which convolutions are between normalizations, and a network to run
them in.

A program takes a network and images x of 16 channels. The network's steps (conv, depthwise, bn,
relu, pool) make their parameters when they are called, and always the same ones.
"""

import numpy as np

import minidl as md
from tests.support.arrays import close, uniform


def nothing(k, t):
    """Do nothing with the k-th step of a network; see `Network`."""


def look(k, t):
    """Have a step computed at once, so that no other step is fused with it."""
    t.data  # noqa: B018


class Network:
    """Has steps with parameters, and calls `after(k, t)` with the result t of each step k."""

    def __init__(self, after=nothing, training=True, dtype=np.float32):
        self.after, self.training, self.dtype = after, training, dtype
        self.steps, self.parameters, self.statistics = [], [], []

    def step(self, t):
        self.steps.append(t)
        self.after(len(self.steps) - 1, t)
        return t

    def parameter(self, *shape, low=-1.0, high=1.0):
        values = uniform(*shape, dtype=self.dtype, seed=len(self.parameters), low=low, high=high)
        self.parameters.append(md.tensor(values, requires_grad=True))
        return self.parameters[-1]

    def conv(self, x, out=16, kernel=1, bias=False, **options):
        weight = self.parameter(kernel, kernel, x.shape[3] // options.get("groups", 1), out)
        return self.step(md.conv(x, weight, self.parameter(out) if bias else None, **options))

    def depthwise(self, x, kernel=3, padding=1, **options):
        channels = x.shape[3]
        return self.conv(x, channels, kernel, padding=padding, groups=channels, **options)

    def bn(self, x):
        channels = x.shape[-1]
        gamma, beta = self.parameter(channels, low=0.5), self.parameter(channels)
        seed = len(self.statistics)
        mean = uniform(channels, dtype=self.dtype, seed=seed)
        var = uniform(channels, dtype=self.dtype, seed=seed, low=0.5, high=2.0)
        self.statistics += [mean, var]
        return self.step(md.batch_norm(x, gamma, beta, mean, var, self.training))

    def relu(self, x):
        return self.step(md.relu(x))

    def pool(self, x):
        return self.step(md.max_pool(x, 2))


def separable(m, x, out=32, **options):
    """Run a block of the network `mobile`, from normalized images to images."""
    h = m.relu(m.bn(m.depthwise(x, **options)))
    return m.relu(m.bn(m.conv(h, out)))


def inverted_residual(m, x, out=48):
    h = m.relu(m.bn(m.conv(x, out)))
    h = m.relu(m.bn(m.depthwise(h)))
    return m.bn(m.conv(h, x.shape[3])) + x


def two_readers(m, x):
    h = m.relu(m.bn(x))
    return m.relu(m.bn(m.conv(h, 32)) + m.bn(m.conv(m.depthwise(h), 32)))


def two_normalizations(m, x):
    c = m.conv(m.relu(m.bn(x)))
    return m.relu(m.bn(c)) * m.bn(c)


PROGRAMS = {
    "separable": lambda m, x: separable(m, m.relu(m.bn(x))),
    "two blocks": lambda m, x: separable(m, separable(m, m.relu(m.bn(x)), 48), 16),
    "stride 2": lambda m, x: separable(m, m.relu(m.bn(x)), stride=2),
    "same padding": lambda m, x: separable(m, m.relu(m.bn(x)), stride=(1, 2), padding="same"),
    "window of 5x5": lambda m, x: separable(
        m, m.relu(m.bn(x)), kernel=5, padding=(2, 1), dilation=1
    ),
    "no relu": lambda m, x: m.relu(m.depthwise(m.bn(x))),
    "no relu, 1x1": lambda m, x: m.relu(m.conv(m.bn(x), 32)),
    "no normalization behind": lambda m, x: m.conv(m.relu(m.bn(m.conv(m.relu(m.bn(x)), 48)))),
    "relu twice over": lambda m, x: m.relu(m.bn(m.conv(m.relu(m.relu(m.bn(x)))))),
    "normalized twice over": lambda m, x: m.relu(m.bn(m.relu(m.bn(m.conv(m.relu(m.bn(x)))))) * 2),
    "pooled": lambda m, x: m.bn(m.conv(m.pool(m.relu(m.bn(m.depthwise(m.relu(m.bn(x)))))), 32)),
    "inverted residual": lambda m, x: inverted_residual(m, m.relu(m.bn(x))),
    "two residuals": lambda m, x: inverted_residual(m, inverted_residual(m, x)),
    "residual and relu": lambda m, x: separable(m, m.relu(inverted_residual(m, x)), 32),
    "two readers": two_readers,
    "two normalizations": two_normalizations,
    "a dense window": lambda m, x: m.relu(m.bn(m.conv(separable(m, m.relu(m.bn(x))), 16, 3))),
    "with a bias": lambda m, x: m.relu(m.conv(m.relu(m.bn(x)), 32, bias=True)),
}


def images(n=3, height=7, width=6, channels=16, dtype=np.float32):
    return md.tensor(uniform(n, height, width, channels, dtype=dtype), requires_grad=True)


def forward(program, x, **settings):
    """Return (network, output). x is copied, so that nobody else has a reference to what is
    normalized.
    """
    network = Network(**settings)
    return network, program(network, x * 1)


def train(program, x=None, **settings):
    """Return everything that a train step computes, by name."""
    x = images(dtype=settings.get("dtype", np.float32)) if x is None else x
    network, y = forward(program, x, **settings)
    y.backward(uniform(*y.shape, dtype=y.dtype, seed=9))
    return found(network, x, y)


def found(network, x, y):
    """Return the output, the running statistics, and the gradients of the leaves by name."""
    return {
        "y": y.data,
        "dx": x.grad,
        **{f"statistics {k}": array for k, array in enumerate(network.statistics)},
        **{f"gradient {k}": p.grad for k, p in enumerate(network.parameters)},
    }


def agree(one, other, tolerance=3.0):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value is None or other[name] is None:
            assert value is other[name] is None, name
        else:
            assert value.dtype == other[name].dtype
            close(value, other[name], tolerance)
