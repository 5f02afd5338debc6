"""These tests check that convolutions between normalizations take part in their passes: fewer
passes give the same values.

Other consumers of what is between, and writes to it, are in test_lazy_conv_uses.
"""

import copy
from collections import Counter

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.kernels import choose
from tests.support.arrays import uniform
from tests.support.conv_programs import (
    PROGRAMS,
    Network,
    agree,
    forward,
    found,
    images,
    look,
    nothing,
    separable,
    train,
)
from tests.support.kernel_calls import kernels_run
from tests.support.marks import BACKENDS

FUSED = ("pointwise_conv", "pointwise_backward", "depthwise_conv", "depthwise_backward")
STEPS = (
    "batch_stats",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_sums",
    "batch_norm_input_grad",
    "relu",
    "relu_backward",
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "depthwise_input_grad",
    "depthwise_weight_grad",
)


@pytest.fixture
def calls(monkeypatch):
    """Return the kernels that ran, of those that take part and of those that they replace."""
    return kernels_run(monkeypatch, *FUSED, *STEPS)


def taken(calls):
    """Return how often each kernel ran since the last call."""
    counts = dict(Counter(calls))
    calls.clear()
    return counts


# ------------------------------------------------------------------------------- the values


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("training", (True, False))
def test_results_are_those_of_the_steps(training, program):
    agree(
        train(PROGRAMS[program], training=training),
        train(PROGRAMS[program], training=training, after=look),
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_numpy_backend_agrees(program):
    results = []
    for backend in BACKENDS:
        with md.use_backend(backend):
            results.append(train(PROGRAMS[program]))
    agree(*results)


@pytest.mark.parametrize("program", PROGRAMS)
def test_double_precision_agrees(program):
    """Its masks would differ where a value is within rounding of zero, but there is none here."""
    single, double = train(PROGRAMS[program]), train(PROGRAMS[program], dtype=np.float64)
    agree(single, {name: array.astype(np.float32) for name, array in double.items()}, 10)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("training", (True, False))
def test_without_a_graph(training, program, calls):
    """The bits of y are the same, unless they depend on statistics, which are summed in other
    chunks.
    """
    wanted = forward(PROGRAMS[program], images(), training=training)[1].data
    calls.clear()
    with md.no_grad():
        y = forward(PROGRAMS[program], images(), training=training)[1]
        agree({"y": y.data}, {"y": wanted})
    assert not y.requires_grad
    assert training or "batch_stats" not in calls
    if not training:
        np.testing.assert_array_equal(y.data, wanted)


@pytest.mark.parametrize("shape", ((1, 7, 6), (1, 1, 3), (4, 1, 1), (65, 3, 2), (1, 33, 31)))
def test_few_and_many_images(shape):
    agree(
        train(PROGRAMS["two blocks"], images(*shape)),
        train(PROGRAMS["two blocks"], images(*shape), after=look),
        30,
    )


def test_no_images():
    network, y = forward(PROGRAMS["two blocks"], images(0), training=False)
    assert y.data.shape == (0, 7, 6, 16)
    y.backward(np.empty(y.shape, np.float32))
    for p in network.parameters:
        np.testing.assert_array_equal(p.grad, np.zeros(p.shape, np.float32))


def test_one_value_a_channel_is_refused():
    """A convolution that sums statistics lets the normalization refuse them."""
    with pytest.raises(ValueError, match="batch_norm: x of shape"):
        forward(lambda m, x: m.bn(m.depthwise(m.relu(m.bn(x)), padding=0)), images(1, 3, 3))


def test_the_graph_can_be_used_twice():
    x = images()
    network, y = forward(PROGRAMS["two blocks"], x)
    leaves = [x, *network.parameters]
    dy = uniform(*y.shape, seed=9)
    y.backward(dy, retain_graph=True)
    first = [t.grad for t in leaves]
    y.backward(dy)
    for t, g in zip(leaves, first, strict=True):
        np.testing.assert_array_equal(t.grad, 2 * g)
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward(dy)


# ----------------------------------------------------------------------- which kernels run


def test_every_array_of_a_block_is_passed_once(calls):
    y = forward(PROGRAMS["two blocks"], images())[1]
    assert taken(calls) == {"batch_stats": 1, "depthwise_conv": 2, "pointwise_conv": 2}
    y.sum()
    assert taken(calls) == {"batch_norm_apply": 1}
    y.backward(np.ones(y.shape))
    # The sums of the last normalization, and the gradient before the first one, remain.
    assert taken(calls) == {
        "depthwise_backward": 2,
        "pointwise_backward": 2,
        "batch_norm_sums": 1,
        "batch_norm_input_grad": 1,
    }


def test_inference(calls):
    with md.no_grad():
        forward(PROGRAMS["two blocks"], images(), training=False)
    assert taken(calls) == {"depthwise_conv": 2, "pointwise_conv": 2}
    with md.no_grad():
        forward(PROGRAMS["two blocks"], images(), training=True)
    assert taken(calls) == {"batch_stats": 5, "depthwise_conv": 2, "pointwise_conv": 2}


@pytest.mark.parametrize("fixed", ((), (0, 1), (2,), (5,), (8,), (2, 5, 8)), ids=str)
def test_what_needs_no_gradient(fixed, calls):
    """Either x and the first normalization or the weights need no gradients, and the others' do not
    change.
    """

    class Fixed(Network):
        def parameter(self, *shape, **between):
            p = super().parameter(*shape, **between)
            p.requires_grad = len(self.parameters) - 1 not in fixed
            return p

    results = []
    for after in (nothing, look):
        x, network = images(), Fixed(after)
        x.requires_grad = 0 not in fixed
        y = separable(network, network.relu(network.bn(x * 1)))
        y = network.relu(network.bn(network.conv(y)))
        calls.clear()
        y.backward(uniform(*y.shape, seed=9))
        counts = taken(calls)
        if after is nothing:
            # A convolution that needs only one of its gradients runs step by step.
            assert sum(counts.get(name, 0) for name in FUSED) == 3 - len({*fixed} - {1})
        assert [p.grad is None for p in network.parameters] == [
            k in fixed for k in range(len(network.parameters))
        ]
        assert (x.grad is None) == (0 in fixed)
        results.append(found(network, x, y))
    agree(*results)


# Each name has the program, the channels of x, and the dtype.
APART = {
    "a bias": (lambda m, x: m.conv(m.relu(m.bn(x)), 32, bias=True), 16, np.float32),
    "a depthwise bias": (lambda m, x: m.depthwise(m.relu(m.bn(x)), bias=True), 16, np.float32),
    "float64": (lambda m, x: separable(m, m.relu(m.bn(x))), 16, np.float64),
    "channels in": (lambda m, x: m.conv(m.relu(m.bn(x)), 32), 20, np.float32),
    "channels out": (lambda m, x: m.conv(m.relu(m.bn(x)), 24), 16, np.float32),
    "depthwise channels": (lambda m, x: m.depthwise(m.relu(m.bn(x))), 24, np.float32),
    "stride": (lambda m, x: m.conv(m.relu(m.bn(x)), 32, stride=2), 16, np.float32),
    "padding": (lambda m, x: m.conv(m.relu(m.bn(x)), 32, padding=1), 16, np.float32),
    "groups": (lambda m, x: m.conv(m.relu(m.bn(x)), 32, groups=2), 32, np.float32),
    "window": (lambda m, x: m.conv(m.relu(m.bn(x)), 32, 3), 16, np.float32),
    "a residual": (lambda m, x: m.conv(m.relu(m.bn(x) + x), 32), 16, np.float32),
    "nothing before": (lambda m, x: m.conv(x, 32), 16, np.float32),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_computed_step_by_step(name, calls):
    program, channels, dtype = APART[name]

    def inputs():
        return images(channels=channels, dtype=dtype)

    got = train(program, inputs(), dtype=dtype)
    counts = taken(calls)
    assert not {"pointwise_conv", "pointwise_backward", "depthwise_backward"} & set(counts)
    assert ("batch_norm_apply" in counts) == (name != "nothing before")
    agree(got, train(program, inputs(), dtype=dtype, after=look))


@pytest.mark.parametrize("spare", (0, -1))
def test_images_that_do_not_stay_in_cache(spare, calls, monkeypatch):
    """A depthwise convolution normalizes whole images before it reads them, and a 1x1 convolution
    bands.
    """
    monkeypatch.setattr(choose, "IMAGE_VALUES", 7 * 6 * 16 + spare)
    got = train(PROGRAMS["separable"])
    counts = taken(calls)
    assert counts.get("depthwise_backward", 0) == (spare == 0)
    assert counts["pointwise_backward"] == 1
    agree(got, train(PROGRAMS["separable"], after=look))


# ---------------------------------------------------------------------------------- layers


def block(**options):
    """Return a separable block. The options are those of the normalization inside."""
    md.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm(16),
        nn.ReLU(),
        nn.Conv(16, 16, 3, padding=1, groups=16, bias=False),
        nn.BatchNorm(16, **options),
        nn.ReLU(),
        nn.Conv(16, 32, 1, bias=False),
        nn.BatchNorm(32),
        nn.ReLU(),
    )
    for k, (name, p) in enumerate(model.named_parameters()):
        if name.endswith("beta"):  # with beta at zero, gradients before it would cancel
            p.data = uniform(*p.shape, seed=k)
    return model


def layer_by_layer(model, x):
    for layer in model:
        x = layer(x)
        x.data  # noqa: B018
    return x


def step(model, run=None):
    """Return what one training step computes, including the running statistics that it changes."""
    x = images()
    y = (run or nn.Layer.__call__)(model, x * 1)
    model.zero_grad()
    y.backward(uniform(*y.shape, seed=9))
    return {
        "y": y.data,
        "dx": x.grad,
        **{name: p.grad for name, p in model.named_parameters()},
        **{name: value.copy() for name, value in model.named_buffers() if value.dtype.kind == "f"},
    }


def frozen_first(model):
    model[0].freeze_stats()


def frozen_inside(model):
    model[3].freeze_stats()


def in_eval(model):
    model.eval()


def after_eval(model):
    model.eval()
    step(model)
    model.train()


@pytest.mark.parametrize("prepare", (frozen_first, frozen_inside, in_eval, after_eval))
def test_layers_in_every_mode(prepare):
    models = block(), block()
    for model in models:
        step(model)
        prepare(model)
    agree(step(models[0]), step(models[1], layer_by_layer))


@pytest.mark.parametrize(
    "options", ({"affine": False}, {"track_stats": False}, {"momentum": None}, {"eps": 0}), ids=str
)
def test_layers_with_options(options):
    agree(step(block(**options)), step(block(**options), layer_by_layer))


def test_a_copy_of_a_model_trains_alike():
    model = block()
    step(model)
    again = copy.deepcopy(model)
    for value, other in zip(step(model).values(), step(again).values(), strict=True):
        np.testing.assert_array_equal(value, other)


def test_hooks_see_what_passes():
    seen = []
    model = block()
    for layer in model:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.data.copy()))
    agree(step(model), step(block()))
    assert len(seen) == len(model)
    np.testing.assert_array_equal(seen[4], np.maximum(seen[3], 0))
