"""These tests use absurd sizes in the public API: there is a MemoryError or a ValueError before
anything is allocated or computed, and a call with nothing to do ends at once. They run in processes
of their own, see tests.support.isolated.
"""

import pytest

from tests.support.isolated import table

MEMORY, VALUE, EITHER = "MemoryError", "ValueError", "Errors"
ONE = "md.ones((1, 1, 1, 1))"
THREE, GROUPED = "md.ones((3, 3, 1, 1))", "md.ones((3, 3, 1, 16)), stride=BIG, groups=16"
ROWS, WIDE = "t(2**23, 0, 2)", "2**20, 2**20, 0"

# These run on both backends, as NumPy's twins must end as well.
BOTH = {
    # products
    "md.sum(t(2**46, 0), 1)": MEMORY,
    "md.sum(t(2**46, 0))": "()",
    "md.sum(t(2**60, 0), 0)": "(0,)",
    "md.mean(t(2**46, 0), 1)": MEMORY,
    "md.var(t(2**46, 0), 1)": MEMORY,
    "md.logsumexp(t(2**46, 0), 1)": MEMORY,
    "t(2**23, 0) @ t(0, 2**23)": MEMORY,
    "t(2**31, 0) @ t(0, 2**30)": EITHER,
    "t(2**30, 1, 0) @ t(0, 2**30)": EITHER,
    "t(2**30, 1, 2, 0) @ t(1, 2**20, 0, 2)": EITHER,
    "t(70, 0) @ t(0, 50)": "(70, 50)",
    "md.einsum('i,j,k->ijk', md.ones(2**14), md.ones(2**14), md.ones(2**14))": MEMORY,
    "md.ones((2**22, 1)) + md.ones((1, 2**22))": MEMORY,
    "md.where(md.ones((2**22, 1)) > 0, md.ones((1, 2**22)), 0.0)": MEMORY,
    # shapes without values whose other sizes are too large for NumPy
    **{
        f"md.{name}(t(2**20, 0, 1), t(0, 2**46))": MEMORY
        for name in (
            "add",
            "subtract",
            "multiply",
            "divide",
            "power",
            "maximum",
            "minimum",
            "floor_divide",
            "remainder",
        )
    },
    "t(2**20, 0, 1) < t(0, 2**46)": MEMORY,
    "md.where(t(2**20, 0, 1) > 0, t(0, 2**46), 1.0)": MEMORY,
    "md.clip(t(2**20, 0, 1), 0.0, t(0, 2**46))": MEMORY,
    "t(2**20, 1, 0, 1) @ t(1, 0, 1, 2**46)": MEMORY,
    "md.broadcast_to(t(2**20, 0, 1), (2**20, 0, 2**46))": MEMORY,
    "md.broadcast_to(md.ones(3), (2**62, 3))": MEMORY,
    "md.broadcast_to(md.ones(3), (2**62, 4))": VALUE,
    # convolutions
    f"md.conv({ONE}, md.ones((2, 2, 1, 1)), None, 2**30, 2**30, 2**30)": EITHER,
    f"md.conv({ONE}, {ONE}, padding=2**30)": EITHER,
    f"md.conv({ONE}, {ONE}, padding=(HUGE, 1))": VALUE,
    f"md.conv({ONE}, {ONE}, stride=HUGE)": VALUE,
    f"md.conv({ONE}, {ONE}, stride=2**31)": VALUE,
    f"md.conv({ONE}, {ONE}, dilation=-1)": VALUE,
    f"md.conv({ONE}, {ONE}, groups=HUGE)": VALUE,
    f"gradient(lambda x: md.conv(x, {THREE}, stride=4096), 1, 8, 8, 1)": "(1, 8, 8, 1)",
    f"gradient(lambda x: md.conv(x, {THREE}, stride=BIG), 1, 8, 8, 1)": "(1, 8, 8, 1)",
    f"gradient(lambda x: md.conv(x, {GROUPED}), 1, 8, 8, 16)": "(1, 8, 8, 16)",
    f"md.conv_transpose({ONE}, {THREE}, dilation=2**29)": EITHER,
    "md.conv_transpose(md.ones((1, 2, 2, 1)), md.ones((1, 1, 1, 1)), stride=BIG)": EITHER,
    "md.conv_transpose(md.ones((1, 3, 3, 1)), md.ones((1, 1, 1, 1)), stride=BIG)": VALUE,
    f"md.conv_transpose({ONE}, {ONE}, stride=HUGE)": VALUE,
    # other sizes, and attention
    "md.resize(md.ones((1, 2, 2, 1)), HUGE)": EITHER,
    "md.resize(md.ones((1, 2, 1)), 2**40)": MEMORY,
    "md.resize(t(1, 2, 2, 0), (2**40, 2**10))": "(1, 1099511627776, 1024, 0)",
    "gradient(lambda x: md.resize(x, 2**40, 'linear'), 1, 2, 0)": "(1, 2, 0)",
    "gradient(lambda x: md.resize(x, 2, 'linear'), 1, 2**40, 0)": "(1, 1099511627776, 0)",
    "md.adaptive_avg_pool(md.ones((1, 2, 2, 1)), 2**40)": MEMORY,
    f"gradient(lambda x: md.adaptive_avg_pool(x, 3), 2, {WIDE})": "(2, 1048576, 1048576, 0)",
    f"md.scaled_dot_product_attention({ROWS}, {ROWS}, {ROWS})": "(8388608, 0, 2)",
    "md.scaled_dot_product_attention(t(1, 2**22, 1), t(1, 2**22, 1), t(1, 2**22, 1))": MEMORY,
    # order
    "md.topk(t(2**40, 0), 0)": EITHER,
    "md.topk(t(0, 2**50), 2**40)[0]": "(0, 1099511627776)",
    "md.topk(md.ones(3), HUGE)": VALUE,
    "md.sort(t(2**50, 0))": EITHER,
    "md.cumsum(t(0, 2**50), 0)": "(0, 1125899906842624)",
    # pools
    "md.max_pool(t(1024, 2**20, 2**20, 0), 1)": "(1024, 1048576, 1048576, 0)",
    "gradient(lambda x: md.max_pool(x, 2), 4, 2**20, 2**20, 0)": "(4, 1048576, 1048576, 0)",
    "gradient(lambda x: md.avg_pool(x, 2), 4, 2**20, 2**20, 0)": "(4, 1048576, 1048576, 0)",
    "md.max_pool(md.ones((1, 4, 4, 1)), HUGE)": VALUE,
    "md.max_pool(md.ones((1, 4, 4, 1)), BIG, 1, 2**30 - 1)": EITHER,
    "md.avg_pool(md.ones((1, 4, 4, 1)), 2, (HUGE, 1))": VALUE,
    "gradient(lambda x: md.avg_pool(x, 2**10, 1, 2**9), 1, 4, 4, 1)": "(1, 4, 4, 1)",
    "md.global_avg_pool(t(2**30, 1, 2**30, 0))": "(1073741824, 0)",
}

