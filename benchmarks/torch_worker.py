"""This program is PyTorch's side of a comparison: a process that runs cases in one mode (see
serve.py).

It does not import minidl, and the other side does not import PyTorch, so that each side has only
its own memory.
"""

import re
import sys

import torch

from . import torch_cases
from .serve import serve

# All other kinds are single channels-last kernels.
BY_MODE = ("train_step", "recipe_step", "batch_norm_relu")


def main(threads, layout, how):
    torch.set_num_threads(threads)
    mode = {"memory_format": getattr(torch, layout), "how": how}

    def make(kind, arguments):
        if kind == "augment":
            from . import torch_augment  # imported only here, because it needs torchvision

            return torch_augment.augment(*arguments)
        options = mode if kind in BY_MODE else {}
        return getattr(torch_cases, kind)(*arguments, **options)

    onednn = re.search(r"(?:oneDNN|MKL-DNN) (v[\d.]+)", torch.__config__.show())
    serve(
        make,
        {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "onednn": onednn[1] if onednn else "none",
            "isa": torch.backends.cpu.get_cpu_capability(),
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
