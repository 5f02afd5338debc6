"""How torchvision's `transforms.v2` augments, on tensors (see augment_cases.py).

Its transforms draw once for everything that they are given. To draw for each image separately, as
minidl does, they are called image by image ("each image"). The whole batch with one draw ("one draw
a batch") is less work, and is shown beside it. Bytes are converted to floats where that costs
least, and what draws nothing gets the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SMALL, LARGE = (128, 32, 32, 3), (32, 256, 256, 3)

# The registration lasts as long as this module.
_operators = torch.library.Library("torchvision", "FRAGMENT")


def imported() -> Any:
    """Return `torchvision.transforms.v2`. Raises ImportError without torchvision.

    The operators of its wheels, which are built for CUDA, do not load beside a PyTorch without
    CUDA. The transforms use none of these operators, so it is enough to declare them.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    from torchvision.transforms import v2

    return v2


# Each name has the shape of the images, what draws before they are floats, whether they are
# normalized, and what draws after that.
Pipeline = tuple[tuple[int, ...], Callable[[Any], list[Any]], bool, Callable[[Any], list[Any]]]


def crop(v2: Any) -> Any:
    return v2.RandomCrop(32, padding=4, padding_mode="reflect")


def cutout(v2: Any) -> Any:
    """Cut out a square of 8 x 8, a sixteenth of the image."""
    return v2.RandomErasing(p=1, scale=(1 / 16, 1 / 16), ratio=(1, 1))


PIPELINES: dict[str, Pipeline] = {
    "crop": (SMALL, lambda v2: [crop(v2)], False, lambda v2: []),
    "flip": (SMALL, lambda v2: [v2.RandomHorizontalFlip()], False, lambda v2: []),
    "cutout": (SMALL, lambda v2: [cutout(v2)], False, lambda v2: []),
    "crop, flip, normalize, cutout": (
        SMALL,
        lambda v2: [crop(v2), v2.RandomHorizontalFlip()],
        True,
        lambda v2: [cutout(v2)],
    ),
    "rotation": (
        SMALL,
        lambda v2: [v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR)],
        False,
        lambda v2: [],
    ),
    "colour jitter": (
        SMALL,
        lambda v2: [v2.ColorJitter(0.2, 0.2, 0.2, 0.05)],
        False,
        lambda v2: [],
    ),
    "resized crop 256 to 224": (
        LARGE,
        lambda v2: [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()],
        False,
        lambda v2: [],
    ),
}


def augment(name: str, each: bool) -> Callable[[], torch.Tensor]:
    """Return a function that sends a batch through a pipeline, with a draw for each image or with
    one for all.
    """
    v2 = imported()
    shape, before, normalized, after = PIPELINES[name]
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    floats = [v2.ToDtype(torch.float32, scale=True)]
    floats += [v2.Normalize(MEAN, STD)] if normalized else []
    first, middle, last = (
        v2.Compose(made) if made else None for made in (before(v2), floats, after(v2))
    )

    def drawn(transform: Any, batch: torch.Tensor) -> torch.Tensor:
        if transform is None:
            return batch
        return torch.stack([transform(image) for image in batch]) if each else transform(batch)

    def run() -> torch.Tensor:
        return drawn(last, middle(drawn(first, images)))

    return run
