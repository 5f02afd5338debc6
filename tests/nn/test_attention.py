"""These tests check MultiHeadAttention: keys and values of another input, masks, dropout, initial
weights, state.

Self-attention without a mask is in `test_layers`.
"""

import copy

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.cases import errors_of
from tests.support.reference.attention import multi_head

N, L, S = 3, 4, 5
QUERY, KEY, VALUE = (
    uniform(*shape, dtype=np.float64, seed=k)
    for k, shape in enumerate(((N, L, 6), (N, S, 3), (N, S, 2)))
)
RNG = np.random.default_rng(3)
PAIRS = RNG.random((L, S)) < 0.7
EACH = RNG.random((N, L, S)) < 0.7
HEADS = RNG.random((N, 2, L, S)) < 0.7
BIAS = np.where(PAIRS, RNG.normal(size=(L, S)), -np.inf)
LENGTHS = np.arange(S) < np.array([5, 2, 3])[:, None]
FULL = np.ones((N, 2, L, S), bool)
# How the layer is called, and the mask (N, heads, L, S) that this means.
MASKS = {
    "none": ({}, FULL),
    "pairs": ({"mask": PAIRS}, FULL & PAIRS),
    "of each example": ({"mask": EACH}, FULL & EACH[:, None]),
    "of each head": ({"mask": HEADS}, HEADS),
    "floats": ({"mask": BIAS}, np.broadcast_to(BIAS, FULL.shape)),
    "keys": ({"key_mask": LENGTHS}, FULL & LENGTHS[:, None, None]),
    "pairs and keys": ({"mask": PAIRS, "key_mask": LENGTHS}, FULL & PAIRS & LENGTHS[:, None, None]),
    "floats and keys": (
        {"mask": BIAS, "key_mask": LENGTHS},
        np.where(LENGTHS[:, None, None], BIAS, -np.inf) + np.zeros(FULL.shape),
    ),
    "a list": ({"key_mask": LENGTHS.tolist()}, FULL & LENGTHS[:, None, None]),
}


def attention(**options):
    md.manual_seed(0)
    layer = nn.MultiHeadAttention(6, 2, key_features=3, value_features=2, **options)
    layer = layer.astype(np.float64)
    for k, p in enumerate(layer.parameters()):
        p.data[...] = uniform(*p.shape, dtype=np.float64, seed=k)
    return layer


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_masks(name, causal):
    options, mask = MASKS[name]
    layer = attention()
    inputs = [md.tensor(a, requires_grad=True) for a in (QUERY, KEY, VALUE)]
    y = layer(*inputs, **options, causal=causal)
    close(y.data, multi_head(layer, QUERY, KEY, VALUE, mask, causal))
    assert md.gradcheck(
        lambda q, k, v, *rest: layer(q, k, v, **options, causal=causal),
        [*inputs, *layer.parameters()],
    )


def test_what_is_left_out_is_the_query_or_the_keys():
    layer = nn.MultiHeadAttention(6, 3)
    x, other = uniform(2, 4, 6), uniform(2, 5, 6, seed=1)
    np.testing.assert_array_equal(layer(x).data, layer(x, x, x).data)
    np.testing.assert_array_equal(layer(x, other).data, layer(x, other, other).data)


def test_a_query_without_keys_gets_the_bias():
    layer = attention()
    nothing = np.zeros((N, S), bool)
    y = layer(QUERY, KEY, VALUE, key_mask=nothing)
    close(y.data, np.broadcast_to(layer.output.bias.data, (N, L, 6)))


def test_a_causal_layer_does_not_see_the_future():
    layer, x = nn.MultiHeadAttention(8, 2), uniform(2, 6, 8)
    y = layer(x, causal=True).data
    x[:, 4:] += 1
    again = layer(x, causal=True).data
    np.testing.assert_allclose(again[:, :4], y[:, :4], rtol=1e-6)
    assert (again[:, 4:] != y[:, 4:]).any()


def test_dropout_is_of_weights_and_in_training_alone():
    layer, x = nn.MultiHeadAttention(8, 2, dropout=0.5), uniform(2, 6, 8)
    md.manual_seed(1)
    y = layer(x).data
    assert (layer(x).data != y).any()
    md.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, y)
    plain = nn.MultiHeadAttention(8, 2)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer.eval()(x).data, plain(x).data)
    gone = nn.MultiHeadAttention(8, 2, dropout=1)
    np.testing.assert_array_equal(gone(x).data, np.zeros((2, 6, 8)))


