"""These tests load the weights of PyTorch's modules into our models, and back: outputs are the
same, and so are the tensors.
"""

import numpy as np
import pytest
import torch
from torch import nn as tn
from torch.nn import functional as F

import minidl as md
from minidl import models, nn
from tests.support.errors import refuses
from tests.support.parity import assert_close, channels_first, channels_last, draw


class Reshape(tn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


def images(height, width, channels):
    return nn.Lambda(lambda x: x.reshape(-1, height, width, channels))


def drawn(module):
    """Return the module in evaluation mode, with other values in all that it holds."""
    for name, p in module.named_parameters():
        p.data = torch.from_numpy(draw(name, tuple(p.shape), np.float32, -0.5, 0.5))
    for name, b in module.named_buffers():
        if "running" in name:
            b.copy_(torch.from_numpy(draw(name, tuple(b.shape), np.float32, 0.5, 1.5)))
    return module.eval()


def compare(ours, theirs, shape, exact=True, **options):
    """Check that both give the same outputs with the converted weights, and that the weights come
    back as they were.
    """
    x = draw("x", shape, np.float32)
    state = drawn(theirs).state_dict()
    report = md.torch.load_state(ours, state, **options)
    assert report.missing == report.unexpected == [] and set(report.loaded) == set(state)
    expected = channels_last(theirs(torch.from_numpy(channels_first(x))).detach().numpy())
    assert_close(ours.predict(x), expected)
    back = md.torch.state_dict(
        ours, like=state, **{k: v for k, v in options.items() if k == "example"}
    )
    assert list(back) == list(state)
    if exact:
        assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    else:  # two biases have become one
        theirs.load_state_dict(back)
        again = channels_last(theirs(torch.from_numpy(channels_first(x))).detach().numpy())
        assert_close(again, expected)


CASES = {
    "flattened": (
        lambda: nn.Sequential(
            nn.Conv(3, 8, 3), nn.ReLU(), nn.MaxPool(2), nn.Flatten(), nn.Dense(200, 7)
        ),
        lambda: tn.Sequential(
            tn.Conv2d(3, 8, 3), tn.ReLU(), tn.MaxPool2d(2), tn.Flatten(), tn.Linear(200, 7)
        ),
    ),
    "normalized features": (
        lambda: nn.Sequential(
            nn.Conv(3, 8, 3), nn.Flatten(), nn.BatchNorm(800), nn.LayerNorm(800), nn.Dense(800, 7)
        ),
        lambda: tn.Sequential(
            tn.Conv2d(3, 8, 3),
            tn.Flatten(),
            tn.BatchNorm1d(800),
            tn.LayerNorm(800),
            tn.Linear(800, 7),
        ),
    ),
    "groups and transposed": (
        lambda: nn.Sequential(
            nn.Conv(3, 8, 3, bias=False),
            nn.Conv(8, 8, (3, 2), groups=8),
            nn.ConvTranspose(8, 4, 3, stride=2, groups=2),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm(4, affine=True),
        ),
        lambda: tn.Sequential(
            tn.Conv2d(3, 8, 3, bias=False),
            tn.Conv2d(8, 8, (3, 2), groups=8),
            tn.ConvTranspose2d(8, 4, 3, stride=2, groups=2),
            tn.GroupNorm(2, 4),
            tn.InstanceNorm2d(4, affine=True),
        ),
    ),
    "weight normalization": (
        lambda: nn.Sequential(
            nn.weight_norm(nn.Conv(3, 8, 3)), nn.Flatten(), nn.weight_norm(nn.Dense(800, 7))
        ),
        lambda: tn.Sequential(
            tn.utils.parametrizations.weight_norm(tn.Conv2d(3, 8, 3)),
            tn.Flatten(),
            tn.utils.parametrizations.weight_norm(tn.Linear(800, 7)),
        ),
    ),
    "an autoencoder": (
        lambda: nn.Sequential(
            nn.Conv(3, 8, 2, stride=2),
            nn.Flatten(),
            nn.Dense(288, 288),
            nn.BatchNorm(288),
            images(6, 6, 8),
            nn.ConvTranspose(8, 3, 2, stride=2),
        ),
        lambda: tn.Sequential(
            tn.Conv2d(3, 8, 2, stride=2),
            tn.Flatten(),
            tn.Linear(288, 288),
            tn.BatchNorm1d(288),
            Reshape(8, 6, 6),
            tn.ConvTranspose2d(8, 3, 2, stride=2),
        ),
    ),
    "other names": (
        lambda: nn.Sequential(nn.Conv(3, 8, 3), md.relu, nn.Flatten(), nn.Dense(800, 7)),
        lambda: tn.ModuleDict({"conv": tn.Conv2d(3, 8, 3), "fc": tn.Linear(800, 7)}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model(name):
    ours, theirs = (make() for make in CASES[name])
    if isinstance(theirs, tn.ModuleDict):
        parts = theirs
        theirs.forward = lambda x: parts["fc"](F.relu(parts["conv"](x)).flatten(1))
    compare(ours, theirs, (3, 12, 12, 3))


def test_a_decoder():
    ours = nn.Sequential(
        nn.Dense(5, 6),
        nn.ReLU(),
        nn.Dense(6, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        images(4, 4, 8),
        nn.BatchNorm(8),
        nn.ConvTranspose(8, 3, 2, stride=2),
    )
    theirs = tn.Sequential(
        tn.Linear(5, 6),
        tn.ReLU(),
        tn.Linear(6, 128),
        tn.BatchNorm1d(128),
        tn.ReLU(),
        Reshape(8, 4, 4),
        tn.BatchNorm2d(8),
        tn.ConvTranspose2d(8, 3, 2, stride=2),
    )
    compare(ours, theirs, (3, 5))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_recurrent_layer(kind, options):
    class Ours(nn.Layer):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(nn, kind)(3, 5, **options)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    class Theirs(tn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(tn, kind)(3, 5, batch_first=True, **options)

        def forward(self, x):
            return self.rnn(x.transpose(1, 2))[0][:, -1]  # the comparison has transposed images

    compare(Ours(), Theirs(), (4, 6, 3), exact=False)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_single_cell(kind):
    ours, theirs = getattr(nn, kind)(3, 5), drawn(getattr(tn, f"{kind}Cell")(3, 5))
    md.torch.load_state(ours, theirs.state_dict())
    x = draw("x", (4, 1, 3), np.float32)
    expected = theirs(torch.from_numpy(x[:, 0]))
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close(ours(x)[0].data[:, 0], expected.detach().numpy())


class Columns(nn.Layer):
    """A convolution whose columns are the steps of a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.rnn, self.fc = nn.Conv(3, 4, 3), nn.LSTM(40, 5), nn.Dense(5, 2)

    def forward(self, x):
        y = self.conv(x).transpose(0, 2, 1, 3)
        return self.fc(self.rnn(y.reshape(y.shape[0], y.shape[1], -1))[0][:, -1])


class TheirColumns(tn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.rnn = tn.Conv2d(3, 4, 3), tn.LSTM(40, 5, batch_first=True)
        self.fc = tn.Linear(5, 2)

    def forward(self, x):
        y = self.conv(x).permute(0, 3, 1, 2)
        return self.fc(self.rnn(y.flatten(2))[0][:, -1])


def test_columns_of_images():
    compare(
        Columns(),
        TheirColumns(),
        (2, 12, 8, 3),
        exact=False,
        example=np.zeros((1, 12, 8, 3), np.float32),
    )


def test_a_model_of_the_registry():
    class Theirs(tn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = tn.Conv2d(1, 32, 3, padding=1, bias=False), tn.BatchNorm2d(32)
            self.conv2, self.bn2 = tn.Conv2d(32, 64, 3, padding=1, bias=False), tn.BatchNorm2d(64)
            self.fc1, self.bn3 = tn.Linear(64 * 49, 128, bias=False), tn.BatchNorm1d(128)
            self.fc2 = tn.Linear(128, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
            return self.fc2(F.relu(self.bn3(self.fc1(x.flatten(1)))))

    compare(models.create("mnist-cnn"), Theirs(), (2, 28, 28, 1))


def test_an_embedding_and_one_axis():
    ours = nn.Sequential(
        nn.Embedding(9, 3),
        nn.Lambda(lambda x: md.expand_dims(x, 1)),
        nn.Conv(3, 4, (1, 3)),
        nn.GlobalAvgPool(),
        nn.Dense(4, 2),
    )

    class Theirs(tn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.conv, self.fc = tn.Embedding(9, 3), tn.Conv1d(3, 4, 3), tn.Linear(4, 2)

        def forward(self, ids):
            return self.fc(self.conv(self.table(ids).transpose(1, 2)).mean(2))

    theirs, ids = drawn(Theirs()), np.arange(12).reshape(2, 6) % 9
    md.torch.load_state(ours, theirs.state_dict())
    assert_close(ours.predict(ids), theirs(torch.from_numpy(ids)).detach().numpy())


def test_half_precision_and_saved_files(tmp_path):
    theirs = drawn(tn.Linear(3, 2))
    torch.save(theirs.bfloat16().state_dict(), tmp_path / "net.pt")
    ours = nn.Dense(3, 2)
    md.torch.load_state(ours, torch.load(tmp_path / "net.pt"))
    assert np.array_equal(ours.weight.data.T, theirs.weight.detach().float().numpy())


def test_a_state_of_pytorch_in_the_wrong_place():
    with refuses(nn.StateError, "weight: (3, 2) expected, got (2, 3)", "md.torch.load_state"):
        nn.Dense(3, 2).load_state_dict(tn.Linear(3, 2).state_dict())


def test_a_step_of_training_is_the_same():
    ours = nn.Sequential(
        nn.Conv(3, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.Flatten(), nn.Dense(144, 5)
    )
    theirs = drawn(
        tn.Sequential(
            tn.Conv2d(3, 4, 3), tn.BatchNorm2d(4), tn.ReLU(), tn.Flatten(), tn.Linear(144, 5)
        )
    ).train()
    md.torch.load_state(ours, theirs.state_dict())
    x, labels = draw("x", (8, 8, 8, 3), np.float32), np.arange(8) % 5
    optimizers = (
        md.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9),
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9),
    )
    for _ in range(3):
        losses = (
            md.cross_entropy(ours(md.tensor(x)), labels),
            F.cross_entropy(theirs(torch.from_numpy(channels_first(x))), torch.from_numpy(labels)),
        )
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    back = md.torch.state_dict(ours)
    for name, tensor in theirs.state_dict().items():
        if tensor.dtype.is_floating_point and name != "0.bias":  # the mean removes this bias
            assert_close(back[name].numpy(), tensor.numpy(), name, tolerance=10)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 3, "vdim": 5}])
def test_attention(options):
    theirs = drawn(tn.MultiheadAttention(8, 2, batch_first=True, **options))
    names = {"kdim": "key_features", "vdim": "value_features"}
    ours = nn.MultiHeadAttention(8, 2, **{names.get(k, k): v for k, v in options.items()})
    state = theirs.state_dict()
    report = md.torch.load_state(ours, state)
    assert report.missing == report.unexpected == [] and set(report.loaded) == set(state)
    q, k, v = (
        draw(name, (2, 4, width), np.float32)
        for name, width in (("q", 8), ("k", options.get("kdim", 8)), ("v", options.get("vdim", 8)))
    )
    expected = theirs(*map(torch.from_numpy, (q, k, v)))[0].detach().numpy()
    assert_close(ours(*map(md.tensor, (q, k, v))).data, expected)
    back = md.torch.state_dict(ours)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_attention_among_other_layers_of_other_names():
    class Block(nn.Layer):
        def __init__(self):
            super().__init__()
            self.norm, self.attention = nn.LayerNorm(8), nn.MultiHeadAttention(8, 2)
            self.head = nn.Dense(8, 8)

        def forward(self, x):
            return self.head(self.attention(self.norm(x)))

    theirs = drawn(
        tn.ModuleList(
            [tn.LayerNorm(8), tn.MultiheadAttention(8, 2, batch_first=True), tn.Linear(8, 8)]
        )
    )
    ours = Block()
    md.torch.load_state(ours, theirs.state_dict())
    x = draw("x", (2, 4, 8), np.float32)
    y = theirs[0](torch.from_numpy(x))
    assert_close(ours(x).data, theirs[2](theirs[1](y, y, y)[0]).detach().numpy())
    theirs.load_state_dict(md.torch.state_dict(ours, like=theirs.state_dict()))


def test_attention_of_four_linear_layers():
    """PyTorch's module has projections that are layers, as ours does."""
    state = tn.ModuleDict(
        {name: tn.Linear(8, 8) for name in ("query", "key", "value", "output")}
    ).state_dict()
    ours = nn.MultiHeadAttention(8, 2)
    md.torch.load_state(ours, state)
    assert np.array_equal(ours.key.weight.data, state["key.weight"].numpy().T)
    assert list(md.torch.state_dict(ours, like=state)) == list(state)
