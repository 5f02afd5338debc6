"""These tests check md.trace: what a graph says about a function, and which uses of Python leave
the graph.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.graphs import replayed, same

pytestmark = pytest.mark.usefixtures("no_tracer_is_left")


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
    graph = md.trace(Net(), uniform(2, 4, 4, 1))
    assert str(graph) == repr(graph) == TEXT
    assert graph.to_dot() == DOT
    assert repr(graph.nodes[2]) == "relu  float32 (2, 4, 4, 16)  ReLU(batchnorm)"
    assert repr(graph.inputs) == "(input: float32 (2, 4, 4, 1),)"


def test_names_are_escaped_in_the_drawing():
    net = nn.Layer()
    net.parts = {'a "b" \\ c\n': nn.Dense(2, 2, bias=False)}
    net.forward = next(iter(net.parts.values()))
    assert (
        '[label="Linear\\nparts.a \\"b\\" \\\\ c\\n\\nparts.'
        in md.trace(net, uniform(1, 2)).to_dot()
    )


def test_nodes_and_values_of_a_small_net():
    net = Net()
    graph = md.trace(net, uniform(2, 4, 4, 1))
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
    graph = md.trace(net, uniform(2, 4, 4, 1))
    calls = {call.name: call for call in graph.calls}
    assert list(calls) == ["", "conv", "bn", "head", "head.0", "head.1"]
    assert calls[""].nodes == graph.nodes and calls[""].output is graph.outputs
    assert [node.operation for node in calls["bn"].nodes] == ["BatchNorm", "Multiply"]
    assert calls["bn"].inputs == (calls["conv"].output,) and calls["bn"].layer is net.bn
    assert calls["bn"].output is calls["bn"].nodes[1].outputs[0]
    assert graph.nodes[2].layer == "bn"  # the layer of the hook


def test_a_layer_that_is_shared_and_values_that_are_used_twice():
    dense = nn.Dense(2, 2, bias=False)
    graph = md.trace(nn.Sequential(dense, md.relu, dense), uniform(1, 2))
    assert [node.layer for node in graph] == ["0", "1", "0"]
    (weight,) = graph.parameters.values()
    assert weight.consumers == [graph.nodes[0], graph.nodes[2]]
    assert [call.name for call in graph.calls] == ["", "0", "1", "0"]
    square = md.trace(lambda x: x * x, uniform(2))
    assert square.nodes[0].inputs == square.inputs * 2
    assert square.inputs[0].consumers == [square.nodes[0]]


def test_several_inputs_and_outputs():
    def f(pair, named, other):
        return {"a": pair[0] + named["x"], "b": [md.split(pair[1], 2), other]}

    graph = md.trace(f, (uniform(2), uniform(4)), {"x": uniform(2)}, "other")
    assert [value.name for value in graph.inputs] == ["input_0", "input_1", "input_2"]
    assert graph.outputs["b"][1] == "other"
    parts = graph.outputs["b"][0]
    assert [value.name for value in parts] == ["split.0", "split.1"]
    assert parts[0].producer is parts[1].producer is graph.nodes[1]
    assert graph.nodes[1].outputs == parts and graph.nodes[0].inputs == (
        graph.inputs[0],
        graph.inputs[2],
    )


def test_lists_of_numbers_are_inputs_and_other_lists_are_passed_on():
    def f(numbers, words, mixed):
        return numbers + mixed[1][0], words, mixed[0]

    graph = md.trace(f, [[1.0, 2.0]], ["a", "b"], ["c", [uniform(2)]])
    assert [value.shape for value in graph.inputs] == [(1, 2), (2,)]
    assert graph.outputs[1:] == (["a", "b"], "c")


def test_one_array_as_two_inputs():
    x = uniform(2)
    graph = md.trace(lambda a, b: (a + b, b), x, x)
    assert graph.inputs[0] is not graph.inputs[1] and graph.outputs[1] is graph.inputs[1]
    t = md.tensor(x)
    assert len(md.trace(lambda a, b: a + b, t, t).inputs) == 2


def test_objects_that_are_returned_are_dicts_of_their_attributes():
    class Output:
        def __init__(self, x):
            self.x, self.me, self.k = x, self, 3

    graph = md.trace(Output, uniform(2))
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
    graph = md.trace(lambda x: two(one(x)) @ one.weight, uniform(1, 2))
    assert [node.layer for node in graph] == ["Dense", "Sequential.0", "Sequential.1", ""]
    assert list(graph.parameters) == [
        "Dense.weight",
        "Dense.bias",
        "Sequential.0.weight",
        "Sequential.1.gamma",
        "Sequential.1.beta",
    ]
    assert "Sequential.1.running_var" in graph.constants
    again = md.trace(lambda x: nn.Dense(2, 2)(one(x)), uniform(1, 2))
    assert [node.layer for node in again] == ["Dense", "Dense_1"]


def test_a_method_of_a_layer_has_its_names():
    net = Net().astype(np.float64)
    graph = md.trace(net.forward, np.zeros((1, 4, 4, 1), np.uint8))
    assert [node.layer for node in graph][:4] == ["conv", "bn", "", ""]
    assert "conv.weight" in graph.parameters and graph.inputs[0].dtype == np.float64


def test_arrays_that_are_filled_anew_are_constants_of_their_own():
    x, buffer, places = uniform(1, 3), np.zeros(3, np.float32), np.zeros(1, np.int64)

    def f(x):
        total = 0.0
        for k in range(3):
            buffer[...], places[...] = k, k
            total = total + x * buffer + x[:, places] + md.cross_entropy(x, places)
        return total

    same(replayed(md.trace(f, uniform(1, 3)), x), f(md.Tensor(x)).data)


def test_names_are_never_used_twice():
    net = Net()
    net.matmul, net.input = nn.Parameter(uniform(2)), nn.Parameter(uniform(2))
    net.forward = lambda x: md.matmul(x, x) * net.matmul + net.input
    graph = md.trace(net, uniform(2, 2))
    names = [value.name for node in graph for value in (*node.inputs, *node.outputs)]
    assert set(names) == {"input_1", "matmul_1", "matmul", "multiply", "input", "add"}


def test_buffers_have_their_names_also_in_rows_and_copies():
    net = nn.Layer()
    net.table, net.shift = uniform(3, 4), uniform(4)
    net.count = np.ones((), np.float32)
    net.forward = lambda x: (
        (x * net.table[1] + net.table[1] - net.shift) * net.table[:, :1]
        + net.table.T[:, 0].copy()
        + net.count[...]
    )
    graph = md.trace(net, uniform(3, 4)[:1])
    assert list(graph.constants) == ["table[1]", "shift", "constant", "constant_1"]
    assert graph.constants["shift"].array is net.shift
    assert len(graph.constants["table[1]"].consumers) == 2


# --------------------------------------------------------------------- what leaves the graph

READS = {
    "data": lambda h: h.data,
    "numpy": lambda h: h.numpy(),
    "item": lambda h: h.item(),
    "bool": lambda h: bool(h),
    "float": lambda h: float(h),
    "array": lambda h: np.asarray(h),
    "tensor": lambda h: md.tensor(h),
    "Tensor": lambda h: md.Tensor(h),
    "in": lambda h: 0 in h,
    "NumPy's function": lambda h: np.unique(h),
    "accuracy": lambda h: md.accuracy(h, [[0]]),
}


@pytest.mark.parametrize("name", READS)
def test_values_that_python_takes_are_listed(name):
    def f(x):
        h = x * 2.0
        READS[name](h)
        return h + 1.0

    graph = md.trace(f, uniform(1, 1, 1))
    (read,) = graph.reads
    assert read is (graph.nodes[1].outputs[0] if name == "in" else graph.nodes[0].outputs[0]) or (
        name == "in" and read.dtype == bool
    )


def test_what_is_no_read():
    constant = md.ones(2)

    def f(x):
        assert x.shape == (2,) and len(x) == 2 and repr(x) and constant.data.sum() == 2
        return x + constant

    assert md.trace(f, uniform(2)).reads == ()


def test_parameters_and_inputs_that_python_takes():
    net = nn.Dense(2, 2)
    graph = md.trace(lambda x: net(x * float(x.data.max())) * net.bias.data[0], uniform(1, 2))
    assert [value.kind for value in graph.reads] == ["input", "parameter"]
    assert graph.reads[1] in graph.parameters.values()
