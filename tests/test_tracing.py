"""md.trace: the graph of what a function computes, complete enough to compute it again."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.mode import evaluation
from minidl.tracers import tracers
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches


@pytest.fixture(autouse=True)
def no_tracer_is_left():
    md.manual_seed(0)
    yield
    assert not tracers


def images(*shape):
    return uniform(*shape).astype(np.float32)


def operations(graph):
    return [node.operation for node in graph]


def replayed(graph, *arrays):
    """The outputs of a graph for other inputs: each of its nodes computed again, in order."""
    values = dict(zip(graph.inputs, map(md.Tensor, arrays), strict=True))

    def given(x):
        if not isinstance(x, md.Value):
            return x
        return values[x] if x in values else md.Tensor(x.array)

    with md.no_grad():
        for node in graph:
            made = node.function.apply(*map(given, node.inputs), **node.options)
            values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,),
                              strict=True))

    def outputs(x):
        if isinstance(x, md.Value):
            return given(x).data
        if isinstance(x, dict):
            return {key: outputs(item) for key, item in x.items()}
        return type(x)(map(outputs, x)) if isinstance(x, (tuple, list)) else x

    return outputs(graph.outputs)


def plain(x):
    """Tensors as arrays, in tuples, lists and dicts."""
    if isinstance(x, md.Tensor):
        return x.data
    if isinstance(x, dict):
        return {key: plain(item) for key, item in x.items()}
    return type(x)(map(plain, x)) if isinstance(x, (tuple, list)) else x


def same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def check(f, *arrays):
    """A trace of f for other values of these shapes computes the same bits as f."""
    others = [images(*x.shape).astype(x.dtype) if x.dtype.kind == "f" else x[::-1] for x in arrays]
    graph = md.trace(f, *others)
    modes = evaluation if isinstance(f, nn.Layer) else md.no_grad
    with modes():
        expected = plain(f(*map(md.Tensor, arrays)))
    same(replayed(graph, *arrays), expected)
    assert not graph.reads
    return graph


def settled(model):
    """With other statistics and parameters than at first."""
    rng = np.random.default_rng(0)
    for name, array in (*((n, p.data) for n, p in model.named_parameters()),
                        *model.named_buffers()):
        if array.dtype.kind == "f":
            array[...] = rng.uniform(0.3, 1, array.shape) if "var" in name else rng.normal(
                0, 0.3, array.shape)
    return model


# -------------------------------------------------------------------------- nothing gets lost

@pytest.mark.parametrize(("model", "shape"), [
    (models.MLP, (4, 784)), (models.MnistCNN, (2, 28, 28, 1)), (models.VGG8, (2, 32, 32, 3)),
    (models.ResNet20, (2, 16, 16, 3)), (models.Mobile, (2, 16, 16, 3))])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_models_computed_again(model, shape, norm):
    graph = check(settled(model(norm=norm)), images(*shape))
    assert {name for name, _ in model(norm=norm).named_parameters()} == set(graph.parameters)


IMAGE, ROWS, WORDS = (3, 6, 6, 4), (3, 4), (3, 5, 4)
LAYERS = {
    "GELU": (lambda: nn.GELU(), ROWS), "LeakyReLU": (lambda: nn.LeakyReLU(0.3), ROWS),
    "ReLU": (lambda: nn.ReLU(), ROWS), "SiLU": (lambda: nn.SiLU(), ROWS),
    "Sigmoid": (lambda: nn.Sigmoid(), ROWS), "Softmax": (lambda: nn.Softmax(0), ROWS),
    "Tanh": (lambda: nn.Tanh(), ROWS), "TLU": (lambda: nn.TLU(4), ROWS),
    "AvgPool": (lambda: nn.AvgPool(2), IMAGE), "MaxPool": (lambda: nn.MaxPool(3, 2, 1), IMAGE),
    "AdaptiveAvgPool": (lambda: nn.AdaptiveAvgPool((4, 5)), IMAGE),
    "Upsample": (lambda: nn.Upsample(9, mode="linear"), IMAGE),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(4, 2), WORDS),
    "LayerNorm of two axes": (lambda: nn.LayerNorm((5, 4)), WORDS),
    "AvgPool, options": (lambda: nn.AvgPool(3, 2, ((1, 0), (0, 2)), True, (1, 2), False), IMAGE),
    "MaxPool, options": (lambda: nn.MaxPool(2, 3, "same", True, 2), IMAGE),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, (1, 2), True), WORDS),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 1, "causal"), WORDS),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, "causal", groups=2), WORDS),
    "GlobalAvgPool": (lambda: nn.GlobalAvgPool(), IMAGE), "Flatten": (lambda: nn.Flatten(), IMAGE),
    "BatchNorm": (lambda: nn.BatchNorm(4), IMAGE), "LayerNorm": (lambda: nn.LayerNorm(4), WORDS),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE), "RMSNorm": (lambda: nn.RMSNorm(4), ROWS),
    "InstanceNorm": (lambda: nn.InstanceNorm(4, affine=True), IMAGE),
    "FilterResponseNorm": (lambda: nn.FilterResponseNorm(4, learn_eps=True), IMAGE),
    "Conv": (lambda: nn.Conv(4, 6, 3, 2, "same", groups=2), IMAGE),
    "ConvTranspose": (lambda: nn.ConvTranspose(4, 6, 3, 2, 1, 1), IMAGE),
    "Dense": (lambda: nn.Dense(4, 3), WORDS), "Dropout": (lambda: nn.Dropout(), ROWS),
    "Identity": (lambda: nn.Identity(), ROWS), "Lambda": (lambda: nn.Lambda(md.exp), ROWS),
    "Embedding": (lambda: nn.Embedding(9, 4), np.array([[1, 2], [8, 0]])),
    "Sequential": (lambda: nn.Sequential(nn.Sequential(nn.Dense(4, 4), md.relu), nn.Tanh()), ROWS),
    "weight_norm": (lambda: nn.weight_norm(nn.Dense(4, 3)), ROWS),
    "weight_standardization": (lambda: nn.weight_standardization(nn.Conv(4, 3, 3)), IMAGE),
    **{f"{kind.__name__} {options}": (lambda kind=kind, options=options: kind(4, 3, **options),
                                      WORDS)
       for kind in (nn.RNN, nn.GRU, nn.LSTM)
       for options in ({}, {"num_layers": 2, "bidirectional": True}, {"norm": "layer"},
                       {"norm": "batch"})},
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_computed_again(name):
    make, given = LAYERS[name]
    check(settled(make()), given if isinstance(given, np.ndarray) else images(*given))


def test_every_layer_is_in_the_table():
    kinds = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)
             and issubclass(getattr(nn, name), nn.Layer)}
    # StepNorm takes a step too; the others compute nothing of their own.
    there = {name.split()[0].rstrip(",") for name in LAYERS}
    assert kinds - there == {"Layer", "LayerList", "Normalization", "StepNorm"}


A, B = images(3, 4), images(3, 4)
MASK, ROW = np.array([[True, False, True, False]] * 3), np.array([2, 0, 1])
FUNCTIONS = {
    "comparisons": (lambda x, y: (x == y, x != y, x < y, x <= y, x > 0, y <= 1), A, B),
    "logic": (lambda x, y: (((x > 0) & (y > 0)) | ~(x > y)) ^ (x < 0), A, B),
    "shifts": (lambda k: (k << 1, k >> 1, k & 1, 2 | k), ROW),
    "any and all": (lambda x: (md.any(x > 0, axis=0), md.all(x, keepdims=True)), A),
    "places": (lambda x: (md.argmax(x, axis=1), md.argmin(x), x.argmax(axis=0, keepdims=True)), A),
    "division": (lambda x, y: (x // y, x % y, divmod(x, 2.0)), A, B),
    "integers": (lambda k: (k.sum(), k.mean(), k.var(), k.std(), k.max(), k.min(), -k, abs(k)),
                 ROW),
    "casts": (lambda x: (x.astype(np.int64), (x > 0).astype(np.float64)), A),
    "rows": (lambda x, k: (x[k], x[:, k], x[k, k], x[None, k, 1:3]), A, ROW),
    "masked": (lambda x, m: (md.where(m, x, 0.0), x * m), A, MASK),
    "clipped": (lambda x, y: md.clip(x, y, 0.5), A, B),
    "in order": (lambda x: (md.sort(x, 0), md.argsort(x), *md.topk(x, 2), md.cumsum(x)), A),
    "waves": (lambda x: md.sin(x) + md.cos(x), A),
    "other sizes": (lambda x: (md.resize(x[None], 5), md.adaptive_avg_pool(x[None], 2)), A),
    "attention": (lambda x, y, m: md.scaled_dot_product_attention(x, x, y, m[:, :3]), A, B, MASK),
    "attention with a mask of floats": (
        lambda x, y, m: md.scaled_dot_product_attention(x, x, y, m, causal=True), A, B,
        images(3, 3)),
    "one hot": (lambda k: md.one_hot(k, 5), ROW),
    "embedding": (lambda k, w: md.embedding(k, w), ROW, B),
    "detached": (lambda x: x.detach() + x, A),
    "split": (lambda x: md.concatenate(md.split(x, 2, axis=1)[::-1], axis=0), A),
    "indexed by a list": (lambda x: x[[0, 2], 1:], A),
    "einsum": (lambda x, y: md.einsum("ij,kj->ik", x, y), A, B),
    "numpy's functions": (lambda x: np.mean(np.exp(x), axis=1), A),
    "cross_entropy": (md.cross_entropy, A, ROW),
    "cross_entropy, ignored": (lambda x, k: md.cross_entropy(x, k, ignore_index=2), A, ROW),
    "cross_entropy, weighed": (lambda x, k, w: md.cross_entropy(x, k, weight=w), A, ROW,
                               images(4)),
    "cross_entropy, smoothed": (lambda x, k: md.cross_entropy(x, k, label_smoothing=0.1,
                                                              reduction="none"), A, ROW),
    "cross_entropy of a distribution": (lambda x, y: md.cross_entropy(x, md.softmax(y)), A, B),
    "nll_loss": (lambda x, k, w: md.nll_loss(x, k, weight=w, ignore_index=0), A, ROW, images(4)),
    "mse_loss": (md.mse_loss, A, B), "l1_loss": (md.l1_loss, A, B),
    "huber_loss": (md.huber_loss, A, B),
    "binary cross-entropy": (lambda x, y, w: md.binary_cross_entropy_with_logits(
        x, md.sigmoid(y), weight=w, pos_weight=w), A, B, images(4)),
    "structures": (lambda x, y: {"sum": x + y, "list": [x, (y, 3)], "none": None}, A, B),
    "constants": (lambda x: x * np.float32([1, 2, 3, 4]) + md.ones(4), A),
    "an input alone": (lambda x: x, A),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_computed_again(name):
    f, *arrays = FUNCTIONS[name]
    check(f, *arrays)


def test_a_masked_normalization_computed_again():
    norm = settled(nn.BatchNorm(4)).eval()
    graph = check(lambda x, m: norm(x, mask=m), images(3, 4), MASK[0, :3])
    assert operations(graph) == ["PartedBatchNorm"]
    assert graph.nodes[0].inputs[-1] is graph.inputs[1]


# ---------------------------------------------------------------------------- what a graph says

class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv(1, 16, 3, padding=1, bias=False), nn.BatchNorm(16)
        self.head = nn.Sequential(nn.GlobalAvgPool(), nn.Dense(16, 2))

    def forward(self, x):
        y = md.relu(self.bn(self.conv(x)))
        return self.head(y + x[..., :1])


TEXT = """\
input          float32 (2, 4, 4, 1)
conv           float32 (2, 4, 4, 16)  conv    Conv(input, conv.weight, None, stride=(1, 1), \
padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
batchnorm      float32 (2, 4, 4, 16)  bn      BatchNorm(conv, bn.gamma, bn.beta, bn.running_mean, \
bn.running_var, eps=1e-05, training=False)
relu           float32 (2, 4, 4, 16)          ReLU(batchnorm)
getitem        float32 (2, 4, 4, 1)           GetItem(input, index=(Ellipsis, :1))
add            float32 (2, 4, 4, 16)          Add(relu, getitem)
globalavgpool  float32 (2, 16)        head.0  GlobalAvgPool(add)
linear         float32 (2, 2)         head.1  Linear(globalavgpool, head.1.weight, head.1.bias)
return linear"""

DOT = """\
digraph {
  node [shape=box, fontname="sans-serif"];
  "input" [label="input\\nfloat32 (2, 4, 4, 1)", shape=ellipse];
  "conv" [label="Conv\\nconv\\nconv.weight"];
  "input" -> "conv" [label="(2, 4, 4, 1)"];
  "batchnorm" [label="BatchNorm\\nbn\\nbn.gamma\\nbn.beta\\nbn.running_mean\\nbn.running_var"];
  "conv" -> "batchnorm" [label="(2, 4, 4, 16)"];
  "relu" [label="ReLU"];
  "batchnorm" -> "relu" [label="(2, 4, 4, 16)"];
  "getitem" [label="GetItem"];
  "input" -> "getitem" [label="(2, 4, 4, 1)"];
  "add" [label="Add"];
  "relu" -> "add" [label="(2, 4, 4, 16)"];
  "getitem" -> "add" [label="(2, 4, 4, 1)"];
  "globalavgpool" [label="GlobalAvgPool\\nhead.0"];
  "add" -> "globalavgpool" [label="(2, 4, 4, 16)"];
  "linear" [label="Linear\\nhead.1\\nhead.1.weight\\nhead.1.bias"];
  "globalavgpool" -> "linear" [label="(2, 16)"];
  "return" [label="return", shape=ellipse];
  "linear" -> "return" [label="(2, 2)"];
}"""


def test_the_text_and_the_drawing_of_a_small_net():
    graph = md.trace(Net(), images(2, 4, 4, 1))
    assert str(graph) == repr(graph) == TEXT
    assert graph.to_dot() == DOT
    assert repr(graph.nodes[2]) == "relu  float32 (2, 4, 4, 16)  ReLU(batchnorm)"
    assert repr(graph.inputs) == "(input: float32 (2, 4, 4, 1),)"


def test_names_are_escaped_in_the_drawing():
    net = nn.Layer()
    net.parts = {'a "b" \\ c\n': nn.Dense(2, 2, bias=False)}
    net.forward = next(iter(net.parts.values()))
    assert '[label="Linear\\nparts.a \\"b\\" \\\\ c\\n\\nparts.' in md.trace(
        net, images(1, 2)).to_dot()


def test_nodes_and_values_of_a_small_net():
    net = Net()
    graph = md.trace(net, images(2, 4, 4, 1))
    conv, norm, relu, _, add, pool, last = graph.nodes
    assert (conv.function.__name__, conv.operation, conv.layer) == ("Conv", "Conv", "conv")
    assert conv.layers == (net, net.conv) and last.layers == (net, net.head, net.head[1])
    assert relu.layer == "" and relu.layers == (net,)
    assert conv.options["padding"] == ((1, 1), (1, 1)) and conv.inputs[2] is None
    x, weight = conv.inputs[:2]
    assert x is graph.inputs[0] and x.kind == "input" and x.producer is None and x.array is None
    assert weight.kind == "parameter" and weight.array is net.conv.weight.data
    assert graph.parameters["conv.weight"] is weight and weight.producer is None
    assert graph.constants["bn.running_mean"].array is net.bn.running_mean
    assert set(graph.parameters) == {name for name, _ in net.named_parameters()}
    y = conv.outputs[0]
    assert y.producer is conv and graph.consumers(y) == y.consumers == [norm] and y.array is None
    assert (y.kind, y.name, y.shape, y.dtype) == ("result", "conv", (2, 4, 4, 16), np.float32)
    assert [node.operation for node in x.consumers] == ["Conv", "GetItem"]
    assert graph.outputs is last.outputs[0] and graph.outputs.consumers == []
    assert list(graph) == list(graph.nodes) and len(graph) == 7
    assert graph.used_only_by(y, [norm]) and not graph.used_only_by(y, [add, pool])
    assert not graph.used_only_by(graph.outputs, list(graph))


def test_calls_of_layers():
    net = Net()
    net.bn.register_forward_hook(lambda layer, inputs, output: output * 2.0)
    graph = md.trace(net, images(2, 4, 4, 1))
    calls = {call.name: call for call in graph.calls}
    assert list(calls) == ["", "conv", "bn", "head", "head.0", "head.1"]
    assert calls[""].nodes == graph.nodes and calls[""].output is graph.outputs
    assert [node.operation for node in calls["bn"].nodes] == ["BatchNorm", "Multiply"]
    assert calls["bn"].inputs == (calls["conv"].output,) and calls["bn"].layer is net.bn
    assert calls["bn"].output is calls["bn"].nodes[1].outputs[0]
    assert graph.nodes[2].layer == "bn"         # the hook's


def test_a_layer_that_is_shared_and_values_that_are_used_twice():
    dense = nn.Dense(2, 2, bias=False)
    graph = md.trace(nn.Sequential(dense, md.relu, dense), images(1, 2))
    assert [node.layer for node in graph] == ["0", "1", "0"]
    (weight,) = graph.parameters.values()
    assert weight.consumers == [graph.nodes[0], graph.nodes[2]]
    assert [call.name for call in graph.calls] == ["", "0", "1", "0"]
    square = md.trace(lambda x: x * x, images(2))
    assert square.nodes[0].inputs == square.inputs * 2
    assert square.inputs[0].consumers == [square.nodes[0]]


def test_several_inputs_and_outputs():
    def f(pair, named, other):
        return {"a": pair[0] + named["x"], "b": [md.split(pair[1], 2), other]}
    graph = md.trace(f, (images(2), images(4)), {"x": images(2)}, "other")
    assert [value.name for value in graph.inputs] == ["input_0", "input_1", "input_2"]
    assert graph.outputs["b"][1] == "other"
    parts = graph.outputs["b"][0]
    assert [value.name for value in parts] == ["split.0", "split.1"]
    assert parts[0].producer is parts[1].producer is graph.nodes[1]
    assert graph.nodes[1].outputs == parts and graph.nodes[0].inputs == (
        graph.inputs[0], graph.inputs[2])


def test_one_array_as_two_inputs():
    x = images(2)
    graph = md.trace(lambda a, b: (a + b, b), x, x)
    assert graph.inputs[0] is not graph.inputs[1] and graph.outputs[1] is graph.inputs[1]
    t = md.tensor(x)
    assert len(md.trace(lambda a, b: a + b, t, t).inputs) == 2


def test_objects_that_are_returned_are_dicts_of_their_attributes():
    class Output:
        def __init__(self, x):
            self.x, self.me, self.k = x, self, 3

    graph = md.trace(Output, images(2))
    assert graph.outputs == {"x": graph.inputs[0], "me": None, "k": 3}


def test_images_of_bytes_are_divided_by_255():
    bytes_ = np.full((1, 2), 255, np.uint8)
    seen = []
    graph = md.trace(lambda x: seen.append(x.data.copy()), bytes_)
    assert graph.inputs[0].dtype == np.float32 and seen[0].tolist() == [[1.0, 1.0]]
    double = nn.Dense(2, 2).astype(np.float64)
    assert md.trace(double, bytes_).inputs[0].dtype == np.float64


def test_layers_that_a_function_calls_are_named_by_their_class():
    one, two = nn.Dense(2, 2), nn.Sequential(nn.Dense(2, 2, bias=False), nn.BatchNorm(2))
    graph = md.trace(lambda x: two(one(x)) @ one.weight, images(1, 2))
    assert [node.layer for node in graph] == ["Dense", "Sequential.0", "Sequential.1", ""]
    assert list(graph.parameters) == ["Dense.weight", "Dense.bias", "Sequential.0.weight",
                                      "Sequential.1.gamma", "Sequential.1.beta"]
    assert "Sequential.1.running_var" in graph.constants
    again = md.trace(lambda x: nn.Dense(2, 2)(one(x)), images(1, 2))
    assert [node.layer for node in again] == ["Dense", "Dense_1"]


def test_a_method_of_a_layer_has_its_names():
    net = Net().astype(np.float64)
    graph = md.trace(net.forward, np.zeros((1, 4, 4, 1), np.uint8))
    assert [node.layer for node in graph][:4] == ["conv", "bn", "", ""]
    assert "conv.weight" in graph.parameters and graph.inputs[0].dtype == np.float64


def test_arrays_that_are_filled_anew_are_constants_of_their_own():
    x, buffer, places = images(1, 3), np.zeros(3, np.float32), np.zeros(1, np.int64)

    def f(x):
        total = 0.0
        for k in range(3):
            buffer[...], places[...] = k, k
            total = total + x * buffer + x[:, places] + md.cross_entropy(x, places)
        return total
    same(replayed(md.trace(f, images(1, 3)), x), f(md.Tensor(x)).data)


def test_names_are_never_used_twice():
    net = Net()
    net.matmul, net.input = nn.Parameter(images(2)), nn.Parameter(images(2))
    net.forward = lambda x: md.matmul(x, x) * net.matmul + net.input
    graph = md.trace(net, images(2, 2))
    names = [value.name for node in graph for value in (*node.inputs, *node.outputs)]
    assert set(names) == {"input_1", "matmul_1", "matmul", "multiply", "input", "add"}


def test_buffers_have_their_names_also_in_rows_and_copies():
    net = nn.Layer()
    net.table, net.shift = images(3, 4), images(4)
    net.count = np.ones((), np.float32)
    net.forward = lambda x: ((x * net.table[1] + net.table[1] - net.shift) * net.table[:, :1]
                             + net.table.T[:, 0].copy() + net.count[...])
    graph = md.trace(net, images(3, 4)[:1])
    assert list(graph.constants) == ["table[1]", "shift", "constant", "constant_1"]
    assert graph.constants["shift"].array is net.shift
    assert len(graph.constants["table[1]"].consumers) == 2


# --------------------------------------------------------------------- what leaves the graph

READS = {
    "data": lambda h: h.data, "numpy": lambda h: h.numpy(), "item": lambda h: h.item(),
    "bool": lambda h: bool(h), "float": lambda h: float(h), "array": lambda h: np.asarray(h),
    "tensor": lambda h: md.tensor(h), "Tensor": lambda h: md.Tensor(h), "in": lambda h: 0 in h,
    "NumPy's function": lambda h: np.unique(h), "accuracy": lambda h: md.accuracy(h, [[0]]),
}


@pytest.mark.parametrize("name", READS)
def test_values_that_python_takes_are_listed(name):
    def f(x):
        h = x * 2.0
        READS[name](h)
        return h + 1.0
    graph = md.trace(f, images(1, 1, 1))
    (read,) = graph.reads
    assert read is (graph.nodes[1].outputs[0] if name == "in" else graph.nodes[0].outputs[0]) or (
        name == "in" and read.dtype == bool)


def test_what_is_no_read():
    constant = md.ones(2)

    def f(x):
        assert x.shape == (2,) and len(x) == 2 and repr(x) and constant.data.sum() == 2
        return x + constant
    assert md.trace(f, images(2)).reads == ()


def test_parameters_and_inputs_that_python_takes():
    net = nn.Dense(2, 2)
    graph = md.trace(lambda x: net(x * float(x.data.max())) * net.bias.data[0], images(1, 2))
    assert [value.kind for value in graph.reads] == ["input", "parameter"]
    assert graph.reads[1] in graph.parameters.values()


# ----------------------------------------------------------------------------- what a trace does

@small_batches
def test_evaluation_and_training():
    net = nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4), nn.Dropout(0.5))
    before = {name: value.copy() for name, value in net.state_dict().items()}
    state = md.random.generator().bit_generator.state
    graph = md.trace(net, images(3, 4))
    assert operations(graph) == ["Linear", "BatchNorm"] and net.training
    same(net.state_dict(), before)
    assert repr(md.random.generator().bit_generator.state) == repr(state)
    graph = md.trace(net, images(3, 4), training=True)
    assert operations(graph) == ["Linear", "BatchNorm", "Dropout"]
    assert graph.nodes[1].options["training"] and net[1].num_batches == 1


def test_no_graph_for_gradients_is_made():
    w = md.ones(2, requires_grad=True)
    kept = []
    md.trace(lambda x: kept.append(x * w), images(2))
    assert not kept[0].requires_grad


def test_lazy_results_stay_lazy_and_what_is_gone_is_never_computed(monkeypatch):
    from minidl import kernels
    calls = []
    for name in ("batch_norm_apply", "relu", "batch_norm_pool"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *args, kernel=kernel, name=name, **options:
                            calls.append(name) or kernel(*args, **options))
    conv, norm = nn.Conv(1, 16, 3), nn.BatchNorm(16)
    f = lambda x: md.max_pool(md.relu(norm(conv(x))), 2)  # noqa: E731
    x = images(2, 6, 6, 1)
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
        md.trace(net, images(1, 2))
    assert not tracers
    with pytest.raises(KeyboardInterrupt):
        md.trace(lambda x: (_ for _ in ()).throw(KeyboardInterrupt), images(1))
    assert len(md.trace(net[0], images(1, 2))) == 1


def test_a_trace_within_a_trace():
    def f(x):
        inner.append(md.trace(md.exp, images(2)))
        return md.tanh(x)
    inner = []
    assert operations(md.trace(f, images(2))) == ["Tanh"]
    assert operations(inner[0]) == ["Exp"]


def test_what_a_generator_yields_is_traced():
    def f(x):
        yield md.exp(x)
        yield md.tanh(x)
    graph = md.trace(f, images(2))
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
        found[name] = md.trace(f, images(2))

    def others():
        for _ in range(20):
            barrier.wait()
            md.sqrt(md.ones(2))

    threads = [threading.Thread(target=work, args=("exp", lambda x: md.exp(-x))),
               threading.Thread(target=work, args=("tanh", md.tanh)),
               threading.Thread(target=others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert operations(found["exp"]) == ["Negative", "Exp"] * 20
    assert operations(found["tanh"]) == ["Tanh"] * 20


def test_wrong_calls():
    with refuses(TypeError, "trace: f must be a layer or a function, got int"):
        md.trace(3)
    with refuses(TypeError, "trace: training must be True or False"):
        md.trace(md.exp, images(2), training="yes")


def test_arrays_of_parameters_are_leaves_that_a_user_holds():
    w = md.tensor(uniform(4, 2), requires_grad=True)
    array = md.trace(lambda: w * 2).parameters["parameter"].array
    with md.no_grad():
        y = md.batch_norm(w, None, None, training=True)
    array[...] = 100
    np.testing.assert_allclose(y.data.mean(0), 0, atol=1e-6)