def test_what_it_starts_with():
    layer = nn.MultiHeadAttention(256, 4, key_features=64)
    for part, fans in (
        (layer.query, 512),
        (layer.key, 320),
        (layer.value, 512),
        (layer.output, 512),
    ):
        w = part.weight.data
        bound = np.sqrt(6 / fans)
        assert np.abs(w).max() <= bound
        assert abs(w.var() / (bound**2 / 3) - 1) < 0.03
        assert not part.bias.data.any()


def test_state_copies_and_parts():
    layer = nn.MultiHeadAttention(6, 2)
    x = uniform(2, 4, 6)
    y = layer(x).data
    twin = copy.deepcopy(layer)
    other = nn.MultiHeadAttention(6, 2)
    other.load_state_dict(layer.state_dict())
    for one in (twin, other):
        np.testing.assert_array_equal(one(x).data, y)
    assert "MultiHeadAttention" in nn.Sequential(layer, nn.LayerNorm(6)).summary((4, 6))
    np.testing.assert_array_equal(layer.predict(x), layer.eval()(x).data)
    assert not any(p.requires_grad for p in layer.freeze().parameters())


def test_it_learns_to_look_something_up():
    """The target is the value at the position that the query names."""
    md.manual_seed(0)
    layer, head = nn.MultiHeadAttention(16, 2, value_features=4), nn.Dense(16, 4)
    optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    rng = np.random.default_rng(0)
    places = np.eye(6, 16, dtype=np.float32)
    for _ in range(150):
        wanted = rng.integers(6, size=32)
        values = rng.normal(size=(32, 6, 4)).astype(np.float32)
        keys = np.broadcast_to(places, (32, 6, 16))
        y = head(layer(places[wanted][:, None], keys, values))
        loss = md.mse_loss(y[:, 0], values[np.arange(32), wanted])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


LAYER = nn.MultiHeadAttention(6, 2, key_features=3, value_features=2)
Q, K, V = (x.astype(np.float32) for x in (QUERY, KEY, VALUE))
test_errors = errors_of(
    [
        (lambda: LAYER(Q), TypeError, "MultiHeadAttention", "key", "NoneType"),
        (lambda: LAYER(Q, K), TypeError, "MultiHeadAttention", "value", "NoneType"),
        (lambda: LAYER(Q, V, V), ValueError, "MultiHeadAttention expected key (N, positions, 3)"),
        (lambda: LAYER(Q, K, K), ValueError, "MultiHeadAttention expected value", "(3, 5, 3)"),
        (lambda: LAYER(Q[:2], K, V), ValueError, "MultiHeadAttention", "same N", "(2, 4, 6)"),
        (lambda: LAYER(Q, K, V[:, :4]), ValueError, "MultiHeadAttention", "same S", "(3, 4, 2)"),
        (
            lambda: LAYER(Q, K, V, PAIRS.T),
            ValueError,
            "MultiHeadAttention",
            "mask",
            "(4, 5)",
            "(5, 4)",
        ),
        (
            lambda: LAYER(Q, K, V, PAIRS.astype(int)),
            TypeError,
            "MultiHeadAttention",
            "mask",
            "int64",
        ),
        (lambda: LAYER(Q, K, V, BIAS), TypeError, "MultiHeadAttention", "float64"),
        (
            lambda: LAYER(Q, K, V, key_mask=PAIRS),
            ValueError,
            "MultiHeadAttention: key_mask",
            "(3, 5)",
        ),
        (lambda: LAYER(Q, K, V, key_mask=LENGTHS * 1.0), TypeError, "key_mask", "True where a key"),
        (lambda: LAYER(Q, K, V, causal="a"), TypeError, "MultiHeadAttention", "causal"),
        (lambda: LAYER(QUERY, K, V), TypeError, "MultiHeadAttention", "query is float64"),
        (lambda: LAYER(Q, K.astype(int), V), TypeError, "MultiHeadAttention", "key", "int64"),
        (lambda: nn.MultiHeadAttention(6, 2.0), TypeError, "MultiHeadAttention", "heads", "2.0"),
        (lambda: nn.MultiHeadAttention(6, 2, bias="a"), TypeError, "MultiHeadAttention", "bias"),
    ]
)
