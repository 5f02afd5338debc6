"""These tests check md.profile: what its rows have, and that they account for all of the time."""

import time

import numpy as np
import pytest

import minidl as md
from minidl import data, models, nn, optim, train
from tests.support.profiles import images, rows

pytestmark = pytest.mark.usefixtures("nothing_is_left_on")


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv(8, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm(8)

    def forward(self, x):
        return md.relu(self.bn(self.conv(x)) + x)


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.fc = nn.Dense(8, 3)

    def forward(self, x):
        return self.fc(md.global_avg_pool(self.blocks(x)))


def stepped(net, optimizer, x):
    loss = md.cross_entropy(net(x), np.zeros(len(x), int))
    net.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def profiled_step(steps=1):
    net = Net()
    optimizer, x = optim.SGD(net.parameters(), lr=0.1), images()
    with md.profile() as p:
        for _ in range(steps):
            stepped(net, optimizer, x)
    return p


@pytest.mark.parametrize("by", ["operations", "layers", "kernels"])
def test_rows_are_all_of_the_time(by):
    begin = time.perf_counter()
    p = profiled_step()
    found = getattr(p.summary, by)
    assert sum(row.seconds for row in found) == pytest.approx(p.summary.seconds, rel=1e-9)
    assert 0 < p.summary.seconds < time.perf_counter() - begin
    assert all(row.seconds >= 0 for row in found)
    assert len({(row.name, row.phase) for row in found}) == len(found)


def test_work_and_memory_are_the_same_in_each_view():
    summary = profiled_step().summary
    for amount in ("flops", "held"):
        sums = {
            sum(getattr(row, amount) for row in view)
            for view in (summary.operations, summary.layers, summary.kernels)
        }
        assert len(sums) == 1 and sums.pop() > 0, amount
    assert sum(row.held for row in summary.layers) == summary.held


def test_operations_of_one_pass_have_one_name():
    found = rows(profiled_step(steps=2))
    assert found["BatchNorm+Add+ReLU", "forward"].calls == 4
    assert found["BatchNorm+Add+ReLU", "backward"].calls == 4
    assert found["Conv", "forward"].calls == found["Conv", "backward"].calls == 4
    assert not {"BatchNorm", "Add", "ReLU"} & {name for name, _ in found}
    assert found["SGD.step", "optimizer"].calls == 2
    assert {phase for name, phase in found if name == "walk back"} == {"backward"}
    assert ("Python and other", "") in found and ("Python in layers", "forward") in found


def test_passes_are_separate_if_a_value_is_read():
    """A sum whose value is read, and a ReLU of it, are two passes."""
    bn, x = nn.BatchNorm(8), images()
    with md.profile() as p:
        total = bn(x) + x
        assert total.data.shape == x.shape
        md.relu(total).sum().backward()
    found = rows(p)
    assert found["BatchNorm+Add", "forward"].calls == found["ReLU", "forward"].calls == 1
    assert found["ReLU", "backward"].calls == found["BatchNorm+Add", "backward"].calls == 1


def test_what_a_convolution_reads_through():
    model = models.create("mobile")
    x = md.randn(2, *model.input_shape)
    with md.profile() as p:
        model(x).sum().backward()
    found = rows(p)
    assert found["BatchNorm+ReLU+Conv", "forward"].calls > 5
    assert found["BatchNorm+ReLU+Conv", "forward"].flops > 0
    # Gradients pass through the normalization after it while they are read, and through the one
    # before it.
    assert found["BatchNorm+ReLU+Conv+BatchNorm+ReLU", "backward"].calls > 5
    assert found["BatchNorm+ReLU+Conv+BatchNorm+ReLU", "backward"].flops > 0
    layers = rows(p, "layers")
    assert layers["blocks.1.pointwise", "forward"].flops > 0
    assert layers["blocks.1.pointwise", "backward"].flops > 0
    assert layers["blocks.1.bn1", "forward"].flops == 0
    assert layers["blocks.1.pointwise", "backward"].calls == 1


def test_layers_have_their_names_in_both_directions():
    found = rows(profiled_step(steps=3), "layers")
    for name in ("blocks.0.conv", "blocks.1.conv", "fc"):
        for phase in ("forward", "backward"):
            assert found[name, phase].calls == 3
            assert found[name, phase].flops > 0
    assert found["blocks.0.bn", "forward"].calls == 3  # the passes include the sum and the ReLU
    assert found["blocks.0.bn", "backward"].calls == 3
    assert found["Net", "forward"].calls == found["blocks", "forward"].calls == 3
    assert ("outside of layers", "forward") in found  # the loss
    assert found["SGD.step", "optimizer"].calls == 3


def test_names_of_several_models():
    one, other, dense = Net(), Net(), nn.Dense(3, 2)
    with md.profile() as p:
        dense(one(images()))
        other(images())
        one.fc(md.randn(2, 8))  # a part of a model that the profile knows
    names = {name for name, _ in rows(p, "layers")}
    assert {"Net", "Net_1", "Dense", "Net.fc", "Net_1.blocks.0.conv"} <= names
    assert rows(p, "layers")["Net.fc", "forward"].calls == 2


def test_a_layer_that_no_model_holds():
    made = nn.Dense(8, 2)
    with md.profile() as p:
        nn.Lambda(lambda x: made(x))(md.randn(4, 8))
    assert rows(p, "layers")["Dense", "forward"].calls == 1


def test_computes_the_same_bits():
    results = []
    for on in (False, True):
        md.manual_seed(3)
        net = models.create("resnet20")
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x = md.randn(2, 32, 32, 3)
        if on:
            with md.profile():
                stepped(net, optimizer, x)
        else:
            stepped(net, optimizer, x)
        results.append(net.state_dict())
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name], err_msg=name)


