"""These tests check the average of weights: its formula, the block that uses it, its state."""

import copy
import threading

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats, small_batches

pytestmark = [small_batches, pytest.mark.filterwarnings("ignore:recalibrate. the running")]


def network():
    md.manual_seed(0)
    return nn.Sequential(nn.Dense(4, 300), nn.BatchNorm(300), nn.ReLU(), nn.Dense(300, 3))


def train(model, ema, steps):
    """Take steps in random directions, and return the values that the parameters took."""
    taken = []
    for step in steps:
        rng = np.random.default_rng(step)
        for p in model.parameters():
            p.data[...] = p.data + rng.normal(size=p.shape)
        taken.append([p.data.astype(np.float64) for p in model.parameters()])
        ema.update()
    return taken


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
@both_floats
@both_backends
def test_the_formula(decay, dtype, backend):
    model = network().astype(dtype)
    ema = optim.EMA(model, decay)
    with md.use_backend(backend):
        taken = train(model, ema, range(12))
    weights = np.array([decay ** (11 - i) for i in range(12)])
    weights /= weights.sum()
    with ema.averaged() as same:
        assert same is model
        for k, p in enumerate(model.parameters()):
            assert p.dtype == dtype
            close(p.data, sum(w * values[k] for w, values in zip(weights, taken, strict=True)), 5)


def test_before_an_update_the_average_is_what_there_is():
    model = network()
    ema = optim.EMA(model)
    model[0].weight.data[...] = 5
    with ema.averaged():
        assert (model[0].weight.data == 5).all()
    ema.update()
    with ema.averaged():
        assert (model[0].weight.data == 5).all()


def test_parameters_and_statistics_are_put_back():
    """They are restored even after an error, and whatever was done in the block."""
    model = network()
    ema = optim.EMA(model, 0.9)
    train(model, ema, range(3))
    before = model.state_dict()
    arrays = [p.data for p in model.parameters()]
    with pytest.raises(KeyError), ema.averaged():
        nn.recalibrate(model, [uniform(16, 4)])
        optim.SGD(model.parameters(), lr=1)
        model[0].weight.data[...] = 7
        assert not np.array_equal(model[1].running_mean, before["1.running_mean"])
        raise KeyError
    after = model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))
    with ema.averaged():
        assert not np.array_equal(model[0].weight.data, before["0.weight"])


def test_an_optimizer_goes_on_with_the_parameters():
    model = network()
    ema = optim.EMA(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        with ema.averaged():
            model.predict(uniform(8, 4))
        md.cross_entropy(model(uniform(8, 4)), np.zeros(8, int)).backward()
        before = model[0].weight.data.copy()
        optimizer.step()
        ema.update()
        assert not np.array_equal(model[0].weight.data, before)


def test_backward_sees_the_block():
    model = network()
    ema = optim.EMA(model)
    train(model, ema, range(2))
    loss = model(uniform(8, 4)).sum()
    with ema.averaged():
        pass
    with pytest.raises(RuntimeError, match="has changed them since"):
        loss.backward()


def test_blocks_and_updates_inside_of_a_block():
    model = network()
    ema = optim.EMA(model)
    train(model, ema, range(2))
    before, state = model.state_dict(), copy.deepcopy(ema.state_dict())
    with ema.averaged():
        with refuses(RuntimeError, "EMA.averaged"), ema.averaged():
            pass
        with refuses(RuntimeError, "EMA.update", "averaged"):
            ema.update()
    assert all(np.array_equal(model.state_dict()[name], before[name]) for name in before)
    assert repr(ema.state_dict()) == repr(state)
    ema.update()


def test_an_interrupted_training_continues_bit_for_bit(tmp_path):
    model = network()
    ema = optim.EMA(model, 0.9)
    train(model, ema, range(3))
    md.save(tmp_path / "state", {"model": model.state_dict(), "ema": ema.state_dict()})
    train(model, ema, range(3, 6))
    again = nn.Sequential(nn.Dense(4, 300), nn.BatchNorm(300), nn.ReLU(), nn.Dense(300, 3))
    other = optim.EMA(again)
    state = md.load(tmp_path / "state")
    again.load_state_dict(state["model"])
    other.load_state_dict(state["ema"])
    train(again, other, range(3, 6))
    assert repr(other) == "EMA(6 parameters, decay=0.9, count=6)"
    for name, average in ema.averages.items():
        assert average.tobytes() == other.averages[name].tobytes(), name


def test_what_changes_with_the_model():
    model = network()
    ema = optim.EMA(model)
    ema.update()
    model.astype(np.float64)
    ema.update()
    assert all(average.dtype == np.float64 for average in ema.averages.values())
    model[3].weight = nn.Parameter(np.zeros((300, 3)))
    with refuses(RuntimeError, "EMA.averaged: the model has got other parameters"):
        ema.averaged().__enter__()


def test_constants_of_a_folded_model_have_no_average():
    assert optim.EMA(nn.fold(network().eval(), uniform(2, 4))).averages == {}


def test_the_running_statistics_of_the_averages():
    """If one does what the docstring says, they are those of the batches."""
    model = network()
    ema = optim.EMA(model, 0.5)
    train(model, ema, range(4))
    x = uniform(64, 4)
    with ema.averaged():
        nn.recalibrate(model, [x])
        mean = model[0](x).data.mean(axis=0)
        np.testing.assert_allclose(model[1].running_mean, mean, rtol=1e-4, atol=1e-5)


def test_bad_arguments_are_refused():
    with refuses(TypeError, "EMA: model must be a layer"):
        optim.EMA(network().parameters())
    for decay in (1, -0.1, np.nan):
        with refuses(ValueError, "EMA: decay", repr(decay)):
            optim.EMA(network(), decay)


@pytest.mark.parametrize(
    "entries",
    [{"decay": 1.0}, {"count": -1}, {"averages": {}}, {"averages": 3}, {"more": 1}],
    ids=str,
)
def test_a_state_that_does_not_fit_changes_nothing(entries):
    model = network()
    ema = optim.EMA(model)
    train(model, ema, range(2))
    before = repr(ema.state_dict())
    wrong = [{**ema.state_dict(), **entries}]
    shape = ema.state_dict()
    shape["averages"]["0.bias"] = np.zeros(2)
    for state in [*wrong, shape, None]:
        with refuses(nn.StateError, "load_state_dict of EMA"):
            ema.load_state_dict(state)
    assert repr(ema.state_dict()) == before


def test_two_models_in_two_threads():
    found = {}

    def work(seed):
        model = network()
        ema = optim.EMA(model, 0.9)
        train(model, ema, range(seed, seed + 5))
        found[seed] = ema.averages["0.weight"].tobytes()

    work(0)
    alone = found.pop(0)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found[0] == alone
