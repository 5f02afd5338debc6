"""These tests check recurrent layers: their equations, gradients, dtypes, threads, and states that
are passed on.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.kernel_calls import kernels_run
from tests.support.marks import both_backends
from tests.support.recurrent import each, each_norm, flat, made
from tests.support.reference.recurrent import by_loops
from tests.support.threads import threads

SHAPES = [  # in, hidden, options, (N, T)
    (3, 4, {}, (5, 6)),
    (2, 3, {"num_layers": 2, "bidirectional": True}, (4, 3)),
    (3, 5, {"num_layers": 3, "bias": False}, (2, 4)),
    (1, 2, {"bidirectional": True, "bias": False}, (6, 1)),
]


@each
@each_norm
@both_backends
@pytest.mark.parametrize("shape", SHAPES, ids=[str(s[2:]) for s in SHAPES])
def test_values_by_the_equations(name, norm, shape, backend):
    features, hidden, options, (n, steps) = shape
    layer = made(name, features, hidden, norm=norm, **options)
    x = uniform(n, steps, features, dtype=np.float64)
    count = len(layer.cells)
    h, c = (
        uniform(count, n, hidden, seed=1, dtype=np.float64),
        uniform(count, n, hidden, seed=2, dtype=np.float64),
    )
    with md.use_backend(backend):
        for state in ((), (h, c)):
            given = None if not state else (h, c) if name == "LSTM" else h
            results = flat(layer(x, given))
            for got, expected in zip(results, by_loops(layer, x, *state), strict=False):
                close(got.data, expected)
            assert results[0].shape == (n, steps, hidden * (2 if layer.bidirectional else 1))
            assert [r.shape for r in results[1:]] == [(count, n, hidden)] * (1 + (name == "LSTM"))


def test_rnn_with_relu_by_the_equations():
    layer = made("RNN", 3, 4, 2, nonlinearity="relu")
    x = uniform(5, 6, 3, dtype=np.float64)
    for got, expected in zip(flat(layer(x)), by_loops(layer, x), strict=False):
        close(got.data, expected)


@each
@each_norm
@both_backends
def test_gradients(name, norm, backend):
    layer = made(name, 2, 3, 2, bidirectional=True, norm=norm)
    count = len(layer.cells)
    x = md.tensor(uniform(4, 3, 2, dtype=np.float64), requires_grad=True)
    states = [
        md.tensor(uniform(count, 4, 3, seed=k, dtype=np.float64), requires_grad=True)
        for k in range(2 if name == "LSTM" else 1)
    ]

    def f(x, *rest):
        return flat(layer(x, tuple(states) if name == "LSTM" else states[0]))

    with md.use_backend(backend):
        assert md.gradcheck(f, [x, *states, *layer.parameters()])


@each
@each_norm
def test_float32_is_close_to_float64(name, norm):
    layer = made(name, 3, 8, 2, norm=norm, dtype=np.float32)
    x = uniform(16, 5, 3)
    single = flat(layer(x))
    exact = flat(layer.astype(np.float64)(x.astype(np.float64)))
    for got, expected in zip(single, exact, strict=True):
        assert got.dtype == np.float32 and expected.dtype == np.float64
        close(got.data, expected.data, 10 if norm is None else 100)


@each
@each_norm
def test_any_number_of_threads_gives_the_same_bits(name, norm):
    layer = made(name, 20, 64, norm=norm, dtype=np.float32)
    x = uniform(65, 4, 20)
    results = []
    for count in (1, 2, 3):
        layer.zero_grad()
        with threads(count):
            y = layer(x)[0]
            y.backward(uniform(*y.shape, seed=1))
        results.append([y.data.tobytes()] + [p.grad.tobytes() for p in layer.parameters()])
    assert results[0] == results[1] == results[2]


@each
def test_a_state_carries_a_sequence_on(name):
    layer = made(name, 3, 4, 2)
    x = uniform(2, 7, 3, dtype=np.float64)
    whole = flat(layer(x))
    first, state = layer(x[:, :3])
    second = flat(layer(x[:, 3:], state))
    close(np.concatenate([first.data, second[0].data], axis=1), whole[0].data)
    for got, expected in zip(second[1:], whole[1:], strict=True):
        close(got.data, expected.data)


@each
@each_norm
def test_an_empty_batch(name, norm):
    layer = made(name, 3, 4, norm=norm).eval()
    results = flat(layer(np.zeros((0, 5, 3))))
    assert [r.shape for r in results] == [(0, 5, 4)] + [(1, 0, 4)] * (len(results) - 1)


def test_inputs_of_any_memory_order_are_read_and_not_written():
    layer, x = made("LSTM", 3, 4, dtype=np.float32), uniform(4, 5, 3)
    expected = layer(x)[0].data
    frozen = x.copy()
    frozen.flags.writeable = False
    for given in (frozen, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], md.tensor(x)):
        np.testing.assert_array_equal(layer(given)[0].data, expected)
        np.testing.assert_array_equal(np.asarray(given), x)


@each
def test_the_inputs_share_is_one_product_for_all_steps(name, monkeypatch):
    layer = made(name, 3, 4)
    calls = kernels_run(monkeypatch, "matmul")
    layer(uniform(2, 9, 3, dtype=np.float64))
    assert len(calls) == 1 + 9


def test_dropout_is_between_layers_in_training():
    layer = made("GRU", 3, 4, 2, dropout=1.0)
    x = uniform(2, 5, 3, dtype=np.float64)
    kept = made("GRU", 3, 4, 2)(x)[0].data
    above = made("GRU", 4, 4)
    above.cells = layer.cells[1:]
    # All outputs of the first layer are dropped.
    close(layer(x)[0].data, above(np.zeros((2, 5, 4)))[0].data)
    assert not np.array_equal(layer(x)[0].data, kept)
    close(layer.eval()(x)[0].data, kept)
    # Dropout affects neither the input of the first layer nor the output of the last one.
    close(made("GRU", 3, 4, dropout=1.0)(x)[0].data, made("GRU", 3, 4)(x)[0].data)
