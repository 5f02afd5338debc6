"""These tests check that modes belong to the thread: one model serves several threads, each of them
in its own mode.
"""

import copy
import pickle
import threading

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.threads import in_threads

WAIT = 20  # in seconds, for a test that would hang


class Meeting(nn.Layer):
    """Stops each named thread in its forward until the others have got there."""

    def __init__(self, *names):
        super().__init__()
        self.names, self.barrier = names, threading.Barrier(len(names))

    def forward(self, x):
        if threading.current_thread().name in self.names:
            self.barrier.wait(WAIT)
        return x


class Hook(nn.Layer):
    """Calls a function in its forward."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        self.f(self)
        return x


def net(*middle):
    md.manual_seed(0)
    model = nn.Sequential(nn.Dense(4, 8), *middle, nn.BatchNorm(8), nn.Dropout(0.5))
    for seed in range(3):
        model(uniform(16, 4, seed=seed))
    return model


def together(**jobs):
    """Return the result of each job, run in a thread of the job's name."""
    results = {}

    def run(name, job):
        try:
            results[name] = job()
        except BaseException as error:
            results[name] = error

    threads = [threading.Thread(target=run, args=item, name=item[0]) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    return results


def own_modes(model):
    return [layer.__dict__.get("training", True) for _, layer in model.named_layers()]


recalibrates = pytest.mark.filterwarnings("ignore:recalibrate")


# One thread evaluates while another trains, each inside the other's forward.

EVALUATIONS = {
    "predict": lambda model: model.predict(uniform(32, 4), batch_size=32),
    "summary": lambda model: model.summary((4,)),
    "example": lambda model: model.summary(example=uniform(5, 4)),
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_evaluation_beside_training(evaluate):
    alone = net(nn.Identity())
    expected = evaluate(alone)
    model = net(Meeting("training", "evaluating"))
    found = together(
        training=lambda: model(uniform(16, 4, seed=9)), evaluating=lambda: evaluate(model)
    )
    trained = found["training"]
    assert (
        trained.requires_grad and (trained.data == 0).any()
    )  # dropout was on, and there is a graph
    if isinstance(expected, str):
        assert found["evaluating"].replace("Meeting ", "Identity") == expected
    else:  # the other thread may have updated the statistics, but nothing was dropped
        assert (found["evaluating"] != 0).all()
    alone(uniform(16, 4, seed=9))
    for name, value in model.state_dict().items():  # one batch has updated them, and no other
        np.testing.assert_array_equal(value, alone.state_dict()[name])
    assert own_modes(model) == [True] * 5


def test_several_predictions_and_one_that_fails():
    names = ["a", "b", "c"]
    model = net(
        Meeting(*names, "fails"),
        Hook(lambda layer: threading.current_thread().name == "fails" and 1 / 0),
    )
    x, before = uniform(32, 4), model.state_dict()
    expected = model.predict(x)
    found = together(
        **{name: lambda: model.predict(x) for name in names}, fails=lambda: model.predict(x)
    )
    assert isinstance(found["fails"], ZeroDivisionError)
    for name in names:
        np.testing.assert_array_equal(found[name], expected)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert model.training and own_modes(model) == [True] * 6


@recalibrates
def test_recalibrate_beside_predict_and_training():
    batches = [uniform(16, 4, seed=seed) for seed in (20, 21)]
    twin = net(nn.Identity())
    expected = twin.predict(uniform(32, 4))
    nn.recalibrate(twin, batches)
    meeting = Meeting("recalibrating", "predicting")
    model = net(meeting)
    wait = threading.Barrier(2)

    def predict():
        result = model.predict(uniform(32, 4))  # during the first batch of the other thread
        wait.wait(WAIT)
        return result

    def loader():
        yield batches[0]
        wait.wait(WAIT)
        meeting.names = ()
        yield batches[1]

    found = together(recalibrating=lambda: nn.recalibrate(model, loader()), predicting=predict)
    np.testing.assert_array_equal(found["predicting"], expected)
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value)
    assert found["recalibrating"].gaps[0].values == 32


def test_batch_statistics_of_one_thread():
    model = net(nn.Identity()).eval()
    x = uniform(32, 4)
    alone, inside, left = model.predict(x), threading.Event(), threading.Event()

    def batch():
        with nn.batch_statistics(model):
            inside.set()
            assert left.wait(WAIT)
            return model(x).data

    def predict():
        assert inside.wait(WAIT)
        result = model.predict(x)
        left.set()
        return result

    found = together(batch=batch, predicting=predict)
    np.testing.assert_array_equal(found["predicting"], alone)
    close(1 + found["batch"].mean(0), np.ones(8))
    np.testing.assert_array_equal(model.predict(x), alone)


def test_many_threads_that_are_switched_often():
    """After threads have trained and predicted, the statistics are those of the training alone."""

    def steps(model):
        for seed in range(30):
            model(uniform(16, 4, seed=seed))

    alone, model = net(nn.Identity()), net(nn.Identity())
    steps(alone)

    def predict():
        for _ in range(20):
            model.predict(uniform(8, 4))

    def summary():
        for _ in range(10):
            model.summary((4,))

    works = [lambda: steps(model), predict, predict, predict, summary]
    assert not in_threads(len(works), lambda k: works[k]())
    for name, value in alone.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value)
    assert own_modes(model) == [True] * 5


