"""These tests write to arrays between forward and backward, which must give an error or the
gradient of the forward.
"""

import numpy as np
import pytest

import minidl as md
from minidl import changes, nn, optim
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.threads import in_threads


def leaf(*shape, seed=0, low=-1.0):
    return md.tensor(uniform(*shape, seed=seed, low=low), requires_grad=True)


def step(*params, kind=optim.SGD):
    """Take an optimizer step that changes these parameters."""
    before = [p.grad for p in params]
    for p in params:
        p.grad = np.ones(p.shape, p.dtype)
    kind(list(params), lr=0.1).step()
    for p, g in zip(params, before, strict=True):
        p.grad = g


OPTIMIZERS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.LARS]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_of_each_optimizer_is_seen(kind):
    a, b = leaf(3, 3), leaf(3, 3, seed=1)
    y = (a @ b).sum()
    y.backward(retain_graph=True)
    kept = a.grad
    step(a, b, kind=kind)
    with refuses(RuntimeError, "MatMul", "(3, 3)", f"{kind.__name__}.step()", "forward again"):
        y.backward()
    assert a.grad is kept
    assert b.grad is not None
    with refuses(RuntimeError, "MatMul"):
        md.grad(y, a)


# Which of (x, w), both (4, 3), a backward needs again: none, x, or w.
NEEDS = {
    "add": (lambda x, w: x + w, ""),
    "subtract": (lambda x, w: x - w, ""),
    "negative": (lambda x, w: -x - w, ""),
    "sum": (lambda x, w: x.sum() + w.sum(), ""),
    "relu": (lambda x, w: md.relu(x), ""),
    "exp": (lambda x, w: md.exp(x), ""),
    "transpose": (lambda x, w: x.T + w.T, ""),
    "getitem": (lambda x, w: x[[0, 0]], ""),
    "concatenate": (lambda x, w: md.concatenate([x, w]), ""),
    "softmax": (lambda x, w: md.softmax(x), ""),
    "clip": (lambda x, w: md.clip(x, -0.5, w), ""),
    "mean": (lambda x, w: md.mean(x), ""),
    "var": (lambda x, w: md.var(x), "x"),
    "where": (lambda x, w: md.where(x > 0, x, w), ""),
    "dropout": (lambda x, w: md.dropout(x), ""),
    "weight decay of a norm": (lambda x, w: md.layer_norm(x, w[0], w[1]), "x"),
    "multiply": (lambda x, w: x * w, "xw"),
    "multiply by a copy": (lambda x, w: x * w.T.T, "x"),
    "divide": (lambda x, w: x / w, "w"),
    "power": (lambda x, w: md.abs(x) ** 2, "x"),
    "log": (lambda x, w: md.log(x), "x"),
    "abs": (lambda x, w: md.abs(x), "x"),
    "maximum": (lambda x, w: md.maximum(x, w), "xw"),
    "max": (lambda x, w: md.max(x, axis=0), "x"),
    "matmul": (lambda x, w: x @ w.T, "x"),
    "matmul of a view": (lambda x, w: x @ w.reshape(3, 4), "xw"),
    "a view of a view": (lambda x, w: x.reshape(-1).reshape(3, 4) * w.reshape(3, 4), "xw"),
    "silu": (lambda x, w: md.silu(x), "x"),
    "logsumexp": (lambda x, w: md.logsumexp(x, 0), "x"),
    "embedding": (lambda x, w: md.embedding([0, 2], x), ""),
    "batch_norm": (lambda x, w: md.batch_norm(x, w[0], w[1], training=True), "x"),
    "layer_norm": (lambda x, w: md.layer_norm(x, None, None), "x"),
    "norm of two axes": (lambda x, w: md.layer_norm(x, w, w, axis=(0, 1)), "xw"),
    "sin": (lambda x, w: md.sin(x), "x"),
    "cos": (lambda x, w: md.cos(w), "w"),
    "sort": (lambda x, w: md.sort(x), ""),
    "topk": (lambda x, w: md.topk(x, 2)[0], ""),
    "cumsum": (lambda x, w: md.cumsum(x), ""),
    "resize": (lambda x, w: md.resize(x.reshape(1, 4, 3), 5, "linear"), ""),
    "adaptive_avg_pool": (lambda x, w: md.adaptive_avg_pool(x.reshape(1, 4, 3), 3), ""),
    "attention": (lambda x, w: md.scaled_dot_product_attention(x * 1, x * 1, w), "w"),
    "group_norm": (lambda x, w: md.group_norm(x, 1, None, None), "x"),
    "norm and relu": (lambda x, w: md.relu(md.batch_norm(x, None, None, training=True) + w), "x"),
    "norm in parts": (lambda x, w: md.batch_norm(x, None, None, training=True, ghost_batch=2), "x"),
    "weight_norm": (lambda x, w: md.weight_norm(x, md.ones(3)), "x"),
    "einsum": (lambda x, w: md.einsum("ij,jk->ik", x, w[:3]), ""),
    "cross_entropy": (lambda x, w: md.cross_entropy(x, [0, 1, 2, 0]), ""),
    "conv": (lambda x, w: md.conv(x.reshape(1, 4, 3, 1), w.reshape(4, 3, 1, 1)), "xw"),
    "conv_transpose": (
        lambda x, w: md.conv_transpose(x.reshape(1, 4, 3, 1), w.reshape(4, 3, 1, 1)),
        "xw",
    ),
    "tlu": (lambda x, w: md.tlu(x, w[0]), ""),
    "through a norm": (lambda x, w: md.batch_norm(x * 1, None, None, training=True) * w, "w"),
}


