"""The networks of `minidl.models` in PyTorch, and the conversion of weights between the two.

The layers have the same names. Layouts are PyTorch's own, and ReLU works in place, as users of
PyTorch write it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Our names of parameters and buffers, and PyTorch's where they differ.
NAMES = {"gamma": "weight", "beta": "bias", "num_batches": "num_batches_tracked"}


def relu(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x, inplace=True)


class MLP(nn.Module):
    # The dense layers after a flatten, and the shape (H, W, C) that is flattened.
    flattened = {"fc1": (28, 28, 1)}

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 256, bias=False)
        self.bn1 = nn.BatchNorm1d(256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(relu(self.bn1(self.fc1(x.flatten(1)))))


class MnistCNN(nn.Module):
    flattened = {"fc1": (7, 7, 64)}

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(7 * 7 * 64, 128, bias=False)
        self.bn3 = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(relu(self.bn3(self.fc1(x.flatten(1)))))


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        y += shortcut
        return relu(y)


class ResNet20(nn.Module):
    flattened: dict[str, tuple[int, ...]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2), *[(32, 32, 1)] * 2]
        sizes += [(32, 64, 2), *[(64, 64, 1)] * 2]
        self.blocks = nn.Sequential(*(BasicBlock(*size) for size in sizes))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class VGG8(nn.Module):
    flattened = {"fc": (4, 4, 256)}

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (64, 128, 256):
            for before in (channels, out):
                layers += [
                    nn.Conv2d(before, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                ]
            layers.append(nn.MaxPool2d(2))
            channels = out
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.fc = nn.Linear(4 * 4 * 256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x))


class SeparableBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.bn2(self.pointwise(relu(self.bn1(self.depthwise(x))))))


class Mobile(nn.Module):
    flattened: dict[str, tuple[int, ...]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        sizes = ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nn.Sequential(*(SeparableBlock(*size) for size in sizes))
        self.fc = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


MODELS = {
    "mlp-bn": MLP,
    "mnist-cnn": MnistCNN,
    "resnet20": ResNet20,
    "vgg8-bn": VGG8,
    "mobile": Mobile,
}


def to_torch(value: np.ndarray, flattened: tuple[int, ...] | None = None) -> np.ndarray:
    """Convert HWIO to OIHW, and (in, out) to (out, in). With `flattened` the inputs of a dense
    layer are the values of images (H, W, C).

    PyTorch flattens images in the order C, H, W.
    """
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif flattened:
        value = value.reshape(*flattened, -1).transpose(3, 2, 0, 1).reshape(value.shape[::-1])
    elif value.ndim == 2:
        value = value.T
    return np.ascontiguousarray(value).reshape(value.shape)  # 0-d stays 0-d


def load(module: nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Load the parameters and buffers of its twin into a network, by name. Each of them must be
    there.
    """
    state = {}
    for name, value in weights.items():
        layer, _, last = name.rpartition(".")
        flattened = module.flattened.get(layer) if last == "weight" else None
        value = to_torch(value, flattened)
        state[f"{layer}.{NAMES.get(last, last)}"] = torch.from_numpy(value.copy())
    module.load_state_dict(state)
