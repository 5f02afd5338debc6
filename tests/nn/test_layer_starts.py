"""These tests check the initial values of layers, sizes of NumPy's types, Embedding and Dropout."""

import numpy as np

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform


def test_summary_of_layers_that_need_more_than_one_example():
    model = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3, track_stats=False))
    assert "(3,)" in model.summary(4)
    assert model.summary(4) == model.summary((4,))


def test_numpy_integers_are_sizes():
    two, three = np.int64(2), np.int32(3)
    assert nn.Dense(two, three).weight.shape == (2, 3)
    assert nn.Conv(two, two, three, groups=two)(uniform(1, 5, 5, 2)).shape == (1, 3, 3, 2)
    assert md.conv(uniform(1, 5, 5, 2), uniform(3, 3, 1, 2), groups=two).shape == (1, 3, 3, 2)


def test_embedding():
    layer = nn.Embedding(6, 3)
    assert repr(layer) == "Embedding(6, 3)"
    assert layer.weight.shape == (6, 3)
    ids = np.array([[1, 5, 1], [0, 2, 2]])
    y = layer(ids)
    np.testing.assert_array_equal(y.data, layer.weight.data[ids])
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [1, 2, 2, 0, 0, 1])
    exact = layer.astype(np.float64)(ids)
    assert exact.dtype == np.float64
    large = nn.Embedding(200, 100).weight.data
    assert abs(large.mean()) < 0.05
    assert abs(large.std() - 1) < 0.05


STARTS = {"gamma": 1, "beta": 0, "running_mean": 0, "running_var": 1}


def test_weights_start_he_normal_and_biases_at_zero():
    for layer, fan_in in (
        (nn.Dense(300, 400), 300),
        (nn.Conv(64, 96, 3), 576),
        (nn.Conv(64, 256, 5, groups=2), 800),
        (nn.Conv1d(64, 400, 5, groups=2), 160),
    ):
        w = layer.weight.data
        assert abs(w.mean()) < 4 * np.sqrt(2 / fan_in / w.size)
        np.testing.assert_allclose(w.var(), 2 / fan_in, rtol=0.03)
        # Normal and not uniform, which would be bounded.
        assert np.abs(w).max() > 3.5 * np.sqrt(2 / fan_in)
        assert not layer.bias.data.any()
    norm = nn.BatchNorm(5)
    for name, value in STARTS.items():
        np.testing.assert_array_equal(norm.state_dict()[name], np.full(5, value))
    assert norm.num_batches == 0


def test_dropout_drops_scales_and_gives_the_same_mask_to_the_gradient():
    md.manual_seed(1)
    layer = nn.Dropout(0.25)
    x = md.tensor(uniform(400, 250, low=1, high=2), requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
    close(y.data, x.data / 0.75 * kept)
    y.sum().backward()
    close(x.grad, kept / 0.75)
    assert not np.array_equal(layer(x).data, y.data)
    md.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, y.data)
    np.testing.assert_array_equal(layer.eval()(x).data, x.data)
    assert not nn.Dropout(1.0)(x).data.any()


def test_sizes_and_rates_may_be_numpys():
    """Small integers of NumPy would overflow in products of sizes."""
    small, rate = np.uint8(100), np.float32(0.5)
    lstm = nn.LSTM(small, small, dropout=rate, num_layers=np.int8(2))
    assert lstm.cells[0].weight_x.shape == (100, 400)
    assert lstm(md.zeros(2, 3, 100))[0].shape == (2, 3, 100)
    for layer in (
        nn.Dense(small, small),
        nn.Conv(small, small, np.int8(1), groups=small),
        nn.Conv1d(small, small, np.int8(1), padding=(np.int8(1), 0)),
        nn.AvgPool(np.int8(2), padding=np.int8(1), ceil_mode=np.True_),
        nn.Embedding(small, small),
        nn.BatchNorm(small, ghost_batch=small),
        nn.LayerNorm(small),
        nn.LayerNorm((small, np.int64(3))),
        nn.GroupNorm(np.uint8(4), small),
        nn.TLU(small),
        nn.MultiHeadAttention(small, np.int8(4)),
        nn.Upsample(scale_factor=small),
        nn.StepNorm(small, small),
        nn.Dropout(rate),
    ):
        values = [v for v in vars(layer).values() if not isinstance(v, np.ndarray)]
        assert not any(isinstance(v, np.generic) for v in values)
