"""This module has the layers that the tests of what a layer holds share."""

import numpy as np

import minidl as md
from minidl import nn
from tests.support.tensors import parameter


class Everything(nn.Layer):
    """Has one attribute of each kind, and does not call super().__init__()."""

    def __init__(self):
        self.weight = parameter(2, 3)
        self.nothing = None
        self.scale = np.full(3, 2, np.float32)
        self.dense = nn.Dense(2, 3)
        self.listed = [nn.Dense(3, 1, bias=False), parameter(4)]
        self.pair = (nn.BatchNorm(3), np.zeros(2))
        self.heads = {"a": nn.Dense(3, 2), "b": [parameter(5), None, nn.ReLU()]}
        self.again = self.weight
        self.number, self.text, self.flag = 3, "text", True
        self.constant = md.ones(2)
        self.function = np.tanh
        self._private = parameter(6)
        self._hidden = [nn.Dense(2, 2), np.zeros(3)]
        self._array = np.zeros(2)
        self.unregistered.parent = nn.Dense(7, 7)

    def forward(self, x):
        return self.dense(x) * self.scale
