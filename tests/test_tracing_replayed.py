"""These tests check that the graphs of models, layers and functions are complete enough to compute
them again.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.graphs import check, operations, settled
from tests.support.layer_table import LAYERS
from tests.support.marks import every_model

pytestmark = pytest.mark.usefixtures("no_tracer_is_left")


@every_model
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_models_computed_again(model, shape, norm):
    graph = check(settled(model(norm=norm)), uniform(*shape))
    assert {name for name, _ in model(norm=norm).named_parameters()} == set(graph.parameters)


WORDS = (3, 5, 4)
MADE = {
    **{line[0]: (line[1], line[3]) for line in LAYERS},
    **{
        "Conv, same": (lambda: nn.Conv(4, 6, 3, 2, "same", groups=2), (3, 6, 6, 4)),
        "Embedding": (lambda: nn.Embedding(9, 4), np.array([[1, 2], [8, 0]])),
        **{
            f"{kind.__name__}, {options}": (
                lambda kind=kind, options=options: kind(4, 3, **options),
                WORDS,
            )
            for kind in (nn.RNN, nn.GRU, nn.LSTM)
            for options in (
                {},
                {"num_layers": 2, "bidirectional": True},
                {"norm": "layer"},
                {"norm": "batch"},
            )
        },
    },
}


@pytest.mark.parametrize("name", MADE)
def test_layers_computed_again(name):
    make, given = MADE[name]
    check(settled(make()), given if isinstance(given, np.ndarray) else uniform(*given))


def test_every_layer_is_in_the_table():
    kinds = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Layer)
    }
    # StepNorm takes a step as well, and the others compute nothing themselves.
    there = {name.partition(",")[0] for name in MADE}
    assert kinds - there == {"Layer", "LayerList", "Normalization", "StepNorm"}


A, B = uniform(3, 4), uniform(3, 4)
MASK, ROW = np.array([[True, False, True, False]] * 3), np.array([2, 0, 1])
FUNCTIONS = {
    "comparisons": (lambda x, y: (x == y, x != y, x < y, x <= y, x > 0, y <= 1), A, B),
    "logic": (lambda x, y: (((x > 0) & (y > 0)) | ~(x > y)) ^ (x < 0), A, B),
    "shifts": (lambda k: (k << 1, k >> 1, k & 1, 2 | k), ROW),
    "any and all": (lambda x: (md.any(x > 0, axis=0), md.all(x, keepdims=True)), A),
    "places": (lambda x: (md.argmax(x, axis=1), md.argmin(x), x.argmax(axis=0, keepdims=True)), A),
    "division": (lambda x, y: (x // y, x % y, divmod(x, 2.0)), A, B),
    "integers": (
        lambda k: (k.sum(), k.mean(), k.var(), k.std(), k.max(), k.min(), -k, abs(k)),
        ROW,
    ),
    "casts": (lambda x: (x.astype(np.int64), (x > 0).astype(np.float64)), A),
    "rows": (lambda x, k: (x[k], x[:, k], x[k, k], x[None, k, 1:3]), A, ROW),
    "masked": (lambda x, m: (md.where(m, x, 0.0), x * m), A, MASK),
    "clipped": (lambda x, y: md.clip(x, y, 0.5), A, B),
    "in order": (lambda x: (md.sort(x, 0), md.argsort(x), *md.topk(x, 2), md.cumsum(x)), A),
    "waves": (lambda x: md.sin(x) + md.cos(x), A),
    "other sizes": (lambda x: (md.resize(x[None], 5), md.adaptive_avg_pool(x[None], 2)), A),
    "attention": (lambda x, y, m: md.scaled_dot_product_attention(x, x, y, m[:, :3]), A, B, MASK),
    "attention with a mask of floats": (
        lambda x, y, m: md.scaled_dot_product_attention(x, x, y, m, causal=True),
        A,
        B,
        uniform(3, 3),
    ),
    "one hot": (lambda k: md.one_hot(k, 5), ROW),
    "embedding": (lambda k, w: md.embedding(k, w), ROW, B),
    "detached": (lambda x: x.detach() + x, A),
    "split": (lambda x: md.concatenate(md.split(x, 2, axis=1)[::-1], axis=0), A),
    "indexed by a list": (lambda x: x[[0, 2], 1:], A),
    "einsum": (lambda x, y: md.einsum("ij,kj->ik", x, y), A, B),
    "numpy's functions": (lambda x: np.mean(np.exp(x), axis=1), A),
    "cross_entropy": (md.cross_entropy, A, ROW),
    "cross_entropy, ignored": (lambda x, k: md.cross_entropy(x, k, ignore_index=2), A, ROW),
    "cross_entropy, weighed": (
        lambda x, k, w: md.cross_entropy(x, k, weight=w),
        A,
        ROW,
        uniform(4),
    ),
    "cross_entropy, smoothed": (
        lambda x, k: md.cross_entropy(x, k, label_smoothing=0.1, reduction="none"),
        A,
        ROW,
    ),
    "cross_entropy of a distribution": (lambda x, y: md.cross_entropy(x, md.softmax(y)), A, B),
    "nll_loss": (lambda x, k, w: md.nll_loss(x, k, weight=w, ignore_index=0), A, ROW, uniform(4)),
    "mse_loss": (md.mse_loss, A, B),
    "l1_loss": (md.l1_loss, A, B),
    "huber_loss": (md.huber_loss, A, B),
    "binary cross-entropy": (
        lambda x, y, w: md.binary_cross_entropy_with_logits(
            x, md.sigmoid(y), weight=w, pos_weight=w
        ),
        A,
        B,
        uniform(4),
    ),
    "structures": (lambda x, y: {"sum": x + y, "list": [x, (y, 3)], "none": None}, A, B),
    "constants": (lambda x: x * np.float32([1, 2, 3, 4]) + md.ones(4), A),
    "an input alone": (lambda x: x, A),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_computed_again(name):
    f, *arrays = FUNCTIONS[name]
    check(f, *arrays)


def test_a_masked_normalization_computed_again():
    norm = settled(nn.BatchNorm(4)).eval()
    graph = check(lambda x, m: norm(x, mask=m), uniform(3, 4), MASK[0, :3])
    assert operations(graph) == ["PartedBatchNorm"]
    assert graph.nodes[0].inputs[-1] is graph.inputs[1]
