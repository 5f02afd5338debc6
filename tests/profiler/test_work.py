"""These tests compare the formulas for the work of a kernel with a count of single operations, for
small shapes.
"""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import kernels, nn, optim
from minidl.profiler import work


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def flops(run):
    with md.profile() as p:
        run()
    return sum(row.flops for row in p.summary.kernels)


def moved(run, name):
    with md.profile() as p:
        run()
    return sum(row.bytes for row in p.summary.kernels if row.name.split()[0] == name)


def counted(images, filters, stride, padding, groups):
    """Count the multiplications and additions of a convolution, one output value after the
    other.
    """
    n, h, w, _ = images
    kh, kw, ci, co = filters
    rows = range(0, h + 2 * padding - kh + 1, stride)
    columns = range(0, w + 2 * padding - kw + 1, stride)
    count = 0
    for _ in itertools.product(range(n), rows, columns, range(co)):
        for _ in itertools.product(range(kh), range(kw), range(ci)):
            count += 2
    return count


@pytest.mark.parametrize(
    ("images", "filters", "stride", "padding", "groups"),
    [
        ((2, 5, 6, 3), (3, 2, 3, 4), 1, 0, 1),
        ((1, 7, 7, 4), (3, 3, 2, 6), 2, 1, 2),
        ((2, 6, 5, 16), (3, 3, 1, 16), 1, 1, 16),  # depthwise
        ((1, 6, 6, 16), (3, 3, 16, 16), 1, 1, 1),  # Winograd
        ((1, 4, 4, 16), (1, 1, 16, 32), 1, 0, 1),
    ],
)
def test_convolutions(images, filters, stride, padding, groups):
    x = md.tensor(normal(*images), requires_grad=True)
    w = md.tensor(normal(*filters), requires_grad=True)
    expected = counted(images, filters, stride, padding, groups)
    y = []

    def forward():
        y.append(md.conv(x, w, stride=stride, padding=padding, groups=groups))
        assert y[0].data.shape[0] == images[0]  # y is computed now

    assert flops(forward) == expected
    assert flops(lambda: y[0].backward(np.ones_like(y[0].data))) == 2 * expected


def test_a_convolution_and_its_pool():
    """What is pooled in one pass has been computed before, in both directions."""
    x = md.tensor(normal(2, 8, 8, 16), requires_grad=True)
    w = md.tensor(normal(3, 3, 16, 16), requires_grad=True)
    expected = counted(x.shape, w.shape, 1, 1, 1)
    y = []

    def forward():
        y.append(md.max_pool(md.conv(x, w, padding=1), 2))
        assert y[0].data.shape == (2, 4, 4, 16)

    assert flops(forward) == expected
    assert flops(lambda: y[0].sum().backward()) == 2 * expected


@pytest.mark.parametrize("family", ["pointwise", "depthwise"])
def test_a_convolution_between_normalizations(family):
    groups, kernel = (1, 1) if family == "pointwise" else (16, 3)
    bn, conv = (
        nn.BatchNorm(16),
        nn.Conv(16, 16, kernel, padding=kernel // 2, groups=groups, bias=False),
    )
    x = md.tensor(normal(2, 4, 4, 16), requires_grad=True)
    expected = counted(x.shape, conv.weight.shape, 1, kernel // 2, groups)
    with md.profile() as p:
        conv(md.relu(bn(x))).sum().backward()
    by_name = {row.name.split()[0]: row.flops for row in p.summary.kernels}
    assert by_name[f"{family}_conv"] == expected
    assert by_name[f"{family}_backward"] == 2 * expected


def test_products():
    a, b = md.tensor(normal(3, 4), requires_grad=True), md.tensor(normal(4, 5), requires_grad=True)
    assert flops(lambda: (a @ b).sum().backward()) == 3 * (2 * 3 * 4 * 5)
    stack = md.tensor(normal(7, 3, 4))
    assert flops(lambda: stack @ md.tensor(normal(7, 4, 2))) == 7 * 2 * 3 * 4 * 2
    dense = nn.Dense(6, 2)
    assert flops(lambda: dense(md.tensor(normal(8, 6))).sum().backward()) == 2 * (2 * 8 * 6 * 2)


@pytest.mark.parametrize(("layer", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers(layer, gates):
    """The work is that of the products of inputs, and of states, with the weights of all gates."""
    n, steps, inputs, hidden = 2, 5, 3, 4
    x = md.tensor(normal(n, steps, inputs))
    net = layer(inputs, hidden)
    with md.no_grad():
        assert flops(lambda: net(x)) == 2 * n * steps * (inputs + hidden) * gates * hidden


def test_bytes_of_what_memory_limits():
    x = md.tensor(normal(1000))
    assert moved(lambda: md.relu(x), "relu") == 2 * 4000
    assert moved(lambda: x + x, "add") == 3 * 4000
    assert moved(lambda: md.mean(x), "mean") == 4000 + 4


@pytest.mark.parametrize(("momentum", "arrays"), [(0, 3), (0.9, 5)])
def test_bytes_of_an_update(momentum, arrays):
    """Parameters, gradients and velocities are read, and parameters and velocities are written."""
    p = nn.Parameter(normal(1000))
    p.grad = normal(1000)
    assert moved(optim.SGD([p], lr=0.1, momentum=momentum).step, "sgd_update") == arrays * 4000


def test_the_tables_name_kernels():
    known = {name for names in kernels.FAMILIES.values() for name in names}
    assert set(work.FLOPS) <= known
    assert set(work.CHANGED) <= known


def test_an_output_that_is_given_is_written_once():
    y = np.zeros(1000, np.float32)
    assert work.bytes_and_shapes("exp", (normal(1000),), {"out": y}, y) == (8000, ((1000,),))
    nested = ([normal(10)], (normal(5), [normal(5)]), None, 3)
    assert work.bytes_and_shapes("add", nested, {"x": normal(5)}, None) == (100, ())
