"""These tests check which parameters decay."""

import numpy as np
import pytest

from minidl import models, nn, optim
from tests.support.errors import refuses


class Mixed(nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.gru = nn.GRU(4, 3)
        self.norm = nn.LayerNorm(3)
        self.bias_table = nn.Parameter(np.zeros((2, 3)))
        self.scale = nn.Parameter(np.ones(()))
        self.again = self.norm


def test_weights_and_others():
    model = Mixed()
    weights, others = optim.groups(model, 0.5)
    names = {id(p): name for name, p in model.named_parameters()}
    assert [names[id(p)] for p in weights["params"]] == [
        "embedding.weight",
        "gru.cells.0.weight_x",
        "gru.cells.0.weight_h",
    ]
    assert {names[id(p)] for p in others["params"]} == {
        "gru.cells.0.bias",
        "gru.cells.0.bias_h",
        "norm.gamma",
        "norm.beta",
        "bias_table",
        "scale",
    }
    assert weights["weight_decay"] == 0.5 and others["weight_decay"] == 0


@pytest.mark.parametrize("name", models.names())
def test_every_parameter_of_a_model_once(name):
    model = models.create(name)
    weights, others = optim.groups(model)
    assert len(weights["params"]) + len(others["params"]) == len(model.parameters())
    assert all(p.ndim in (2, 4) for p in weights["params"])
    assert all(p.ndim == 1 for p in others["params"])


def test_groups_go_to_one_optimizer_or_two():
    model = models.LeNet()
    both = optim.SGD(optim.groups(model, 0.1), lr=0.1)
    assert [group["weight_decay"] for group in both.groups] == [0.1, 0]
    weights, others = optim.groups(model)
    assert optim.Muon(weights, lr=0.1).groups[0]["params"] == weights["params"]
    nothing, _ = optim.groups(nn.BatchNorm(3), 0.1)
    assert optim.SGD([nothing, others], lr=0.1).groups[0]["params"] == []


def test_bad_arguments_are_refused():
    with refuses(TypeError, "groups: model must be a layer"):
        optim.groups(nn.Dense(2, 2).parameters())
    with refuses(ValueError, "groups: weight_decay", "-1"):
        optim.groups(nn.Dense(2, 2), -1)
