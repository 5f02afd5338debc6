"""These tests compare the measures of the lab with their formulas."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import measures, problems
from minidl.lab.look import blocks_of, input_units, look
from minidl.train.watch import units_of


def quadratic(seed=0, size=5):
    """Return (parameter, matrix, loss) for the loss w' A w / 2, whose gradient is A w."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size))
    matrix = root @ root.T
    w = nn.Parameter(rng.standard_normal((size, 1)))
    return w, matrix, lambda: (w * (md.tensor(matrix) @ w)).sum() / 2


def test_units_and_their_drift():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 4, 4, 3)) * [1, 2, 3] + [0, 5, -1]
    units = units_of(x)
    np.testing.assert_allclose(units.mean, x.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(units.std, x.std(axis=(0, 1, 2)))
    moved = units_of(x * 2 + 1)
    mean, std = measures.drift(units, moved)
    scale = math.sqrt(np.mean(units.std**2))
    assert mean == pytest.approx(math.sqrt(np.mean((units.mean + 1) ** 2)) / scale)
    assert std == pytest.approx(1)
    assert measures.drift(units, units) == (0, 0)


@pytest.mark.parametrize(
    "before, now", [(np.ones((4, 2)), np.ones((4, 2))), (np.eye(4, 2), np.eye(4, 3))]
)
def test_a_drift_that_cannot_be_measured_is_nan(before, now):
    assert all(map(math.isnan, measures.drift(units_of(before), units_of(now))))


@pytest.mark.parametrize(
    "kind, function, bound",
    [("Sigmoid", lambda x: 1 / (1 + np.exp(-x)), 3.637), ("Tanh", np.tanh, 1.818)],
)
def test_saturated_is_where_the_slope_is_under_a_tenth(kind, function, bound):
    inside, outside = bound - 0.01, bound + 0.01
    assert measures.saturated(kind, function(np.array([-inside, 0, inside]))) == 0
    assert measures.saturated(kind, function(np.array([-outside, outside, 1, 2 * outside]))) == 0.75


def test_a_point_and_places_nearby():
    w, matrix, loss = quadratic()
    before = w.data.copy()
    found = measures.point(loss, [w])
    np.testing.assert_allclose(found.gradient[w], matrix @ before)
    assert w.grad is None
    with measures.with_values({w: 2 * before}):
        assert measures.point(loss, []).loss == pytest.approx(4 * found.loss)
    with pytest.raises(KeyError), measures.with_values({w: 2 * before}):
        raise KeyError
    np.testing.assert_array_equal(w.data, before)


def test_the_landscape_of_a_quadratic():
    w, matrix, loss = quadratic()
    start = measures.point(loss, [w])
    step = measures.descent(start.gradient, 0.1)
    np.testing.assert_allclose(step[w], -0.1 * matrix @ w.data)
    before = measures.values_of([w])
    found = measures.landscape(loss, before, step, start)
    moved = np.linalg.norm(matrix @ step[w])
    np.testing.assert_allclose(found.distances, [0.5 * moved, moved, 2 * moved, 4 * moved])
    for factor, value in zip(found.factors, found.losses, strict=True):
        at = before[w] + factor * step[w]
        assert value == pytest.approx(float((at * (matrix @ at)).sum() / 2))
    assert found.length == pytest.approx(np.linalg.norm(step[w]))
    assert found.smoothness == pytest.approx(moved / found.length)
    assert found.smoothness <= np.linalg.eigvalsh(matrix)[-1]
    assert found.loss_range == max(found.losses) - min(found.losses)
    assert found.distance_range == pytest.approx(3.5 * moved)
    known = measures.landscape(
        None, before, step, start, (2.0,), {2.0: measures.Point(1.0, start.gradient)}
    )
    assert (known.losses, known.distances) == ((1.0,), (0.0,))


def test_steps_of_a_length():
    w, _, loss = quadratic()
    step = measures.of_length(measures.point(loss, [w]).gradient, 3.0)
    assert measures.length_of(step) == pytest.approx(3)
    assert not measures.of_length({w: np.zeros((5, 1))}, 3.0)[w].any()


def test_the_shift_of_gradients_of_a_linear_network():
    """For y = x A B and the loss sum((y - t)^2) / 2 the gradient of B is (x A)' (x A B - t)."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
    first, second = (nn.Parameter(rng.standard_normal(shape)) for shape in ((4, 3), (3, 2)))

    def loss():
        y = (md.tensor(x) @ first) @ second - md.tensor(t)
        return (y * y).sum() / 2

    def gradient(a):
        return (x @ a).T @ (x @ a @ second.data - t)

    blocks = [measures.Block("a", [first], [first]), measures.Block("b", [second], [second])]
    before = measures.values_of([first, second])
    start = measures.point(loss, [first, second])
    updated = measures.moved(before, measures.descent(start.gradient, 0.01))
    found = measures.gradient_shift(loss, blocks, before, updated, start)
    old, new = gradient(before[first]), gradient(updated[first])
    assert list(found) == ["b"]
    assert found["b"].norm == pytest.approx(np.linalg.norm(new - old))
    assert found["b"].relative == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old))
    assert found["b"].cosine == pytest.approx(
        float((old * new).sum() / np.linalg.norm(old) / np.linalg.norm(new))
    )
    np.testing.assert_array_equal(first.data, before[first])


def test_blocks_begin_with_weights():
    model = problems.mlp("batch", (6, 5, 4, 3))
    seen = look(model, lambda: model(np.ones((8, 6), np.float32)))[0]
    blocks = blocks_of(model, seen.rows)
    assert [block.name for block in blocks] == ["dense1", "dense2", "dense3"]
    assert [p for block in blocks for p in block.parameters] == model.parameters()
    assert blocks[0].weights == [model.dense1.weight]
    assert blocks[0].parameters == [model.dense1.weight, model.norm1.gamma, model.norm1.beta]
    model.norm1.freeze()
    assert blocks_of(model, seen.rows)[0].parameters == [model.dense1.weight]


def test_a_look_sees_each_layer():
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Dense(6, 6) for _ in range(3))
            self.norm = nn.LayerNorm(6)
            self.scale, self.shift = np.ones(6, np.float32), np.zeros(6, np.float32)

        def forward(self, x):
            x = md.tanh(self.norm(self.a(x)))
            x = md.layer_norm(self.b(x), md.tensor(self.scale), md.tensor(self.shift))
            return self.norm(md.relu(self.c(x)))

    model, x = Net(), np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    seen, result = look(model, lambda: model(x))
    assert result.shape == (8, 6)
    assert seen.normalized == {"a", "b"}
    assert list(seen.inputs) == ["a", "b", "c"]
    np.testing.assert_allclose(seen.inputs["a"].mean, x.mean(axis=0), atol=1e-7)
    assert "saturated" in seen.rows["tanh"] and "dead" in seen.rows["relu"]


class OwnScale(nn.Normalization):
    """A user's normalization that is composed from elementary operations."""

    def forward(self, x):
        return x / md.sqrt((x * x).mean(axis=-1, keepdims=True))


class LogNorm(nn.Layer):
    """A layer that has the name of a normalization, but does not normalize."""

    def forward(self, x):
        return md.log(md.abs(x) + 1)


class Around(nn.Normalization):
    """A user's normalization that wraps one of minidl's."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * 2


def frozen():
    return nn.BatchNorm(6).freeze_stats()


@pytest.mark.parametrize(
    "make, follows",
    [
        (lambda: nn.BatchNorm(6), True),
        (lambda: nn.BatchNorm(6, ghost_batch=8), True),
        (lambda: nn.BatchNorm(6, track_stats=False).eval(), True),
        (lambda: nn.RMSNorm(6), True),
        (lambda: nn.GroupNorm(2, 6), True),
        (OwnScale, True),
        (lambda: Around(nn.LayerNorm(6)), True),
        (lambda: Around(nn.BatchNorm(6)), True),
        (lambda: nn.BatchNorm(6).eval(), False),
        (frozen, False),
        (lambda: Around(frozen()), False),
        (LogNorm, False),
    ],
)
def test_a_layer_is_a_normalization_by_its_type_and_its_use(make, follows):
    """A layer is one by its type, and if it uses the statistics of its own input."""
    model = nn.Sequential(nn.Dense(6, 6), make())
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    seen = look(model, lambda: model(x))[0]
    assert seen.normalized == ({"0"} if follows else set())
    own = isinstance(model[1], nn.Normalization)
    assert ("mean_before" in seen.rows.get("1", {})) == own


def test_weights_whose_output_goes_elsewhere_too_are_not_normalized():
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Dense(6, 6, bias=False) for _ in range(4))
            self.norm = nn.LayerNorm(6)

        def forward(self, x):
            a = self.a(x)
            x = a + self.norm(a)  # a is also used outside of the normalization
            x = self.norm(self.b(self.norm(self.b(x))))  # b is called twice
            x = self.norm(md.layer_norm(x, self.c(x)[0], None))  # the output of c is used as gamma
            return self.norm(x=self.d(x=x))  # x is passed by keyword

    model, x = Net(), np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    seen = look(model, lambda: model(x))[0]
    assert seen.normalized == {"b", "d"}
    assert list(seen.inputs) == ["a", "b", "c", "d"]


def test_layers_that_return_dicts_and_tuples_are_seen():
    class Split(nn.Dense):
        def forward(self, x):
            return {"ids": md.tensor([1]), "parts": (super().forward(x), None)}

    model = nn.Sequential(Split(6, 6))
    seen, found = look(model, lambda: model(np.ones((8, 6), np.float32)))
    assert seen.rows["0"]["mean"] == pytest.approx(found["parts"][0].data.mean(), abs=1e-6)


def test_a_fixed_loss_leaves_no_trace():
    model = nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.Dense(8, 3))
    x, labels = np.random.default_rng(0).random((16, 6), dtype=np.float32), np.arange(16) % 3
    before = {name: array.copy() for name, array in model.state_dict().items()}
    md.manual_seed(0)
    loss = measures.fixed_loss(model, x, labels, seed=3)
    assert loss().item() == loss().item() != measures.fixed_loss(model, x, labels, 4)().item()
    units = input_units(model, x, seed=3)
    assert all(
        np.array_equal(units[name], again) for name, again in input_units(model, x, seed=3).items()
    )
    after = float(md.rand(1).data[0])
    md.manual_seed(0)
    assert after == float(md.rand(1).data[0])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_step_that_blows_up_is_not_smooth():
    for value in (math.nan, math.inf):
        for losses in ((1.0, 1.1, value, 1.2), (value, 1.0, 1.1, 1.2)):
            along = measures.Landscape((0.5, 1.0, 2.0, 4.0), 1.0, losses, losses, 0.1)
            assert along.loss_range == along.distance_range == along.smoothness == math.inf
            assert measures.bounds(losses) == (1.0, math.inf)
    assert measures.Landscape((1.0,), 1.0, (1.0,), (1.0,), 0.0).smoothness != math.inf
