"""What is worth a word: what stands out in a run, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import uneven

if TYPE_CHECKING:
    from .report import Report

GAP = 0.05  # between the accuracies of training and validation
DEAD = 0.3  # the share of dead units that is worth a word
FAST, SLOW = 3e-2, 1e-5  # of a step, as a share of the weights
SPREAD = 1000  # between the largest gradient of a layer and the smallest


def findings(found: Report) -> list[str]:
    """Sentences, the most important first."""
    said = [*_of_data(found), *_of_curves(found._history or {}), *_of_classes(found)]
    return [*said, *of_layers(found._statistics)]


def _of_data(found: Report) -> list[str]:
    if not found.duplicates:
        return []
    kept = np.ones(len(found.labels), bool)
    kept[[pair.index for pair in found.duplicates]] = False
    if not kept.any():
        return [
            "Every picture is in the training set too: the accuracy says nothing about others. "
            "Test with pictures that the model has not seen."
        ]
    without = float((found.labels == found.predicted)[kept].mean())
    count = len(found.duplicates)
    what = "1 picture is" if count == 1 else f"{count:,} pictures are"
    return [
        f"{what} in the training set too, or nearly so. Without them the accuracy is "
        f"{without:.4f} instead of {found.accuracy:.4f}."
    ]


def _of_curves(history: Mapping[str, Any]) -> list[str]:
    said = []
    accuracy, valid = _last(history, "accuracy"), _last(history, "valid_accuracy")
    if accuracy - valid > GAP:
        said.append(
            f"In the last epoch {accuracy:.1%} of the training examples were right, but "
            f"{valid:.1%} of those for validation: the model learns them by heart. More "
            f"examples, stronger augmentation or weight decay help."
        )
    losses = [float(value) for value in history.get("valid_loss", ())]
    finite = [value for value in losses if math.isfinite(value)]
    if len(finite) == len(losses) >= 4:
        best = losses.index(min(losses))
        if best < len(losses) - max(2, len(losses) // 5) and losses[-1] > 1.05 * losses[best]:
            said.append(
                f"The validation loss was lowest after epoch {best + 1} and is "
                f"{losses[-1] / losses[best] - 1:.0%} higher now: fewer epochs, or "
                f"train.EarlyStopping, save time and are no worse."
            )
        elif best == len(losses) - 1 and losses[-1] < 0.97 * losses[-2]:
            said.append(
                "The validation loss still falls in the last epoch: more epochs would bring more."
            )
    return said


def _of_classes(found: Report) -> list[str]:
    said = []
    recall = found.recall
    there = np.flatnonzero(found.support)
    if len(there) > 1:
        worst = int(there[np.argmin(recall[there])])
        others = there[there != worst]
        rest = float(recall[others].mean())
        if recall[worst] < rest - 0.1:
            row = found.confusion[worst].copy()
            row[worst] = 0
            taken = f" Most often it is taken for {found.classes[int(row.argmax())]}."
            said.append(
                f"{found.classes[worst]} is found worst: {recall[worst]:.0%} of its "
                f"{found.support[worst]:,}, against {rest:.0%} of the others." + taken
            )
    if uneven(found.support) and abs(found.accuracy - found.balanced_accuracy) > 0.02:
        said.append(
            f"The classes are uneven. If all counted the same, accuracy would be "
            f"{found.balanced_accuracy:.4f}: read that one; data.balanced or "
            f"data.class_weights help the small ones."
        )
    missing = [str(found.classes[k]) for k in np.flatnonzero(found.support == 0)]
    if missing:
        shown = ", ".join(missing[:5]) + (
            f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        )
        said.append(f"There are no examples of {shown}: nothing is known about them.")
    low, high = found.interval
    if high - low > 0.06:
        said.append(
            f"There are only {len(found.labels):,} examples: on others the accuracy may "
            f"well be anything from {low:.3f} to {high:.3f}."
        )
    return said


def _last(history: Mapping[str, Any], name: str) -> float:
    column = history.get(name) or [math.nan]
    return float(column[-1])


def of_layers(statistics: Mapping[str, Any] | None) -> list[str]:
    """What stands out in the newest statistics of layers."""
    layers = statistics["layers"] if statistics else []
    newest = {
        name: {
            layer["name"]: layer[name][-1]
            for layer in layers
            if layer.get(name) and math.isfinite(layer[name][-1])
        }
        for name in ("dead", "gradient", "update")
    }
    said = []
    dead = {name: share for name, share in newest["dead"].items() if share > DEAD}
    if dead:
        worst = max(dead, key=lambda name: dead[name])
        said.append(
            f"{_layers(len(dead))} more than {DEAD:.0%} dead units, {worst} the most "
            f"({dead[worst]:.0%}): they are 0 for the whole batch and learn nothing. A "
            f"lower learning rate or a normalization before the ReLU keeps them alive."
        )
    gradients = {name: g for name, g in newest["gradient"].items() if g > 0}
    if gradients and max(gradients.values()) > SPREAD * min(gradients.values()):
        low, high = (f(gradients, key=lambda name: gradients[name]) for f in (min, max))
        said.append(
            f"The gradient of {low} is {gradients[high] / gradients[low]:,.0f} times "
            f"smaller than that of {high}: normalization or shortcuts even them out."
        )
    fast = [name for name, share in newest["update"].items() if share > FAST]
    if fast:
        said.append(
            f"The last step changed {fast[0]}{_others(fast)} by more than {FAST:.0%}: the "
            f"learning rate is high for the end of a training."
        )
    # What is frozen has no gradient, and is meant to stay.
    slow = [
        name
        for name, share in newest["update"].items()
        if share < SLOW and name in newest["gradient"]
    ]
    if slow and len(slow) < len(newest["update"]):
        said.append(
            f"The last step changed {slow[0]}{_others(slow)} by less than "
            f"{SLOW:g} of its weights: it hardly learns."
        )
    return said


def _layers(count: int) -> str:
    return "One layer has" if count == 1 else f"{count} layers have"


def _others(names: list[str]) -> str:
    count = len(names) - 1
    return "" if not count else f" and {count} other layer{'s' if count > 1 else ''}"
