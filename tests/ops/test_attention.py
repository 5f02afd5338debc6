"""These tests check scaled_dot_product_attention: the formula, masks, queries without keys, bad
input.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_floats
from tests.support.reference.attention import attention

ours = md.scaled_dot_product_attention
ALLOWED = np.array([[True, False, True, False], [False] * 4, [True] * 4])
BIAS = np.array([[0.5, -1, 0, 2], [-np.inf, 0, -np.inf, 1], [-np.inf] * 4], np.float32)
QKV = [(3, 5), (4, 5), (4, 2)]
BATCH = [(2, 3, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2)]


def biased(f):
    """Call the function with a mask of floats in the dtype of q."""
    return lambda q, k, v, **o: f(q, k, v, BIAS.astype(q.dtype), **o)


test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"scaled_dot_product_attention {shapes} {causal}",
                md.scaled_dot_product_attention,
                attention,
                *shapes,
                causal=causal,
            )
            for shapes in (
                QKV,
                BATCH,
                [(2, 1, 3, 5), (3, 4, 5), (1, 1, 4, 2)],
                [(1, 1), (1, 1), (1, 3)],
                [(3, 5), (0, 5), (0, 2)],
                [(0, 5), (4, 5), (4, 2)],
                [(0, 3, 5), (4, 5), (4, 2)],
                [(6, 5), (2, 5), (2, 2)],
            )
            for causal in (False, True)
        ),
        *(
            case(
                f"mask {name} {len(shapes[0])} {causal}",
                md.scaled_dot_product_attention,
                attention,
                *shapes,
                mask=mask,
                causal=causal,
            )
            for name, mask in (
                ("of booleans", ALLOWED),
                ("of keys", ALLOWED[:1]),
                ("row", ALLOWED[0]),
                ("column", ALLOWED[:, 1:2]),
                ("one", np.array(True)),
                ("list", ALLOWED.tolist()),
            )
            for shapes in (QKV, BATCH)
            for causal in (False, True)
        ),
        *(
            case(
                f"mask of floats {len(shapes[0])} {causal}",
                biased(md.scaled_dot_product_attention),
                biased(attention),
                *shapes,
                causal=causal,
            )
            for shapes in (QKV, BATCH)
            for causal in (False, True)
        ),
        case("mask that learns", md.scaled_dot_product_attention, attention, *BATCH, (3, 1, 4)),
        case(
            "large attention",
            lambda q, k, v: md.scaled_dot_product_attention(q, k, v, causal=True),
            lambda q, k, v: attention(q, k, v, causal=True),
            *QKV,
            large=[(4, 60, 33), (4, 70, 33), (4, 70, 20)],
            tolerance=4,
        ),
    ]
)

Q, K, V = md.ones((3, 5)), md.ones((4, 5)), md.ones((4, 2))
test_errors = errors_of(
    [
        (
            lambda f=ours: f(md.ones(5), K, V),
            ValueError,
            "scaled_dot_product_attention",
            "q",
            "(5,)",
        ),
        (lambda: ours(Q, K, md.ones(4)), ValueError, "scaled_dot_product_attention", "v", "(4,)"),
        (lambda: ours(Q, md.ones((4, 6)), V), ValueError, "q and k", "(3, 5)", "(4, 6)"),
        (lambda: ours(md.ones((3, 0)), md.ones((4, 0)), V), ValueError, "at least one", "(3, 0)"),
        (lambda: ours(Q, K, md.ones((3, 2))), ValueError, "k and v", "(4, 5)", "(3, 2)"),
        (lambda: ours(md.ones((2, 3, 5)), md.ones((3, 4, 5)), V), ValueError, "do not broadcast"),
        (lambda: ours(Q, K, V, np.ones((3, 3), bool)), ValueError, "mask", "(3, 4)", "(3, 3)"),
        (lambda: ours(Q, K, V, np.ones((2, 3, 4), bool)), ValueError, "mask", "(2, 3, 4)"),
        (lambda: ours(Q, K, V, np.ones((3, 4), int)), TypeError, "mask", "booleans", "int64"),
        (lambda: ours(Q, K, V, np.ones((3, 4))), TypeError, "q float32", "mask float64"),
        (lambda: ours(Q, np.ones((4, 5)), V), TypeError, "q float32", "k float64"),
        (lambda: ours(md.arange(15).reshape(3, 5), K, V), TypeError, "q must be float32", "int64"),
        (lambda: ours(Q, K, V, "causal"), TypeError, "mask", "str"),
        (lambda: ours(Q, K, V, causal="yes"), TypeError, "causal", "'yes'"),
    ]
)


@both_floats
def test_what_is_masked_out_has_no_part(dtype):
    """It affects neither values nor gradients, whether it is finite or not."""
    q, k, v = (uniform(*s, dtype=dtype, seed=i) for i, s in enumerate(QKV))
    mask = np.array([[True, False, True, True]] * 3)
    chosen = [0, 2, 3]
    few = [md.tensor(a, requires_grad=True) for a in (q, k[chosen], v[chosen])]
    expected = ours(*few)
    dy = uniform(3, 2, dtype=dtype, seed=9)
    expected.backward(dy)
    k[1], v[1] = 1e4, -1e4
    all_ = [md.tensor(a, requires_grad=True) for a in (q, k, v)]
    y = ours(*all_, mask)
    y.backward(dy)
    close(y.data, expected.data)
    close(all_[0].grad, few[0].grad)
    for mine, theirs in zip(all_[1:], few[1:], strict=True):
        close(mine.grad[chosen], theirs.grad)
        assert not mine.grad[1].any()


def test_a_query_without_keys_is_zero_and_moves_nothing():
    leaves = [md.tensor(uniform(*s, seed=i), requires_grad=True) for i, s in enumerate(QKV)]
    for mask in (ALLOWED, np.where(ALLOWED, np.float32(0), np.float32(-np.inf))):
        y = ours(*leaves, mask)
        assert not y.data[1].any()
        start = np.zeros((3, 2), np.float32)
        start[1] = 1
        for g in md.grad(y, leaves, start):
            assert not g.any()


def test_scores_beyond_exp_are_no_nan():
    q = md.tensor(np.float32([[1e3, 0]]), requires_grad=True)
    y = ours(q, np.float32([[1e3, 0], [-1e3, 0]]), np.float32([[1], [2]]))
    assert y.item() == 1
    y.sum().backward()
    assert np.isfinite(q.grad).all()


@pytest.mark.parametrize("causal", [False, True])
def test_the_mask_is_copied_at_the_call(causal):
    mask = ALLOWED.copy()
    leaves = [md.tensor(uniform(*s, seed=i), requires_grad=True) for i, s in enumerate(QKV)]
    y = ours(*leaves, mask, causal)
    grads = md.grad(y, leaves, np.ones((3, 2), np.float32), retain_graph=True)
    mask[...] = ~mask
    for got, expected in zip(md.grad(y, leaves, np.ones((3, 2), np.float32)), grads, strict=True):
        np.testing.assert_array_equal(got, expected)