NATIVE = {
    f"md.conv({ONE}, md.ones((3, 3, 1, 1)), padding=BIG, dilation=BIG).item()": "1.0",
    "md.softmax(t(2**60, 0))": "(1152921504606846976, 0)",
    "gradient(lambda w: md.embedding(np.zeros(0, int), w), 0, 2**59)": "(0, 576460752303423488)",
    # shapes
    "md.zeros(HUGE)": MEMORY,
    "md.zeros((HUGE, 0))": MEMORY,
    "md.zeros(-1)": VALUE,
    "md.zeros((2**60, 0))": "(1152921504606846976, 0)",
    "md.zeros(np.array([2, 3]))": "(2, 3)",
    "md.ones(2**40, 2**40)": MEMORY,
    "md.full(2**40, 1.0)": MEMORY,
    "md.eye(2**40)": MEMORY,
    "md.eye(HUGE)": MEMORY,
    "md.rand(HUGE)": MEMORY,
    "md.randn(2**40, 2**40)": MEMORY,
    "md.arange(2**62)": EITHER,
    "md.arange(HUGE)": EITHER,
    "md.arange(0, 1, 1e-300)": EITHER,
    "md.one_hot([1], 2**40)": MEMORY,
    "md.one_hot([1], HUGE)": VALUE,
    "md.reshape(md.ones(4), HUGE)": VALUE,
    "md.reshape(md.zeros(0), HUGE, 0)": VALUE,
    "md.broadcast_to(md.ones(1), 2**40)": MEMORY,
    "md.broadcast_to(md.ones(1), HUGE)": MEMORY,
    "md.pad(md.ones(3), HUGE)": MEMORY,
    "md.pad(md.ones(3), 2**63 - 1)": MEMORY,
    "md.pad(md.ones(3), 2**40, mode='reflect')": MEMORY,
    "md.pad(md.ones(3), -1)": VALUE,
    "md.split(md.zeros(0), 2**31)": VALUE,
    "md.split(md.zeros(0), HUGE)": VALUE,
    "md.split(md.zeros(0), 3)": "(0,), (0,), (0,)",
    "md.expand_dims(md.ones(1), HUGE)": VALUE,
    # layers
    "nn.Dense(2**40, 2**40)": MEMORY,
    "nn.Dense(HUGE, 1)": VALUE,
    "nn.Conv(2**30, 2**30, 3)": MEMORY,
    "nn.Conv(1, 1, 2**30)": MEMORY,
    "nn.Conv(1, 1, 1, stride=HUGE)": VALUE,
    "nn.ConvTranspose(1, 2**40, 3)": MEMORY,
    "nn.MaxPool(HUGE)": VALUE,
    "nn.Embedding(2**40, 2**40)": MEMORY,
    "nn.Embedding(HUGE, 1)": VALUE,
    "nn.BatchNorm(2**45)": MEMORY,
    "nn.LayerNorm(HUGE)": VALUE,
    "nn.LayerNorm((2**40, 2**40))": MEMORY,
    "nn.AdaptiveAvgPool(HUGE)": VALUE,
    "nn.Upsample(scale_factor=HUGE)": VALUE,
    "nn.Upsample(scale_factor=2**30)(md.ones((1, 2**10, 2**10, 1)))": MEMORY,
    "nn.MultiHeadAttention(2**40, 2)": MEMORY,
    "nn.GroupNorm(2**40, 2**40)": MEMORY,
    "nn.StepNorm(2**20, 2**30)": MEMORY,
    "nn.LSTM(1, 1, num_layers=2**31)": VALUE,
    "nn.LSTM(1, 1, num_layers=HUGE)": VALUE,
    "nn.LSTM(2**40, 2**40)": MEMORY,
    "nn.GRU(1, HUGE)": VALUE,
    "nn.RNN(2, 2, norm='batch', max_steps=2**40)": MEMORY,
    "nn.LSTM(1, 1)(t(0, 2**16, 1))[0]": "(0, 65536, 1)",
    "nn.init.orthogonal((2**20, 2**22))": MEMORY,
    "nn.init.constant((HUGE,))": MEMORY,
    "nn.Sequential(nn.Dense(3, 4)).summary((2**40, 3))": MEMORY,
    "nn.Dense(3, 4).predict(z(2, 3), batch_size=HUGE)": VALUE,
    "md.set_num_threads(HUGE)": VALUE,
}

NUMPY = {f"md.conv({ONE}, md.ones((3, 3, 1, 1)), padding=BIG, dilation=BIG)": EITHER}


def cases(*expected):
    return {call: (call, answer) for rows in expected for call, answer in rows.items()}


check_native = table(cases(BOTH, NATIVE))
check_numpy = table(cases(BOTH, NUMPY), "numpy")


@pytest.mark.parametrize("call", [*BOTH, *NATIVE])
def test_native(call):
    check_native(call)


@pytest.mark.parametrize("call", [*BOTH, *NUMPY])
def test_numpy(call):
    check_numpy(call)