@pytest.mark.parametrize("changed", "xw")
@pytest.mark.parametrize("call, needs", NEEDS.values(), ids=NEEDS)
def test_an_error_where_the_old_value_is_needed_and_only_there(call, needs, changed):
    leaves = {"x": leaf(4, 3, low=0.2), "w": leaf(4, 3, seed=1, low=0.2)}
    for t in leaves.values():
        t.data  # noqa: B018  (or a Lazy would keep a copy of the old values)
    y = call(**leaves)
    start = uniform(*y.shape, seed=2)
    expected = {n: md.grad(y, t, start, retain_graph=True) for n, t in leaves.items()}
    step(leaves[changed])
    if changed in needs:
        with refuses(RuntimeError, "SGD.step() has changed them"):
            y.backward(start)
    else:
        got = {n: md.grad(y, t, start, retain_graph=True) for n, t in leaves.items()}
        for name in leaves:
            np.testing.assert_array_equal(got[name], expected[name])


@pytest.mark.parametrize("name", ["batch_norm", "norm and relu", "norm in parts"])
def test_what_a_lazy_reads_stays_as_it_was(name):
    x, w = leaf(4, 3, low=0.2), leaf(4, 3, seed=1, low=0.2)
    y = NEEDS[name][0](x, w)
    start = uniform(*y.shape, seed=2)
    expected = md.grad(y, x, start, retain_graph=True)
    step(x)
    np.testing.assert_array_equal(md.grad(y, x, start), expected)


def test_what_needs_no_gradient_is_not_kept():
    """The product with data needs the data and not the weights, and that with frozen weights needs
    the weights and not the data.
    """
    x, w = md.tensor(uniform(2, 3)), leaf(3, 3)
    y = x @ w
    step(w)
    y.sum().backward()
    images, filters = md.tensor(uniform(2, 5, 5, 2)), leaf(3, 3, 2, 4)
    y = md.conv(images, filters)
    step(filters)
    y.sum().backward()


@pytest.mark.parametrize(
    "layer",
    [lambda: nn.Dense(3, 3), lambda: nn.LayerNorm(3), lambda: nn.RMSNorm(3), lambda: nn.TLU(3)],
)
def test_frozen_parameters_count(layer):
    """They get no gradient, but what comes before them needs their values."""
    layer, x = layer().freeze(), leaf(4, 3)
    y = layer(x).sum()
    state = {name: np.ones_like(a) * 3 for name, a in layer.state_dict().items()}
    layer.load_state_dict(state)
    with refuses(RuntimeError, "load_state_dict has changed them"):
        y.backward()


@pytest.mark.parametrize("norm", ["batch", "layer", None])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_weights(cell, norm):
    net = cell(3, 4, norm=norm)
    y, _ = net(md.tensor(uniform(3, 5, 3)))
    net.load_state_dict(net.state_dict())
    with refuses(RuntimeError, "load_state_dict"):
        y.sum().backward()


