"""Sequences of different lengths in one batch, beside each sequence alone."""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends
from tests.support.recurrent import each, flat, made
from tests.support.trainings import trainer

LENGTHS = np.array([2, 6, 1, 4, 6, 2])


@each
@both_backends
@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_each_sequence_is_as_alone(name, options, norm, backend):
    layer = made(name, 3, 4, norm=norm, **options)
    x = uniform(6, 7, 3, dtype=np.float64)  # one step more than the longest
    count = len(layer.cells)
    h, c = (uniform(count, 6, 4, seed=seed, dtype=np.float64) for seed in (1, 2))
    with md.use_backend(backend):
        for lengths in (LENGTHS, LENGTHS.tolist(), md.tensor(LENGTHS)):
            output, *state = flat(layer(x, (h, c) if name == "LSTM" else h, lengths=lengths))
            for i, length in enumerate(LENGTHS):
                given = (h[:, i : i + 1], c[:, i : i + 1])
                one = layer(x[i : i + 1, :length], given if name == "LSTM" else given[0])
                expected, *last = flat(one)
                close(output.data[i, :length], expected.data[0])
                assert not output.data[i, length:].any()
                for got, alone in zip(state, last, strict=True):
                    close(got.data[:, i], alone.data[:, 0])


@each
def test_gradients_are_those_of_each_alone(name):
    layer = made(name, 3, 4, num_layers=2, bidirectional=True)
    x = md.tensor(uniform(6, 6, 3, dtype=np.float64), requires_grad=True)
    weight = uniform(6, 6, 8, seed=3, dtype=np.float64)
    (layer(x, lengths=LENGTHS)[0] * weight).sum().backward()
    found = [x.grad.copy(), *(p.grad.copy() for p in layer.parameters())]
    x.grad = None
    layer.zero_grad()
    for i, length in enumerate(LENGTHS):
        (layer(x[i : i + 1, :length])[0] * weight[i : i + 1, :length]).sum().backward()
    for got, expected in zip(found, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
        close(got, expected)


def test_full_lengths_are_no_lengths():
    layer = made("GRU", 3, 4)
    x = uniform(2, 5, 3, dtype=np.float64)
    assert np.array_equal(layer(x, lengths=[5, 5])[0].data, layer(x)[0].data)


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([1, 2, 0], ValueError, "numbers from 1 to 5"),
        ([1, 2, 6], ValueError, "numbers from 1 to 5"),
        ([1, 2], ValueError, "3 numbers"),
        (2, ValueError, "3 numbers"),
        ([1.0, 2.0, 3.0], TypeError, "an array of ints"),
        ("abc", TypeError, "an array of ints"),
    ],
)
def test_lengths_that_do_not_fit(lengths, error, words):
    with refuses(error, "GRU: lengths must be", words):
        nn.GRU(2, 3)(md.zeros((3, 5, 2)), lengths=lengths)


def test_batch_normalization_of_steps_is_refused():
    with refuses(ValueError, "GRU: lengths and norm=", "layer"):
        nn.GRU(2, 3, norm="batch")(md.zeros((3, 5, 2)), lengths=[1, 2, 3])


class Last(nn.Layer):
    """Classifies a sequence by the state at its end."""

    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.GRU(1, 8), nn.Dense(8, 2)

    def forward(self, x, lengths):
        return self.fc(self.rnn(x, lengths=lengths)[1][-1])


def test_a_trainer_gives_lengths():
    """Values after the end do not matter: the label is the sign of the last value before it."""
    md.manual_seed(0)
    rng = np.random.default_rng(0)
    x, lengths = rng.choice([-1, 1], (64, 6, 1)).astype(np.float32), rng.integers(1, 7, 64)
    labels = (x[np.arange(64), lengths - 1, 0] > 0).astype(np.int64)
    names = ("x", "lengths", "label")
    items = [dict(zip(names, item, strict=True)) for item in zip(x, lengths, labels, strict=True)]
    loader = data.DataLoader(items, 16, shuffle=True, seed=0)
    history = trainer(Last()).fit(loader, valid=((x, lengths), labels), epochs=30)
    assert history["valid_accuracy"][-1] > 0.95
