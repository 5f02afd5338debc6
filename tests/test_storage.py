"""These tests check who may write to a tensor: users to leaves, and nobody to results; and to a
leaf that a Lazy reads.
"""

import contextlib
import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.data import ArrayDataset, DataLoader
from minidl.storage import FRESH, LENT, OPEN, RESULT
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of
from tests.support.errors import read_only
from tests.support.marks import small_batches
from tests.support.tensors import VALUES, normalized


def leaf(requires_grad=False):
    return md.tensor(VALUES, requires_grad=requires_grad)


# --------------------------------------------------------------------------- results and leaves

RESULTS = {
    "elementwise": lambda x: x * 2,
    "exp": lambda x: x.exp(),
    "a normalization": normalized,
    "relu": lambda x: md.relu(normalized(x)),
    "sum": lambda x: x.sum(),
    "a scalar": lambda x: x[0, 0],
    "index": lambda x: x[1:],
    "all of it": lambda x: x[:],
    "matmul": lambda x: x @ x.T,
    "transpose": lambda x: x.T,
    "comparison": lambda x: x > 0,
    "argmax": lambda x: x.argmax(axis=1),
    "broadcast": lambda x: md.broadcast_to(x, (2, 4, 3)),
    "cast": lambda x: x.astype(np.float64),
    "part": lambda x: md.split(x, 2)[1],
    "where": lambda x: md.where(VALUES > 0, x, 0),
    "dropout": lambda x: md.dropout(x, 0.5, training=True),
    "NumPy's": lambda x: np.add(x, VALUES),
    "one_hot": lambda x: md.one_hot(x.argmax(axis=1), 3),
    # These are views of x.
    "reshape": lambda x: x.reshape(3, 4),
    "flatten": lambda x: x.flatten(),
    "squeeze": lambda x: md.squeeze(x),
    "expand_dims": lambda x: md.expand_dims(x, 0),
    "a view of a view": lambda x: x.reshape(-1).reshape(4, 3),
}
VIEWS = ("reshape", "flatten", "squeeze", "expand_dims", "a view of a view")
every_result = pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)

WAYS = {
    "data": lambda y: y.data,
    "numpy": lambda y: y.numpy(),
    "asarray": np.asarray,
    "array interface": lambda y: np.array(y, copy=None),
    "detach": lambda y: y.detach().data,
    "Tensor": lambda y: md.Tensor(y).data,
    "a view": lambda y: y.data.reshape(-1),
    "a part": lambda y: y.data[...],
    "memoryview": lambda y: np.asarray(memoryview(y.data)),
    "a reshaped tensor": lambda y: y.reshape(-1).data,
}


@every_result
@pytest.mark.parametrize("of", ("leaf", "leaf with gradient", "result", "no_grad"))
@pytest.mark.parametrize("way", WAYS)
def test_a_result_is_not_written_to(way, of, make):
    x = leaf(of == "leaf with gradient")
    if of == "result":
        x = x * 1
    with md.no_grad() if of == "no_grad" else contextlib.nullcontext():
        y = make(x)
    array = WAYS[way](y)
    before = np.array(y.data)
    assert not array.flags.writeable
    with read_only():
        array[...] = 0
    with read_only():
        array += 1
    np.testing.assert_array_equal(y.data, before)
    np.testing.assert_array_equal(x.data, VALUES)


@pytest.mark.parametrize("of", (leaf, lambda: leaf() * 1), ids=("leaf", "result"))
@pytest.mark.parametrize("name", VIEWS)
def test_memory_that_results_share_is_not_written_to(name, of):
    """It is read-only through the base array of a view, too."""
    x = of()
    y = RESULTS[name](x)
    assert np.shares_memory(x.data, y.data)
    assert x.data.flags.writeable == (of is leaf)
    base = y.data.base
    assert base is None or of is leaf or not base.flags.writeable


