"""These tests check what else a trace affects: modes, lazy results, errors, threads, wrong
calls.
"""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.tracers import tracers
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.graphs import operations, same
from tests.support.kernel_calls import kernels_run
from tests.support.marks import small_batches

pytestmark = pytest.mark.usefixtures("no_tracer_is_left")


@small_batches
def test_evaluation_and_training():
    net = nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4), nn.Dropout(0.5))
    before = {name: value.copy() for name, value in net.state_dict().items()}
    state = md.random.generator().bit_generator.state
    graph = md.trace(net, uniform(3, 4))
    assert operations(graph) == ["Linear", "BatchNorm"] and net.training
    same(net.state_dict(), before)
    assert repr(md.random.generator().bit_generator.state) == repr(state)
    graph = md.trace(net, uniform(3, 4), training=True)
    assert operations(graph) == ["Linear", "BatchNorm", "Dropout"]
    assert graph.nodes[1].options["training"] and net[1].num_batches == 1


def test_no_graph_for_gradients_is_made():
    w = md.ones(2, requires_grad=True)
    kept = []
    md.trace(lambda x: kept.append(x * w), uniform(2))
    assert not kept[0].requires_grad


def test_lazy_results_stay_lazy_and_what_is_gone_is_never_computed(monkeypatch):
    calls = kernels_run(monkeypatch, "batch_norm_apply", "relu", "batch_norm_pool")
    conv, norm = nn.Conv(1, 16, 3), nn.BatchNorm(16)
    f = lambda x: md.max_pool(md.relu(norm(conv(x))), 2)  # noqa: E731
    x = uniform(2, 6, 6, 1)
    norm.eval()
    with md.no_grad():
        f(md.Tensor(x))
    alone = calls.copy()
    calls.clear()
    graph = md.trace(f, x)
    assert calls == alone and len(graph) == 4
    calls.clear()
    md.trace(lambda x: [norm(conv(x)) for _ in range(2)] and None, x)
    assert calls == []


def test_an_error_in_f_leaves_no_tracer_behind():
    net = nn.Sequential(nn.Dense(2, 2), nn.Dense(3, 3))
    with refuses(ValueError, "layer 1, Dense: Dense expected 3 features"):
        md.trace(net, uniform(1, 2))
    assert not tracers
    with pytest.raises(KeyboardInterrupt):
        md.trace(lambda x: (_ for _ in ()).throw(KeyboardInterrupt), uniform(1))
    assert len(md.trace(net[0], uniform(1, 2))) == 1


def test_a_trace_within_a_trace():
    def f(x):
        inner.append(md.trace(md.exp, uniform(2)))
        return md.tanh(x)

    inner = []
    assert operations(md.trace(f, uniform(2))) == ["Tanh"]
    assert operations(inner[0]) == ["Exp"]


def test_what_a_generator_yields_is_traced():
    def f(x):
        yield md.exp(x)
        yield md.tanh(x)

    graph = md.trace(f, uniform(2))
    assert operations(graph) == ["Exp", "Tanh"]
    assert graph.outputs == tuple(node.outputs[0] for node in graph)


def test_threads_do_not_see_each_other():
    barrier = threading.Barrier(3)
    found = {}

    def work(name, operation):
        def f(x):
            for _ in range(20):
                barrier.wait()
                x = operation(x)
            return x

        found[name] = md.trace(f, uniform(2))

    def others():
        for _ in range(20):
            barrier.wait()
            md.sqrt(md.ones(2))

    threads = [
        threading.Thread(target=work, args=("exp", lambda x: md.exp(-x))),
        threading.Thread(target=work, args=("tanh", md.tanh)),
        threading.Thread(target=others),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert operations(found["exp"]) == ["Negative", "Exp"] * 20
    assert operations(found["tanh"]) == ["Tanh"] * 20


def test_wrong_calls_are_refused():
    with refuses(TypeError, "trace: f must be a layer or a function, got int"):
        md.trace(3)
    with refuses(TypeError, "trace: training must be True or False"):
        md.trace(md.exp, uniform(2), training="yes")


def test_arrays_of_parameters_are_leaves_that_a_user_holds():
    w = md.tensor(uniform(4, 2), requires_grad=True)
    array = md.trace(lambda: w * 2).parameters["parameter"].array
    with md.no_grad():
        y = md.batch_norm(w, None, None, training=True)
    array[...] = 100
    np.testing.assert_allclose(y.data.mean(0), 0, atol=1e-6)
