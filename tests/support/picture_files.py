"""This module makes folders of pictures."""

import numpy as np
from PIL import Image


def smooth(height, width, channels=3, seed=0):
    """Return a picture (height, width, channels) whose neighbouring pixels are similar, so that
    lossy formats lose little.
    """
    rng = np.random.default_rng((seed, height, width))
    i, j = np.mgrid[:height, :width]
    waves = [
        127 + 120 * np.sin(i / 9 * rng.uniform(0.2, 1) + j / 7 * rng.uniform(0.2, 1) + phase)
        for phase in rng.uniform(0, 6, channels)
    ]
    return np.stack(waves, axis=-1).astype(np.uint8)


def write(path, array, **options):
    """Write an array (H, W, C) in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path, **options)


def write_folder(root, counts, size=(6, 8), channels=3):
    """Write `counts[name]` pictures for each class, and return all of them (N, H, W, C) in order,
    and their labels.
    """
    images, labels = [], []
    for label, (name, count) in enumerate(sorted(counts.items())):
        for i in range(count):
            images.append(smooth(*size, channels, seed=100 * label + i))
            labels.append(label)
            write(root / name / f"{i:03}.png", images[-1])
    return np.stack(images), np.array(labels)


COLOURS = {"blue": (40, 40, 220), "green": (40, 220, 40), "red": (220, 40, 40)}
SHADES = {"dark": 50, "light": 200}


def coloured(root, counts, size=(8, 8), seed=0):
    """Write pictures that a model learns to tell apart in a few epochs: `counts[name]` of each
    colour (blue, green, red), with noise; or of each shade (dark, light), which are stored in grey.
    """
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        for i in range(count):
            tone = np.array(COLOURS.get(name) or [SHADES[name]])
            noise = rng.integers(-30, 31, (*size, len(tone)))
            write(root / name / f"{i:03}.png", (tone + noise).clip(0, 255).astype(np.uint8))
    return root
