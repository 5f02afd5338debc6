"""These tests load networks that PyTorch's exporter has written: outputs are PyTorch's, parameters
have its names, and a step of fine-tuning changes them as PyTorch's does.
"""

import copy
import io
import warnings

import numpy as np
import pytest
import torch

import minidl as md
from minidl import optim
from tests.support import pages
from tests.support.parity import assert_close
from tests.support.torch_networks import VGG, MobileNetV2, ResNet18, UNet

NETWORKS = [ResNet18, MobileNetV2, UNet, VGG]


def made(network):
    """Return a network whose statistics and parameters are not the initial ones."""
    torch.manual_seed(0)
    model = network()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.1)
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # the random numbers of both differ
    return model.eval()


def written(model, x, opset=17, **options):
    """Return the bytes of the file, in which normalizations are nodes of their own."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x,),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            **options,
        )
    return file.getvalue()


def last(x):
    """Return a tensor of PyTorch's in our layout."""
    array = x.detach().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs(network):
    model, x = made(network), torch.randn(3, 3, 32, 32)
    content = written(model, x[:2])
    expected = last(model(x))
    ours = md.onnx.load(content)
    assert_close(ours(last(x)).data, expected)
    plain = md.onnx.load(content, layout="NCHW")(x.numpy())
    assert_close(plain.data, model(x).detach().numpy())
    assert {name for name, _ in ours.named_parameters()} == {
        name for name, _ in model.named_parameters()
    }
    assert {name for name, _ in ours.named_buffers()} >= {
        name for name, _ in model.named_buffers() if "num_batches" not in name
    }
    traced = {node.operation for node in md.trace(ours, last(x))}
    assert not traced & {"Transpose", "Constant"}


@pytest.mark.parametrize(
    ("network", "opset", "size"), [(VGG, 9, 32), (UNet, 11, 16), (UNet, 13, 16), (UNet, 20, 16)]
)
def test_opsets(network, opset, size):
    model, x = made(network), torch.randn(2, 3, size, size)
    assert_close(md.onnx.load(written(model, x, opset))(last(x)).data, last(model(x)))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_of_fine_tuning(network):
    """It is computed in double, because statistics of few values amplify the rounding errors of
    float32.
    """
    model, x = made(network), torch.randn(8, 3, 32, 32)
    ours = md.onnx.load(written(model, x)).astype(np.float64).train()
    theirs = copy.deepcopy(model).to(torch.float64).train()
    x = x.to(torch.float64)
    labels = torch.randint(0, 3, (8,) if network is not UNet else (8, 32, 32))
    optimizers = (
        optim.SGD(ours.parameters(), lr=0.1, momentum=0.9),
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9),
    )
    loss = md.cross_entropy(ours(last(x)), labels.numpy())
    expected = torch.nn.functional.cross_entropy(theirs(x), labels)
    assert_close(loss.data, expected.detach().numpy(), "loss")
    loss.backward()
    expected.backward()
    for optimizer in optimizers:
        optimizer.step()
    layers = dict(ours.named_layers())
    for name, theirs_value in theirs.state_dict().items():
        layer = layers[name.rpartition(".")[0]]
        value = theirs_value.numpy()
        if name.endswith("num_batches_tracked"):
            assert layer.num_batches == value
        elif network is not VGG or name != "classifier.1.weight":  # its rows are in our order
            assert_close(ours.state_dict()[name], in_our_layout(value, layer), name, 10)
    ours.eval()
    theirs.eval()
    assert_close(ours(last(x)).data, last(theirs(x)), "outputs", 10)


def test_a_network_that_was_not_trained():
    """Its scales and variances are all ones, and the file has one array for all of them. They are
    learned apart all the same: later losses are PyTorch's.
    """
    torch.manual_seed(0)
    theirs, x = ResNet18().eval(), torch.randn(8, 3, 32, 32)
    ours = md.onnx.load(written(theirs, x)).astype(np.float64).train()
    theirs, x = theirs.to(torch.float64).train(), x.to(torch.float64)
    assert len(ours.parameters()) == len(list(theirs.parameters()))
    assert {name for name in theirs.state_dict() if "num_batches" not in name} <= set(
        ours.state_dict()
    )
    labels = torch.randint(0, 3, (8,))
    optimizers = (
        optim.SGD(ours.parameters(), lr=0.01),
        torch.optim.SGD(theirs.parameters(), lr=0.01),
    )
    for _ in range(3):
        loss = md.cross_entropy(ours(last(x)), labels.numpy())
        expected = torch.nn.functional.cross_entropy(theirs(x), labels)
        assert_close(loss.data, expected.detach().numpy(), "loss", 10)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        expected.backward()
        for optimizer in optimizers:
            optimizer.step()


def in_our_layout(value, layer):
    if value.ndim == 4:
        return value.transpose(
            *((2, 3, 0, 1) if isinstance(layer, md.nn.ConvTranspose) else (2, 3, 1, 0))
        )
    return value.T if value.ndim == 2 else value


@pytest.mark.parametrize("cell", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_recurrent_networks(cell):
    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 5)
            self.rnn = cell(5, 6, num_layers=2, bidirectional=True, batch_first=True)
            self.norm = torch.nn.LayerNorm(12)
            self.head = torch.nn.Linear(12, 3)

        def forward(self, tokens):
            output, _ = self.rnn(self.embedding(tokens))
            return self.head(torch.nn.functional.gelu(self.norm(output)))

    torch.manual_seed(0)
    model, tokens = Reader().eval(), torch.randint(0, 11, (4, 7))
    ours = md.onnx.load(written(model, tokens))
    assert_close(ours(tokens.numpy()).data, model(tokens).detach().numpy())


class Attention(torch.nn.Module):
    """A block of a transformer with two heads."""

    def __init__(self):
        super().__init__()
        self.norm, self.qkv = torch.nn.LayerNorm(8), torch.nn.Linear(8, 24)
        self.out, self.more = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2.0, -1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + torch.nn.functional.gelu(self.more(x))


def test_attention():
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.randn(3, 5, 8)
    ours = md.onnx.load(written(model, x))
    assert_close(ours(x.numpy()).data, model(x).detach().numpy())


@pytest.mark.filterwarnings("ignore")
def test_the_program_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [
        text
        for language, more, text in pages.blocks(pages.ROOT / "docs" / "guide-onnx.md")
        if (language, more) == ("python", "torch")
    ]
    assert len(blocks) == 1
    exec(compile(blocks[0], "guide-onnx.md", "exec"), {"np": np, "md": md})
