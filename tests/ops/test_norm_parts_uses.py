"""These tests run programs around normalizations with masks and virtual batches, which give the
same fused and step by step.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.norm_programs import BETA, GAMMA, MEAN, PROGRAMS, VAR, inputs

MASK = uniform(5, 4, seed=3) < 0.3
OPTIONS = {
    "mask": {"mask": MASK},
    "ghosts": {"ghost_batch": 2},
    "renorm": {"renorm": (1.5, 0.5)},
    "everything": {"mask": MASK, "ghost_batch": 3, "renorm": (1.5, 0.5)},
}


def namespace(options, training, watched):
    def step(f):
        def run(*args):
            y = f(*args)
            if watched:
                y.data  # noqa: B018
            return y

        return run

    def bn(x):
        gamma, beta = (md.tensor(v, dtype=x.dtype) for v in (GAMMA, BETA))
        return md.batch_norm(x, gamma, beta, MEAN.copy(), VAR.copy(), training, **options)

    return SimpleNamespace(relu=step(md.relu), bn=step(bn), maximum=md.maximum)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_and_step_by_step_agree(name, options, training):
    """A second backward through the same graph gives the same again."""
    results = []
    for watched in (False, True):
        x, s = inputs()
        y = PROGRAMS[name](namespace(options, training, watched), x * 1, s * 1)
        dy = uniform(*y.shape, seed=9)
        y.backward(dy, retain_graph=True)
        first = [np.zeros(60) if t.grad is None else t.grad for t in (x, s)]
        y.backward(dy)
        close(x.grad, 2 * first[0])
        results.append([y.data, *first])
    for one, other in zip(*results, strict=True):
        close(one, other)


@pytest.mark.parametrize("write", ["x", "residual"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_a_user_writes_to_later_does_not_show(options, write):
    m = namespace(options, True, False)
    x, s = inputs()
    expected = m.relu(m.bn(x) + s).data
    y = m.relu(m.bn(x) + s)
    (x if write == "x" else s).data[...] = 7
    np.testing.assert_array_equal(y.data, expected)