class Scale(nn.Layer):
    def __init__(self, size):
        super().__init__()
        self.factor = np.ones(size, np.float32)

    def forward(self, x):
        return x * self.factor


def test_small_buffers_are_copied_at_the_call():
    layer, x, norm = Scale(3), leaf(2, 3), nn.BatchNorm(3)
    y = layer(x) / (norm.running_var + 1)
    layer.load_state_dict({"factor": np.full(3, 5, np.float32)})
    norm(md.tensor(uniform(16, 3)))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 0.5))


def test_large_buffers_are_seen():
    layer, x = Scale(20_000), leaf(2, 20_000)
    y = layer(x)
    layer.load_state_dict({"factor": np.full(20_000, 5, np.float32)})
    with refuses(RuntimeError, "Multiply", "load_state_dict"):
        y.sum().backward()


@pytest.mark.filterwarnings("ignore:recalibrate")
@pytest.mark.parametrize("how", ["load", "recalibrate", "train"])
def test_running_statistics_are_copied(how):
    bn, x = nn.BatchNorm(3), leaf(16, 3)
    bn(md.tensor(uniform(16, 3, seed=3)))
    y = bn.eval()(x).sum()
    expected = md.grad(y, x, retain_graph=True)
    if how == "load":
        bn.load_state_dict({n: a + 1 for n, a in bn.state_dict().items()})
    elif how == "recalibrate":
        nn.recalibrate(bn, [uniform(16, 3, seed=4)]).restore()
    else:
        bn.train()(x)
    np.testing.assert_array_equal(md.grad(y, x), expected)


OTHER_ARRAYS = {
    "data": lambda t: setattr(t, "data", np.zeros_like(t.data)),
    "clip": lambda t: setattr(t, "data", np.clip(t.data, 0, 1)),
    "data after a step": lambda t: (setattr(t, "data", t.data * 2), step(t)),
}


