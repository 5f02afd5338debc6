"""The recipe cifar10-fast in PyTorch: the network, Muon and a step (see recipe.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from . import torch_models, training_file

Run = Callable[..., Any]


class Group(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding="same", bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=1e-12, momentum=0.4)
        self.bn1.weight.requires_grad = self.bn2.weight.requires_grad = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.bn2(self.conv2(x)))


class CifarFast(nn.Module):
    flattened: dict[str, tuple[int, ...]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        self.groups = nn.Sequential(Group(24, 64), Group(64, 256), Group(256, 256))
        self.fc = nn.Linear(256, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(F.gelu(self.whitening(x)))
        return self.fc(F.max_pool2d(x, 3).flatten(1)) / 256


def orthogonalized(matrix: torch.Tensor, steps: int = 3) -> torch.Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    def __init__(self, params: list[torch.Tensor], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["velocity"] = torch.zeros_like(p.grad)
                state["velocity"].mul_(group["momentum"]).add_(p.grad)
                update = p.grad.add(state["velocity"], alpha=group["momentum"])
                p.mul_(len(p) ** 0.5 / p.norm())
                matrix = update.reshape(len(update), -1)
                p.add_(orthogonalized(matrix).view(update.shape), alpha=-group["lr"])


def recipe_step(
    path: str, batch: int, memory_format: torch.memory_format, how: str
) -> tuple[Run, Run]:
    weights, images, labels = training_file.load(path)
    model: Any = CifarFast()
    torch_models.load(model, weights)
    model = model.to(memory_format=memory_format)
    learning = [p for p in model.parameters() if p.requires_grad]
    decay, rate, head = 2e-6 * batch, 0.053, 0.67
    muon = Muon([p for p in learning if p.ndim == 4], 0.17, 0.6)
    sgd = torch.optim.SGD(
        [
            {
                "params": [p for p in learning if p.ndim == 1],
                "lr": rate,
                "weight_decay": decay / rate,
            },
            {"params": [model.fc.weight], "lr": head, "weight_decay": decay / head},
        ],
        lr=rate,
        momentum=0.85,
        nesterov=True,
        fused=True,
    )
    step = -1
    if how == "compiled":
        model = torch.compile(model)

    def feed() -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal step
        step += 1
        start = step * batch % len(images)
        x = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2)
        return (
            x.contiguous(memory_format=memory_format),
            torch.from_numpy(labels[start : start + batch]),
        )

    def run(x: torch.Tensor, target: torch.Tensor) -> float:
        loss = F.cross_entropy(model(x), target, reduction="sum", label_smoothing=0.2)
        for optimizer in (muon, sgd):
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        muon.step()
        sgd.step()
        return loss.item()

    return feed, run