def test_a_view_of_a_leaf_shows_what_is_written_to_the_leaf():
    x = leaf()
    y = x.reshape(-1)
    x.data[0] = 7
    np.testing.assert_array_equal(y.data[:3], [7, 7, 7])


@pytest.mark.parametrize(
    "made",
    (
        leaf,
        lambda: md.Tensor(VALUES.copy()),
        lambda: md.zeros(4, 3),
        lambda: md.ones((4, 3)),
        lambda: md.full((4, 3), 2.0),
        lambda: md.rand(4, 3),
        lambda: md.randn(4, 3),
        lambda: md.arange(12.0),
        lambda: md.eye(3),
        lambda: md.zeros_like(leaf()),
        lambda: md.full_like(leaf() * 1, 3.0),
        lambda: nn.Parameter(VALUES.copy()),
        lambda: nn.Dense(3, 4).weight,
        lambda: md.tensor(leaf() * 1),
        lambda: md.tensor(normalized(leaf())),
        lambda: leaf().detach(),
        lambda: copy.deepcopy((leaf() * 1).detach()),
        lambda: copy.deepcopy(leaf() * 1),
        lambda: pickle.loads(pickle.dumps(leaf() * 1)),
        lambda: copy.copy(leaf()),
        lambda: pickle.loads(pickle.dumps(leaf())),
    ),
)
def test_leaves_and_copies_are_written_to(made):
    x = made()
    x.data[...] = 7
    assert (x.data == 7).all()
    with memoryview(x.data) as view:
        np.asarray(view)[...] = 8
    assert (x.numpy() == 8).all()


def test_a_shallow_copy_of_a_result_shares_memory_that_nobody_writes_to():
    y = leaf() * 1
    z = copy.copy(y)
    assert np.shares_memory(y.data, z.data)
    with read_only():
        z.data[...] = 0


