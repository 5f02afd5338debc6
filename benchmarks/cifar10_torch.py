"""This program is the training of examples/cifar10.py in PyTorch, and prints the same columns to
compare.

    python -m benchmarks.cifar10_torch --epochs 10      where PyTorch is installed

It has the same first weights, batches, augmentation and schedule, and runs eagerly with
channels_last. Only the network and its step are PyTorch's; the rest is the example's. PyTorch is
faster where the C library keeps its memory: set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_
as `KEEP` in versus_torch.py does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import minidl as md
from examples import cifar10

from . import torch_models
from .torch_cases import images


def main(argv: list[str] | None = None) -> list[dict[str, float]]:
    args, train, test, model = cifar10.begin(cifar10.options(__doc__.splitlines()[0]), argv)
    torch.set_num_threads(md.get_num_threads())
    net: Any = torch_models.ResNet20()
    torch_models.load(net, model.state_dict())
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(), args.lr, cifar10.MOMENTUM, weight_decay=cifar10.WEIGHT_DECAY
    )

    def step(batch: md.Tensor, labels: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        for group in optimizer.param_groups:
            group["lr"] = lr
        logits = net(images(batch.data, torch.channels_last))
        loss = F.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item(), logits.detach().numpy()

    def predict(batch: md.Tensor) -> np.ndarray:
        net.eval()
        with torch.no_grad():
            logits = net(images(batch.data, torch.channels_last)).numpy()
        net.train()
        return logits

    history = cifar10.fit(step, predict, train, test, args)
    print(f"test accuracy {history[-1]['test']:.4f}")
    return history


if __name__ == "__main__":
    main()
