"""This module has programs of a few steps each, which minidl fuses into chains. Tests run them
fused and with every step computed at once.
"""

import minidl as md
from tests.support.arrays import uniform

SHAPE = 3, 6, 4, 16


class Steps:
    """Keeps the steps of a program: its leaves, and its results by name in the order in which they
    are made.
    """

    def __init__(self, fused=True, fixed=(), training=True):
        self.fused, self.fixed, self.training = fused, fixed, training
        self.leaves, self.made = {}, {}

    def leaf(self, name, *shape, low=-1.0):
        if name not in self.leaves:
            values = uniform(*shape, seed=len(self.leaves), low=low)
            self.leaves[name] = md.tensor(values, requires_grad=name not in self.fixed)
        return self.leaves[name]

    def images(self, name):
        """Return images that are the result of an operation on a leaf."""
        return self.leaf(name, *SHAPE) * 1

    def step(self, name, y):
        self.made[f"{len(self.made)} {name}"] = y
        if not self.fused:
            y.data  # noqa: B018
        return y

    def bn(self, x):
        k = len(self.leaves)
        c = x.shape[-1]
        gamma, beta = self.leaf(f"gamma{k}", c, low=0.5), self.leaf(f"beta{k}", c)
        mean, var = uniform(c, seed=8), uniform(c, seed=9, low=0.5)
        return self.step("bn", md.batch_norm(x, gamma, beta, mean, var, self.training))

    def relu(self, x):
        return self.step("relu", md.relu(x))

    def gelu(self, x):
        return self.step("gelu", md.gelu(x))

    def silu(self, x):
        return self.step("silu", md.silu(x))

    def add(self, a, b):
        return self.step("add", a + b)

    def pool(self, x):
        return self.step("pool", md.max_pool(x, 2))

    def conv(self, x):
        k = len(self.leaves)
        return self.step("conv", md.conv(x, self.leaf(f"w{k}", 1, 1, x.shape[-1], 32)))

    def winograd(self, x):
        w = self.leaf(f"w{len(self.leaves)}", 3, 3, x.shape[-1], 24)
        return self.step("conv", md.conv(x, w, self.leaf(f"b{len(self.leaves)}", 24), padding=1))

    def depthwise(self, x):
        c = x.shape[-1]
        w = self.leaf(f"w{len(self.leaves)}", 3, 3, 1, c)
        return self.step("conv", md.conv(x, w, padding=1, groups=c))


PROGRAMS = {
    "bn": lambda m: m.bn(m.images("x")),
    "bn relu": lambda m: m.relu(m.bn(m.images("x"))),
    "bn relu relu": lambda m: m.relu(m.relu(m.bn(m.images("x")))),
    "bn residual": lambda m: m.add(m.bn(m.images("x")), m.images("s")),
    "residual bn": lambda m: m.add(m.images("s"), m.bn(m.images("x"))),
    "bn residual relu": lambda m: m.relu(m.add(m.bn(m.images("x")), m.images("s"))),
    "residual bn relu": lambda m: m.relu(m.add(m.images("s"), m.bn(m.images("x")))),
    "bn bn relu": lambda m: m.relu(m.add(m.bn(m.images("x")), m.bn(m.images("s")))),
    "the input as residual": lambda m: (lambda x: m.relu(m.add(m.bn(x), x)))(m.images("x")),
    "bn relu residual": lambda m: m.add(m.relu(m.bn(m.images("x"))), m.images("s")),
    "bn pool": lambda m: m.pool(m.bn(m.images("x"))),
    "bn relu pool": lambda m: m.pool(m.relu(m.bn(m.images("x")))),
    "bn conv": lambda m: m.conv(m.bn(m.images("x"))),
    "bn relu conv": lambda m: m.conv(m.relu(m.bn(m.images("x")))),
    "bn relu conv bn": lambda m: m.bn(m.conv(m.relu(m.bn(m.images("x"))))),
    "bn relu depthwise": lambda m: m.depthwise(m.relu(m.bn(m.images("x")))),
    "bn relu conv bn relu": lambda m: m.relu(m.bn(m.conv(m.relu(m.bn(m.images("x")))))),
    "bn gelu": lambda m: m.gelu(m.bn(m.images("x"))),
    "bn silu conv bn silu": lambda m: m.silu(m.bn(m.conv(m.silu(m.bn(m.images("x")))))),
    "bn gelu residual": lambda m: m.add(m.gelu(m.bn(m.images("x"))), m.images("s")),
    "bn residual gelu": lambda m: m.gelu(m.add(m.bn(m.images("x")), m.images("s"))),
    "bn gelu gelu pool": lambda m: m.pool(m.gelu(m.gelu(m.bn(m.images("x"))))),
    "bn relu gelu": lambda m: m.gelu(m.relu(m.bn(m.images("x")))),
    "winograd pool": lambda m: m.pool(m.winograd(m.images("x"))),
    "winograd pool bn gelu": lambda m: m.gelu(m.bn(m.pool(m.winograd(m.images("x"))))),
    "bn gelu winograd pool": lambda m: m.pool(m.winograd(m.gelu(m.bn(m.images("x"))))),
    "bn conv pool": lambda m: m.pool(m.conv(m.bn(m.images("x")))),
    "bn residual pool": lambda m: m.pool(m.add(m.bn(m.images("x")), m.images("s"))),
    "pool bn silu": lambda m: m.silu(m.bn(m.pool(m.images("x")))),
    "bn residual relu conv": lambda m: m.conv(m.relu(m.add(m.bn(m.images("x")), m.images("s")))),
}
