"""layer_norm, rms_norm, group_norm, instance_norm: the formulas, gradients, what they refuse."""

import numpy as np
import pytest

import minidl as md
from tests.harness import case, checks_of, errors_of


def layer_norm(x, gamma, beta, eps=1e-5):
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return y * (1 if gamma is None else gamma) + (0 if beta is None else beta)


def rms_norm(x, gamma, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (1 if gamma is None else gamma)


def group_norm(x, groups, gamma, beta, eps=1e-5):
    parts = x.reshape(x.shape[0], int(np.prod(x.shape[1:-1])), groups, x.shape[-1] // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var(axis=(1, 3), keepdims=True)
    y = ((parts - mean) / np.sqrt(var + eps)).reshape(x.shape)
    return y * (1 if gamma is None else gamma) + (0 if beta is None else beta)


def instance_norm(x, gamma, beta, eps=1e-5):
    return group_norm(x, x.shape[-1], gamma, beta, eps)


test_values, test_gradients, test_threads = checks_of([
    *(case(f"layer_norm {shapes} {options}", md.layer_norm, layer_norm, *shapes, **options)
      for shapes in ([(3, 5), (5,), (5,)], [(3, 5), None, None], [(2, 3, 4), (4,), None],
                     [(6,), None, (6,)], [(0, 4), (4,), (4,)], [(2, 2, 2, 3), (3,), (3,)])
      for options in ({}, {"eps": 0.1})),
    *(case(f"rms_norm {shapes} {options}", md.rms_norm, rms_norm, *shapes, **options)
      for shapes in ([(3, 5), (5,)], [(3, 5), None], [(2, 3, 4), (4,)], [(0, 4), (4,)])
      for options in ({}, {"eps": 0.1})),
    *(case(f"group_norm {shape} {groups} {affine}", md.group_norm, group_norm, shape, groups,
           *([(shape[-1],)] * 2 if affine else [None, None]))
      for shape, groups in (((2, 3, 4, 6), 3), ((2, 3, 4, 6), 1), ((2, 3, 4, 6), 6), ((3, 8), 2),
                            ((2, 5, 4), 2), ((0, 3, 4), 2))
      for affine in (True, False)),
    *(case(f"instance_norm {shape} {affine}", md.instance_norm, instance_norm, shape,
           *([(shape[-1],)] * 2 if affine else [None, None]))
      for shape in ((2, 3, 4, 5), (3, 7, 2)) for affine in (True, False)),
    case("large layer_norm", md.layer_norm, layer_norm, (3, 5), (5,), (5,),
         large=[(701, 130), (130,), (130,)]),
    case("large rms_norm", md.rms_norm, rms_norm, (3, 5), (5,), large=[(701, 130), (130,)]),
    case("large group_norm", lambda x, g, b: md.group_norm(x, 2, g, b),
         lambda x, g, b: group_norm(x, 2, g, b), (2, 3, 4), (4,), (4,),
         large=[(9, 15, 14, 32), (32,), (32,)]),
    case("large instance_norm", md.instance_norm, instance_norm, (2, 3, 4), (4,), (4,),
         large=[(9, 15, 14, 32), (32,), (32,)]),
])

X = md.ones((2, 3, 4))
CALLS = [("layer_norm", lambda x, g=None, b=None, **o: md.layer_norm(x, g, b, **o)),
         ("group_norm", lambda x, g=None, b=None, **o: md.group_norm(x, 2, g, b, **o)),
         ("instance_norm", lambda x, g=None, b=None, **o: md.instance_norm(x, g, b, **o))]

test_errors = errors_of([
    *((lambda f=f: f(X, md.ones(3)), ValueError, name, "gamma", "(4,)", "(3,)")
      for name, f in CALLS),
    *((lambda f=f: f(X, None, md.ones((1, 4))), ValueError, name, "beta", "(4,)", "(1, 4)")
      for name, f in CALLS),
    *((lambda f=f: f(X, np.ones(4)), TypeError, name, "float32", "float64") for name, f in CALLS),
    *((lambda f=f: f(X, eps=-1), ValueError, name, "eps", "-1") for name, f in CALLS),
    *((lambda f=f: f(X, eps="a"), TypeError, name, "eps", "str") for name, f in CALLS),
    *((lambda f=f: f(np.ones((2, 3, 4), int)), TypeError, name, "int64") for name, f in CALLS),
    *((lambda f=f: f(md.ones((2, 3, 0))), ValueError, name, "(2, 3, 0)") for name, f in CALLS),
    (lambda: md.layer_norm(md.tensor(1.0), None, None), ValueError, "layer_norm", "()"),
    (lambda: md.rms_norm(X, md.ones(3)), ValueError, "rms_norm", "gamma", "(4,)"),
    (lambda: md.rms_norm(X, None, eps=-1), ValueError, "rms_norm", "eps"),
    (lambda: md.group_norm(md.ones(4), 2, None, None), ValueError, "group_norm", "(4,)"),
    (lambda: md.group_norm(X, 3, None, None), ValueError, "group_norm", "4 channels", "3 groups"),
    (lambda: md.group_norm(X, 0, None, None), ValueError, "group_norm", "groups", "0"),
    (lambda: md.group_norm(X, 1.5, None, None), ValueError, "group_norm", "groups", "1.5"),
    (lambda: md.instance_norm(md.ones((2, 4)), None, None), ValueError, "instance_norm", "(2, 4)"),
    (lambda: md.instance_norm(md.ones((2, 1, 4)), None, None), ValueError, "instance_norm",
     "one value"),
])


@pytest.mark.parametrize("f", [f for _, f in CALLS], ids=[name for name, _ in CALLS])
def test_large_means_cost_no_digits(f):
    x = np.random.default_rng(0).standard_normal((4, 50, 16)) + 1e4
    x = x.astype(np.float32)
    exact = f(x.astype(np.float64)).data
    assert np.abs(f(x).data - exact).max() < 2e-6 * np.abs(exact).max()
