"""These tests compile random small networks, which combine operations in all ways, and compare the
results with the networks.
"""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn
from tests.support.compiled_models import assert_equal, conv, draw, evaluated, module
from tests.support.threads import threads

CHANNELS = st.sampled_from((1, 3, 8, 16, 17, 24))
CURVES = (md.relu, md.gelu, md.silu, md.tanh, lambda x: md.leaky_relu(x, 0.1))


class Builder:
    """Draws a network as a list of functions of the values so far, with their shapes."""

    def __init__(self, data, height, width, channels):
        self.draw = data.draw
        self.shapes = [(height, width, channels)]
        self.operations = []
        self.parts = []

    def one(self, fits=lambda shape: True):
        """Return the number of a value with a fitting shape. Newer values are drawn more often."""
        found = [k for k, shape in enumerate(self.shapes) if fits(shape)]
        return self.draw(st.sampled_from([*found, *found[-2:]])) if found else None

    def part(self, layer):
        self.parts.append(layer)
        return len(self.parts) - 1

    def add(self, operation, shape):
        self.operations.append(operation)
        self.shapes.append(shape)

    def conv(self):
        k = self.one()
        height, width, channels = self.shapes[k]
        out, window = self.draw(CHANNELS), self.draw(st.sampled_from((1, 3, (2, 3))))
        options = self.draw(st.sampled_from(({}, {"dilation": 2}, {"stride": 2, "padding": 1})))
        groups = 1
        if self.draw(st.booleans()) and channels > 1:
            out = groups = channels
        layer = conv(channels, out, window, groups=groups, **options)
        n = self.part(layer)
        made = layer(md.zeros(1, height, width, channels)).shape[1:]
        self.add(lambda values, parts: parts[n](values[k]), made)

    def norm(self):
        k = self.one()
        n = self.part(nn.BatchNorm(self.shapes[k][-1]))
        self.add(lambda values, parts: parts[n](values[k]), self.shapes[k])

    def curve(self):
        k, f = self.one(), self.draw(st.sampled_from(CURVES))
        self.add(lambda values, parts: f(values[k]), self.shapes[k])

    def affine(self):
        k, number = self.one(), self.draw(st.sampled_from((0.5, -2.0, 3.0)))
        f = self.draw(
            st.sampled_from(
                (lambda x: x * number, lambda x: number - x, lambda x: x + number, md.exp)
            )
        )
        self.add(lambda values, parts: f(md.tanh(values[k])), self.shapes[k])

    def sum(self):
        k = self.one()
        j = self.one(lambda shape: shape == self.shapes[k])
        self.add(lambda values, parts: values[k] + values[j], self.shapes[k])

    def pool(self):
        k = self.one(lambda shape: min(shape[:2]) >= 2)
        if k is not None:
            height, width, channels = self.shapes[k]
            f = self.draw(st.sampled_from((md.max_pool, md.max_pool, md.avg_pool)))
            self.add(lambda values, parts: f(values[k], 2), (height // 2, width // 2, channels))

    def joint(self):
        k = self.one()
        j = self.one(lambda shape: shape[:2] == self.shapes[k][:2])
        shape = (*self.shapes[k][:2], self.shapes[k][2] + self.shapes[j][2])
        self.add(lambda values, parts: md.concatenate([values[k], values[j]], axis=-1), shape)

    def dense(self):
        k, out = self.one(), self.draw(CHANNELS)
        n = self.part(nn.Dense(int(np.prod(self.shapes[k])), out))
        self.add(
            lambda values, parts: parts[n](values[k].reshape(len(values[k]), -1)).reshape(
                -1, 1, 1, out
            ),
            (1, 1, out),
        )

    def model(self):
        kinds = (
            self.conv,
            self.conv,
            self.norm,
            self.curve,
            self.curve,
            self.affine,
            self.sum,
            self.sum,
            self.pool,
            self.joint,
            self.dense,
        )
        for _ in range(self.draw(st.integers(1, 10))):
            self.draw(st.sampled_from(kinds))()
        wanted = [
            len(self.shapes) - 1,
            *self.draw(st.lists(st.integers(0, len(self.shapes) - 1), max_size=2)),
        ]
        operations = list(self.operations)

        def forward(x, *parts):
            values = [x]
            for operation in operations:
                values.append(operation(values, parts))
            return [values[k] for k in wanted]

        return module(forward, *self.parts)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_random_network(data):
    md.manual_seed(0)
    shape = data.draw(st.sampled_from(((5, 7, 3), (8, 8, 16), (1, 1, 5), (9, 6, 8))))
    model = Builder(data, *shape).model()
    compiled = md.compile(model, draw(2, *shape))
    for size, team in ((1, 2), (3, 1), (3, 2), (7, 3)):
        x = draw(size, *shape, seed=size)
        with threads(team):
            assert_equal(compiled(x), evaluated(model, x))
