"""This module composes layers that PyTorch does not have from its operations."""

import torch
from torch import nn as tn


class Flat(tn.Module):
    """Flattens images to rows in our order, with the channels last."""

    def forward(self, x):
        return x.movedim(1, -1).flatten(1)


class GlobalMean(tn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class FilterResponseNorm(tn.Module):
    """Computes the plain formula, for autograd."""

    def __init__(self, features, eps=1e-6, learn_eps=False):
        super().__init__()
        self.weight = tn.Parameter(torch.ones(features))
        self.bias = tn.Parameter(torch.zeros(features))
        self.eps = tn.Parameter(torch.full((features,), 1e-4)) if learn_eps else eps

    def forward(self, x):
        weight, bias, eps = (
            p if isinstance(p, float) else p.reshape(-1, *[1] * (x.ndim - 2))
            for p in (self.weight, self.bias, self.eps)
        )
        squares = (x**2).mean(tuple(range(2, x.ndim)), keepdim=True)
        return weight * x / torch.sqrt(squares + abs(eps)) + bias


class TLU(tn.Module):
    def __init__(self, features):
        super().__init__()
        self.tau = tn.Parameter(torch.zeros(features))

    def forward(self, x):
        return torch.maximum(x, self.tau.reshape(-1, *[1] * (x.ndim - 2)))


class MeanOfTaps(tn.Module):
    """Computes average pooling as a mean of columns, with dilation, and without counting
    padding.
    """

    def __init__(self, window, stride, padding, dilation, count_padding):
        super().__init__()
        self.options, self.padding = {"stride": stride, "dilation": dilation}, padding
        self.window, self.count_padding = window, count_padding

    def columns(self, x):
        x = tn.functional.pad(x, self.padding)
        kh, kw = self.window
        return tn.functional.unfold(x, self.window, **self.options).unflatten(
            1, (x.shape[1], kh * kw)
        )

    def forward(self, x):
        columns, there = self.columns(x), self.columns(torch.ones_like(x))
        count = there.sum(2) if self.count_padding is False else self.window[0] * self.window[1]
        _, _, h, w = tn.functional.max_pool2d(
            tn.functional.pad(x, self.padding), self.window, **self.options
        ).shape
        return (columns.sum(2) / count).unflatten(2, (h, w))
