"""These tests check the guard against NaN and infinity: what it names, and that nothing of the step
remains.
"""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.trainings import digest, loader, network, pairs, trainer


class Log(nn.Layer):
    """A layer that makes NaN of negative numbers, from some call on."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, x):
        self.left -= 1
        return md.log(x) if self.left < 0 else x


def inner(calls):
    md.manual_seed(0)
    return nn.Sequential(
        nn.Dense(6, 8),
        nn.BatchNorm(8),
        nn.Sequential(nn.ReLU(), Log(calls), nn.BatchNorm(8), nn.Dropout(0.2)),
        nn.Dense(8, 3),
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_first_layer_is_named_and_the_step_taken_back(accumulate):
    """Weights and running statistics are those of a training that ended before that batch."""
    model = inner(7)
    t = trainer(model, accumulate=accumulate)
    with pytest.raises(
        FloatingPointError,
        match=r"epoch 2, batch 3: the loss is nan; the first "
        r"layer whose output is not finite is '2\.1' "
        r"\(Log\)",
    ):
        t.fit(loader(), epochs=3)
    assert t.step == (7 if accumulate == 1 else 4)

    class Stop:
        def on_batch_end(self, trainer):
            if trainer.step == t.step:
                raise ZeroDivisionError

    expected = inner(100)
    with pytest.raises(ZeroDivisionError):
        trainer(expected, accumulate=accumulate, callbacks=[Stop()]).fit(loader(), epochs=3)
    assert digest(model.state_dict()) == digest(expected.state_dict())


def test_the_model_itself_is_named():
    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.fc = nn.Dense(6, 3)

        def forward(self, x):
            return self.fc(x) / 0

    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"the model itself \(Net\.forward\)"),
    ):
        trainer(Net()).fit(loader())


def test_the_loss_is_named():
    def loss(outputs, labels):
        return md.cross_entropy(outputs, labels) * np.inf

    with pytest.raises(
        FloatingPointError, match=r"the loss is inf.*it arises in the loss function"
    ):
        trainer(loss=loss).fit(loader())


@pytest.mark.parametrize(("part", "text"), [(0, "batch itself holds NaN"), (1, "labels of the")])
def test_data_is_named(part, text):
    arrays = [pairs().images, pairs().images[:, :3].copy()]
    arrays[part][11, 2] = np.nan
    t = trainer(loss=md.mse_loss)
    with pytest.raises(FloatingPointError, match=rf"batch 2: .*{text}"):
        t.fit(data.DataLoader(data.ArrayDataset(*arrays), 8))


class Counts(nn.Layer):
    """A layer that replaces the array of its buffer."""

    def __init__(self):
        super().__init__()
        self.calls = np.zeros(2)

    def forward(self, x):
        self.calls = self.calls + 1
        return x


def test_buffers_that_a_layer_replaces_are_taken_back():
    model = nn.Sequential(nn.Dense(6, 3), Counts(), Log(6))
    with pytest.raises(FloatingPointError):
        trainer(model, accumulate=2).fit(loader(), epochs=2)
    assert model[1].calls.tolist() == [5.0, 5.0]  # in the middle of a step of two batches


class Root(nn.Layer):
    """Has a finite output, and an infinite gradient where x is 0."""

    def forward(self, x):
        return md.sqrt(md.relu(x) * 0)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_parameter_with_such_a_gradient_is_named(clip):
    model = nn.Sequential(nn.Dense(6, 8), Root(), nn.Dense(8, 3))
    before = model.state_dict()
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError,
            match=r"gradients are not finite: those of '0\.bias', "
            r"'0\.weight' are not",
        ),
    ):
        trainer(model, clip=clip).fit(loader())
    assert digest(model.state_dict()) == digest(before)


def test_weights_that_a_step_made_infinite_are_named():
    model = network(norm=False)
    text = r"the weights of '0\.weight' .* before this batch: .*smaller learning rate"

    class Overflows:
        def on_batch_end(self, trainer):
            model[0].weight.data[0, 0] = np.inf

    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=text):
        trainer(model, callbacks=[Overflows()]).fit(loader())