@pytest.mark.parametrize("change", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_another_array_leaves_the_old_one_as_it_was(change):
    w = leaf(3)
    y = (w * w).sum()
    expected = 2 * w.data.copy()
    change(w)
    y.backward()
    np.testing.assert_allclose(w.grad, expected)


def test_a_step_and_then_another_array():
    """The step has written to the array that the forward read, although the leaf has another array
    now.
    """
    w = leaf(3)
    y = (w * w).sum()
    step(w)
    w.data = w.data + 1
    with refuses(RuntimeError, "SGD.step()"):
        y.backward()


def test_astype_of_a_layer():
    dense, x = nn.Dense(2, 2), leaf(3, 2)
    y = dense(x).sum()
    expected = md.grad(y, x, retain_graph=True)
    dense.astype(np.float64)
    np.testing.assert_array_equal(md.grad(y, x), expected)


def test_neighbours_in_one_array_are_distinguished():
    both = uniform(6)
    a, b = (md.Tensor(part, requires_grad=True) for part in (both[:3], both[3:]))
    y, z = (a * a).sum(), (b * b).sum()
    step(b)
    y.backward()
    with refuses(RuntimeError, "Multiply"):
        z.backward()


def test_writes_to_what_a_users_function_keeps_are_seen():
    class Square(md.Function):
        def forward(self, x):
            self.kept = [{"x": x}]
            return x * x

        def backward(self, dy):
            return 2 * self.kept[0]["x"] * dy

    x = leaf(3)
    y = Square.apply(x).sum()
    step(x)
    with refuses(RuntimeError, "Square"):
        y.backward()


def test_a_pending_result_is_computed_before_a_write():
    x = leaf(4, 3)
    y = md.batch_norm(x, None, None, training=True)
    expected = md.batch_norm(md.tensor(x.data.copy()), None, None, training=True).data
    x = leaf(4, 3)
    y = md.batch_norm(x, None, None, training=True)
    step(x)
    np.testing.assert_array_equal(y.data, expected)


def test_training_is_not_disturbed():
    w = nn.Parameter(uniform(3))
    optimizer = optim.SGD([w], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()


def test_the_record_of_memory_ends_with_it():
    before = len(changes._written)
    for _ in range(5):
        step(leaf(3))
    assert len(changes._written) == before


def test_writes_of_many_threads_are_all_seen():
    """No record is lost, however the writes overlap, and the clock of writes does not go back."""
    shared = uniform(3)
    leaves = [md.Tensor(shared, requires_grad=True) for _ in range(4)]
    graphs = [(leaf * leaf).sum() for leaf in leaves]
    last = []

    def work(k):
        for _ in range(200):
            changes.writes("a test", [leaves[k]])
            last.append(changes._last)

    assert in_threads(4, work) == []
    assert len({id(leaf._written) for leaf in leaves}) == 1
    assert changes._last == max(last)
    for graph in graphs:
        with refuses(RuntimeError, "a test"):
            graph.backward()


class Foreign:
    """A tensor of another library, which shares its memory with the array that it gives."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def clear(a):
    a[...] = a[::-1].copy() if a.dtype == bool else 0


PROBABILITIES = np.full((4, 4), 0.25, np.float32) + np.eye(4, dtype=np.float32) / 500
PLACES, MASK = np.array([2, 1]), np.array([True, False, True, False])
GIVEN = {
    "index": (PLACES, lambda w, a: w[a]),
    "indices": (PLACES, lambda w, a: w[a, a]),
    "index among slices": (PLACES, lambda w, a: w[:, a]),
    "mask": (MASK, lambda w, a: w[a]),
    "a tensor's index": (PLACES, lambda w, a: w[md.Tensor(a)]),
    "condition": (MASK, lambda w, a: md.where(a, w, 0.0)),
    "a tensor's condition": (MASK, lambda w, a: md.where(md.Tensor(a), w, 0.0)),
    "ids": (PLACES, lambda w, a: md.embedding(a, w)),
    "labels": (np.array([3, 1, 2, 0]), lambda w, a: md.cross_entropy(w, a)),
    "labels of nll": (np.array([3, 1, 2, 0]), lambda w, a: md.nll_loss(w, a)),
    "distribution": (PROBABILITIES, lambda w, a: md.cross_entropy(w, a)),
    "class weights": (uniform(4), lambda w, a: md.cross_entropy(w, [0, 1, 2, 3], weight=a)),
    "class weights of nll": (uniform(4), lambda w, a: md.nll_loss(w, [0, 1, 2, 3], weight=a)),
    "weights of a distribution": (
        uniform(4),
        lambda w, a: md.cross_entropy(w, PROBABILITIES, weight=a),
    ),
    "targets": (uniform(4, 4), lambda w, a: md.mse_loss(w, a)),
    "targets of l1": (uniform(4, 4), lambda w, a: md.l1_loss(w, a)),
    "answers": (PROBABILITIES, lambda w, a: md.binary_cross_entropy_with_logits(w, a)),
    "weights of answers": (
        uniform(4),
        lambda w, a: md.binary_cross_entropy_with_logits(w, np.ones((4, 4), np.float32), weight=a),
    ),
    "pos_weight": (
        uniform(4),
        lambda w, a: md.binary_cross_entropy_with_logits(w, PROBABILITIES, pos_weight=a),
    ),
    "bounds": (uniform(4), lambda w, a: md.clip(w, a)),
    "mask of a norm": (MASK, lambda w, a: md.batch_norm(w, None, None, training=True, mask=a)),
    "places": (PLACES, lambda w, a: md.split(w, a)[0]),
    "axes": (PLACES - 1, lambda w, a: md.transpose(w, a)),
    "pad_width": (PLACES, lambda w, a: md.pad(w, a)),
    "one_hot": (PLACES, lambda w, a: md.one_hot(a, 4) @ w),
    "factor": (uniform(4, 4), lambda w, a: w * a),
    "factor of another library": (uniform(4, 4), lambda w, a: w * Foreign(a)),
    "matrix of another library": (uniform(4, 4), lambda w, a: md.matmul(w, Foreign(a))),
    "kernel of another library": (
        uniform(2, 2, 4, 4).reshape(2, 2, 1, 16),
        lambda w, a: md.conv(w.reshape(1, 4, 4, 1), Foreign(a)),
    ),
}


@pytest.mark.parametrize("array, call", GIVEN.values(), ids=GIVEN)
def test_small_arrays_are_copied_at_the_call(array, call):
    w, given = leaf(4, 4), array.copy()
    y = call(w, given)
    start = uniform(*y.shape, seed=6)
    expected = md.grad(y, w, start, retain_graph=True)
    clear(given)
    np.testing.assert_array_equal(md.grad(y, w, start), expected)
