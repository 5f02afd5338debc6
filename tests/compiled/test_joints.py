"""These tests check concatenations and views in plans: a part is written directly to its place in
the joint array, and a reshaped array is the same memory.
"""

import pytest

import minidl as md
from tests.support.compiled_models import check, conv, draw, module, steps

X = draw(2, 9, 7, 8)
WIDE = draw(2, 9, 7, 16)


def joined(*xs):
    return md.concatenate(xs, axis=-1)


JOINTS = {
    "of convolutions": lambda x, a, b, c: joined(a(x), b(x)),
    "with the input": lambda x, a, b, c: joined(x, a(x)),
    "of one twice": lambda x, a, b, c: (lambda y: joined(y, x, y))(a(x)),
    "nested": lambda x, a, b, c: joined(joined(a(x), x), b(x)),
    "of ends": lambda x, a, b, c: md.relu(joined(md.relu(a(x) + x), b(x) * 2)) + 1,
    "of pools": lambda x, a, b, c: joined(md.max_pool(a(x), 2), md.max_pool(b(x), 2)),
    "that a convolution reads": lambda x, a, b, c: md.conv(
        joined(a(x), b(x), x), draw(3, 3, 56, 8), None, padding=1
    ),
    "that is used again": lambda x, a, b, c: (
        lambda y: (y, md.conv(y, draw(3, 3, 40, 16), None, padding=1))
    )(joined(a(x), b(x))),
    "as in DenseNet": lambda x, a, b, c: (lambda y: joined(y, md.relu(b(a(y)[..., :16]))))(
        joined(x, a(x))[..., 4:20]
    ),
    "of rows": lambda x, a, b, c: md.concatenate([a(x), x], axis=1),
    "of images": lambda x, a, b, c: md.concatenate([a(x), x], axis=0),
    "with a constant": lambda x, a, b, c: joined(a(x), md.ones(len(x), 9, 7, 2)),
}


@pytest.mark.parametrize("name", JOINTS)
@pytest.mark.parametrize("window", [1, 3])
def test_concatenations_are_computed_as_in_evaluation_mode(name, window):
    md.manual_seed(0)
    parts = conv(16, 16, window), conv(16, 24, window), conv(16, 16, window)
    check(module(JOINTS[name], *parts), WIDE, sizes=(1, 3))


def test_a_concatenation_copies_nothing_that_a_layer_computes():
    model = module(lambda x, a, b: joined(a(x), md.relu(b(x))), conv(8, 16, 1), conv(8, 5, 1))
    assert steps(check(model, X)) == ["conv 1x1", "conv 1x1, relu"]


VIEWS = {
    "flattened": lambda x, a, b: a(x).reshape(len(x), -1) * 2,
    "flattened input": lambda x, a, b: x.reshape(len(x), -1) * 2,
    "there and back": lambda x, a, b: b(a(x).reshape(len(x), -1).reshape(-1, 7, 9, 16)),
    "of an input, convolved": lambda x, a, b: a(x.reshape(-1, 7, 9, 8)),
    "both": lambda x, a, b: (lambda y: (y, y.reshape(len(y), -1), b(y)))(a(x)),
    "of the input, returned": lambda x, a, b: (x, x.reshape(len(x), -1)),
    "two of one": lambda x, a, b: (lambda y: y.reshape(-1, 63, 16) + y.reshape(-1, 63, 16))(a(x)),
    "of more axes": lambda x, a, b: a(x).reshape(-1, 9, 7, 2, 8).sum(axis=3),
    "of fewer images": lambda x, a, b: a(x).reshape(-1, 16) + 1,
    "detached": lambda x, a, b: b(md.relu(a(x)).detach()),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_computed_as_in_evaluation_mode(name):
    check(module(VIEWS[name], conv(), conv(16, 8)), X, sizes=(1, 3))