# One thread


def test_modes_inside_predict_and_after_it():
    seen = []
    other = nn.BatchNorm(4)

    def look(layer):
        seen.append(
            (layer.training, other.training, layer.anew().training, copy.deepcopy(layer).training)
        )

    layer = Hook(look)
    layer.anew = nn.Tanh
    layer.predict(uniform(8, 4))
    assert seen == [(False,) * 4]
    assert layer.training and other.training


def test_modes_that_a_forward_sets_last_as_long_as_predict():
    class Sampling(nn.Layer):
        def __init__(self):
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            was = self.dropout.training
            y = self.dropout.train()(x)
            self.dropout.train(was)
            return y

    model = Sampling()
    assert (model.predict(np.ones((50, 4), np.float32)) == 0).any()
    assert model.training and model.dropout.training
    model.eval().predict(np.ones((5, 4), np.float32))
    assert not model.dropout.training


def test_predict_inside_a_hook_of_predict():
    model = net(nn.Identity())
    x = uniform(8, 4)
    expected, inner = model.predict(x), []

    def again(layer, inputs, output):
        handle.remove()
        inner.append(model.predict(x))
        assert not model.training and not output.requires_grad

    handle = model[1].register_forward_hook(again)
    np.testing.assert_array_equal(model.predict(x), expected)
    np.testing.assert_array_equal(inner[0], expected)
    assert model.training


@recalibrates
def test_what_makes_batches_runs_in_its_own_mode():
    """A generator that yields batches may train a model in between."""
    model, other, seen = net(nn.Identity()), nn.Dense(4, 2), []

    def batches():
        for seed in range(3):
            seen.append((model.training, other(uniform(2, 4)).requires_grad))
            yield uniform(16, 4, seed=seed)

    model.predict(batches())
    nn.recalibrate(model, batches())
    assert seen == [(True, True)] * 6


def test_a_layer_keeps_the_mode_that_it_is_given_by_hand():
    class Bare(nn.Layer):
        def __init__(self):
            pass  # not the one of the base class

    for layer in (Bare(), nn.Dropout()):
        assert layer.training is True
        for mode in (False, True, 0, np.True_):
            layer.training = mode
            assert layer.training is bool(mode)
            for twin in (copy.copy(layer), copy.deepcopy(layer)):
                assert twin.training is bool(mode)
    layer = nn.Dropout().eval()
    assert not pickle.loads(pickle.dumps(layer)).training
    with refuses(TypeError, "training", "'no'"):
        layer.training = "no"
    with refuses(TypeError, "class Odd", "self.training = False"):

        class Odd(nn.Layer):
            training = False


def test_batch_statistics_in_blocks_that_end_in_any_order():
    bn, x = nn.BatchNorm(2).eval(), uniform(16, 2)
    plain = bn(x).data
    first, second = nn.batch_statistics(bn), nn.batch_statistics(bn)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    close(1 + bn(x).data.mean(0), np.ones(2))
    second.__exit__(None, None, None)
    np.testing.assert_array_equal(bn(x).data, plain)


def test_summary_adds_no_hooks_for_others():
    """A copy that is made while another thread is inside summary does not have its hooks."""
    copies = []
    model = nn.Sequential(
        nn.Dense(4, 4), Hook(lambda layer: copies.append(pickle.dumps(model[0]))), nn.Dense(4, 2)
    )
    model.summary((4,))
    assert "_hooks" not in model[0].__dict__ and len(copies) == 1


def test_training_of_another_model_beside_predict():
    model = net(Meeting("predicting", "training"))
    other = nn.Sequential(nn.Dense(4, 8), model[1], nn.BatchNorm(8), nn.Dense(8, 1))

    def train():
        loss = (other(uniform(16, 4)) ** 2).mean()
        loss.backward()
        optim.SGD(other.parameters(), lr=0.1).step()
        return [p.grad is not None for p in other.parameters()]

    found = together(predicting=lambda: model.predict(uniform(8, 4)), training=train)
    assert all(found["training"]) and found["predicting"].shape == (8, 8)
    assert (other[2].running_mean != 0).all()