def test_copies_do_not_share_memory():
    y = normalized(leaf())
    expected = y.data.copy()
    for z in (md.tensor(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        z.data[...] = 0
        np.testing.assert_array_equal(y.data, expected)


def test_another_array_may_be_assigned_to_a_result():
    y = leaf() * 2
    before = y.data
    y.data = np.zeros((4, 3), np.float32)
    assert not y.data.any()
    y.data[...] = 3  # it is the user's own
    np.testing.assert_array_equal(before, 2 * VALUES)


@small_batches
def test_what_belongs_to_the_user():
    """This includes gradients, predictions, batches and states."""
    model = nn.Sequential(nn.Dense(3, 2), nn.BatchNorm(2), nn.ReLU())
    x = leaf(True)
    y = x * 2
    y.retain_grad()
    loss = model(y).sum()
    (given,) = md.grad(loss, [y], retain_graph=True)
    loss.backward()
    pairs = ArrayDataset(uniform(4, 2, 2, 1), np.arange(4))
    batches = [array for batch in DataLoader(pairs, batch_size=2) for array in batch]
    arrays = [
        given,
        y.grad,
        x.grad,
        *(p.grad for p in model.parameters()),
        model.predict(VALUES),
        md.nn.Sequential(nn.Flatten()).predict(VALUES),
        *batches,
        *model.state_dict().values(),
    ]
    for array in arrays:
        array = array.data if isinstance(array, md.Tensor) else array
        assert array.flags.writeable
        array[...] = 0


def test_writing_to_gradients_and_predictions_changes_nothing_else():
    model = nn.Sequential(nn.Flatten())
    out = model.predict(VALUES)
    before = VALUES.copy()
    out[...] = 7
    np.testing.assert_array_equal(VALUES, before)
    a, b = leaf(True), leaf(True)
    dy = np.ones((4, 3), np.float32)
    y = a + b
    y.retain_grad()
    y.backward(dy)
    for mine, others in ((a, (b, y)), (b, (a, y)), (y, (a, b))):
        mine.grad[...] = 7
        assert (dy == 1).all()
        for t in others:
            assert (t.grad == 1).all()
        mine.grad[...] = 1


# ------------------------------------------------------------- FRESH, LENT, OPEN, and a Lazy


def pending(y):
    return y._array is None


ASKING = {
    "data": lambda x: x.data,
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "detach": lambda x: x.detach().data,
    "Tensor": lambda x: md.Tensor(x).data,
    "copy": lambda x: copy.copy(x).data,
}
LOOKING = {
    "repr": repr,
    "item": lambda x: x[0, 0].item(),
    "sum": lambda x: x.sum(),
    "tensor": md.tensor,
    "shape": lambda x: (x.shape, x.dtype, len(x)),
    "an operation": lambda x: x * 2,
    "a comparison": lambda x: bool((x > 0).data.any()),
    "iteration": list,
}


def test_a_leaf_is_fresh_until_a_lazy_or_a_user_reads_it():
    assert leaf()._access == FRESH
    assert (leaf() * 1)._access == RESULT
    assert md.Tensor(VALUES)._access == OPEN
    x = leaf()
    y = normalized(x)
    assert (x._access, pending(y)) == (LENT, True)
    x.data  # noqa: B018
    assert (x._access, pending(y)) == (OPEN, True)
    assert not pending(normalized(x))  # a user who has the array may write to it


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("role", ("input", "residual", "residual on the left", "both"))
def test_a_lent_leaf_is_copied_when_a_user_asks(role, ask):
    def program(x):
        z = leaf() if role.startswith("residual") else x
        y = normalized(z)
        return y if role == "input" else x + y if role.endswith("left") else y + x

    expected = program(leaf()).data
    x = leaf()
    y = program(x)
    assert pending(y)
    assert x._access == LENT
    before = x._array
    array = ASKING[ask](x)
    assert x._access == OPEN
    assert not np.shares_memory(array, before)
    assert array is x.data or np.shares_memory(array, x.data)
    array[...] = 0
    assert pending(y)
    np.testing.assert_array_equal(y.data, expected)
    assert x.data is x.data
    assert not x.data.any()


@pytest.mark.parametrize("look", LOOKING)
def test_looking_at_values_copies_nothing(look):
    x = leaf()
    y = normalized(x)
    before = x._array
    LOOKING[look](x)
    assert x._array is before
    assert x._access == LENT
    assert pending(y)


def test_an_open_leaf_is_read_at_the_call():
    x = leaf()
    array = x.data
    y = normalized(x)
    assert not pending(y)
    expected = normalized(leaf()).data
    array[...] = 0
    np.testing.assert_array_equal(y.data, expected)
    assert x.data is array  # it is never copied


def test_what_is_written_reaches_the_next_call():
    x = leaf()
    first = normalized(x)
    x.data[0] = 5
    second = normalized(x)
    written = VALUES.copy()
    written[0] = 5
    np.testing.assert_array_equal(first.data, normalized(leaf()).data)
    np.testing.assert_array_equal(second.data, normalized(md.tensor(written)).data)


@pytest.mark.parametrize("change", ("step", "load", "assign"))
def test_minidls_own_writes_leave_a_lazy_alone(change):
    """A parameter may be what is normalized, or what is added."""
    layer = nn.Layer()
    p = layer.p = nn.Parameter(VALUES.copy())
    y, z = normalized(p), normalized(leaf()) + p
    if change == "step":
        p.grad = np.ones_like(VALUES)
        md.optim.SGD([p], 0.5).step()
    elif change == "load":
        layer.load_state_dict({"p": np.zeros_like(VALUES)})
    else:
        p.data = np.zeros_like(VALUES)
    assert (p.data != VALUES).all()
    np.testing.assert_array_equal(y.data, normalized(leaf()).data)
    np.testing.assert_array_equal(z.data, (normalized(leaf()) + leaf()).data)


# --------------------------------------------------------------------------------- tables of cases

test_values, _, _ = checks_of(
    [
        case(
            "a result of each kind of access",
            lambda x: normalized(x) + x * 2 - x.reshape(4, 3),
            lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + x,
            (4, 3),
            tolerance=4,
        )
    ]
)