# ------------------------------------------------------------------------------ other computations


def test_backward_of_a_graph_that_is_older():
    net = Net()
    loss = net(images()).sum()
    with md.profile() as p:
        loss.backward()
    found = rows(p)
    assert found["BatchNorm+Add+ReLU", "backward"].calls == 2
    assert {phase for _, phase in found} <= {"backward", ""}


def test_a_graph_that_is_used_twice():
    x = md.tensor(np.ones((3, 3), np.float32), requires_grad=True)
    with md.profile() as p:
        y = md.exp(x).sum()
        y.backward(retain_graph=True)
        md.grad(y, x)
    found = rows(p)
    assert found["Exp", "forward"].calls == 1
    assert found["Exp", "backward"].calls == found["Sum", "backward"].calls == 2
    assert found["walk back", "backward"].calls == 2


def test_a_walk_that_fails():
    class Failing(md.Function):
        def forward(self, x):
            return x * 1

        def backward(self, dy):
            raise ZeroDivisionError

    x = md.tensor([1.0], requires_grad=True)
    with md.profile() as p:
        with pytest.raises(ZeroDivisionError):
            Failing.apply(x).sum().backward()
        md.exp(x).sum().backward()
    found = rows(p)
    assert found["Failing", "backward"].calls == found["Exp", "backward"].calls == 1
    assert sum(row.seconds for row in p.summary.operations) == pytest.approx(p.summary.seconds)


def test_gradients_inside_of_a_gradient():
    """The backward of a Function may walk back through a graph of its own."""

    class Inner(md.Function):
        def forward(self, x):
            self.x = x
            return x * x

        def backward(self, dy):
            x = md.tensor(self.x, requires_grad=True)
            return dy * md.grad(md.exp(x).sum(), x)

    x = md.tensor([1.0, 2.0], requires_grad=True)
    with md.profile() as p:
        Inner.apply(x).sum().backward()
    found = rows(p)
    assert found["Inner", "backward"].calls == 1
    # In both of its directions, during the backward walk.
    assert found["Exp", "backward"].calls == 2
    assert found["walk back", "backward"].calls == 2
    assert all(row.seconds >= 0 for row in p.summary.operations)


def test_predict_and_numpy():
    net = Net()
    x = np.random.default_rng(0).random((8, 6, 6, 8), np.float32)
    with md.profile() as p:
        net.predict(x, batch_size=4)
        with md.use_backend("numpy"):
            md.exp(md.tensor(x))
    found = rows(p)
    assert found["Conv", "forward"].calls == 4
    assert found["Exp", "forward"].calls == 1
    assert any(row.name.startswith("exp ") for row in p.summary.kernels)
    assert {phase for _, phase in found} == {"forward", ""}


def test_plans_of_a_compiled_model():
    net = Net()
    x = images().data
    compiled = md.compile(net, x)
    with md.profile() as p:
        for _ in range(3):
            compiled(x)
    for by in ("operations", "layers"):
        assert rows(p, by)["Plan.run", "forward"].calls == 3
        assert set(rows(p, by)) == {("Plan.run", "forward"), ("Python and other", "")}


def test_a_recurrent_layer():
    lstm = nn.LSTM(3, 4)
    with md.profile() as p:
        lstm(md.randn(2, 5, 3))[0].sum().backward()
    cells = {phase: row for (name, phase), row in rows(p, "layers").items() if name == "cells.0"}
    assert set(cells) == {"forward", "backward"}
    assert cells["forward"].flops == 2 * 2 * 5 * (3 + 4) * 16


def test_operations_that_numpy_computes():
    x = md.tensor(np.ones((100, 10), np.float32), requires_grad=True)
    with md.profile() as p:
        md.transpose(x).sum().backward()
        md.reshape(x, (10, 100))
    found = rows(p)
    assert found["Transpose", "forward"].bytes == 2 * 4000
    assert found["Transpose", "backward"].bytes == 2 * 4000
    assert found["Reshape", "forward"].bytes == 0  # it is a view


def test_data_of_a_loader():
    loader = data.DataLoader(np.zeros((12, 4), np.float32), batch_size=4, prefetch=0)
    batches = iter(loader)
    next(batches)
    with md.profile() as p:
        assert len(list(batches)) == 2  # this iteration is older than the profile
        assert len(list(loader)) == 3
    assert rows(p)["DataLoader", "data"].calls == 7  # including those that find the end


def test_a_training():
    net = nn.Sequential(nn.Dense(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 2))
    pairs = data.ArrayDataset(
        np.random.default_rng(0).random((64, 4), np.float32), np.arange(64) % 2
    )
    loader = data.DataLoader(pairs, batch_size=16)
    trainer = train.Trainer(net, optim.SGD(net.parameters(), lr=0.1), clip=1.0, progress=False)
    with md.profile() as p:
        trainer.fit(loader)
    found = rows(p)
    assert p.summary.steps == 4
    assert found["BatchNorm+ReLU", "backward"].calls == 4
    assert found["square_sum", "other"].calls == 8  # clipping runs it for both float types
