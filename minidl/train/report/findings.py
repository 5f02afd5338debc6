"""The findings of a report: sentences about what stands out in a run and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import uneven

if TYPE_CHECKING:
    from .report import Report

GAP = 0.05  # largest unremarkable difference between the accuracies of training and validation
DEAD = 0.3  # largest unremarkable share of dead units
FAST, SLOW = 3e-2, 1e-5  # bounds of an unremarkable step, relative to the norm of the weights
SPREAD = 1000  # largest unremarkable ratio of two layers' gradient norms


def findings(found: Report) -> list[str]:
    """Return the findings as sentences, the most important first."""
    sentences = [*_of_data(found), *_of_curves(found._history or {}), *_of_classes(found)]
    return [*sentences, *of_layers(found._statistics)]


def _of_data(found: Report) -> list[str]:
    if not found.duplicates:
        return []
    kept = np.ones(len(found.labels), bool)
    kept[[pair.index for pair in found.duplicates]] = False
    if not kept.any():
        return [
            "Every picture is in the training set too: the accuracy says nothing about new "
            "pictures. Test with pictures that the model has not seen."
        ]
    without = float((found.labels == found.predicted)[kept].mean())
    count = len(found.duplicates)
    what = "1 picture is" if count == 1 else f"{count:,} pictures are"
    return [
        f"{what} in the training set too, or nearly so. Without them the accuracy is "
        f"{without:.4f} instead of {found.accuracy:.4f}."
    ]


def _of_curves(history: Mapping[str, Any]) -> list[str]:
    sentences = []
    accuracy, valid = _last(history, "accuracy"), _last(history, "valid_accuracy")
    if accuracy - valid > GAP:
        sentences.append(
            f"In the last epoch {accuracy:.1%} of the training examples were right, but "
            f"{valid:.1%} of those for validation: the model overfits. More "
            f"examples, stronger augmentation or weight decay help."
        )
    losses = [float(value) for value in history.get("valid_loss", ())]
    finite = [value for value in losses if math.isfinite(value)]
    if len(finite) == len(losses) >= 4:
        best = losses.index(min(losses))
        if best < len(losses) - max(2, len(losses) // 5) and losses[-1] > 1.05 * losses[best]:
            sentences.append(
                f"The validation loss was lowest after epoch {best + 1} and is "
                f"{losses[-1] / losses[best] - 1:.0%} higher now: fewer epochs, or "
                f"train.EarlyStopping, save time and are no worse."
            )
        elif best == len(losses) - 1 and losses[-1] < 0.97 * losses[-2]:
            sentences.append(
                "The validation loss still falls in the last epoch: more epochs would probably "
                "reduce it further."
            )
    return sentences


def _of_classes(found: Report) -> list[str]:
    sentences = []
    recall = found.recall
    there = np.flatnonzero(found.support)
    if len(there) > 1:
        worst = int(there[np.argmin(recall[there])])
        others = there[there != worst]
        rest = float(recall[others].mean())
        if recall[worst] < rest - 0.1:
            row = found.confusion[worst].copy()
            row[worst] = 0
            taken = f" Most often it is predicted as {found.classes[int(row.argmax())]}."
            sentences.append(
                f"{found.classes[worst]} has the lowest recall: {recall[worst]:.0%} of its "
                f"{found.support[worst]:,} examples are found, against {rest:.0%} in the other "
                f"classes." + taken
            )
    if uneven(found.support) and abs(found.accuracy - found.balanced_accuracy) > 0.02:
        sentences.append(
            f"The classes are imbalanced. The balanced accuracy, in which all classes count the "
            f"same, is {found.balanced_accuracy:.4f}: prefer it to the accuracy. data.balanced or "
            f"data.class_weights help the small classes."
        )
    missing = [str(found.classes[k]) for k in np.flatnonzero(found.support == 0)]
    if missing:
        shown = ", ".join(missing[:5]) + (
            f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        )
        sentences.append(f"There are no examples of {shown}: nothing is known about them.")
    low, high = found.interval
    if high - low > 0.06:
        sentences.append(
            f"There are only {len(found.labels):,} examples: the 95% confidence interval of the "
            f"accuracy is {low:.3f} to {high:.3f}."
        )
    return sentences


def _last(history: Mapping[str, Any], name: str) -> float:
    column = history.get(name) or [math.nan]
    return float(column[-1])


def of_layers(statistics: Mapping[str, Any] | None) -> list[str]:
    """Return the findings about the newest statistics of layers."""
    layers = statistics["layers"] if statistics else []
    newest = {
        name: {
            layer["name"]: layer[name][-1]
            for layer in layers
            if layer.get(name) and math.isfinite(layer[name][-1])
        }
        for name in ("dead", "gradient", "update")
    }
    sentences = []
    dead = {name: share for name, share in newest["dead"].items() if share > DEAD}
    if dead:
        worst = max(dead, key=lambda name: dead[name])
        sentences.append(
            f"{_layers(len(dead))} more than {DEAD:.0%} dead units, {worst} the most "
            f"({dead[worst]:.0%}): they are 0 for the whole batch and learn nothing. A "
            f"lower learning rate or a normalization before the ReLU keeps them alive."
        )
    gradients = {name: g for name, g in newest["gradient"].items() if g > 0}
    if gradients and max(gradients.values()) > SPREAD * min(gradients.values()):
        low, high = (f(gradients, key=lambda name: gradients[name]) for f in (min, max))
        sentences.append(
            f"The gradient of {low} is {gradients[high] / gradients[low]:,.0f} times "
            f"smaller than that of {high}: normalization or residual connections reduce the "
            f"difference."
        )
    fast = [name for name, share in newest["update"].items() if share > FAST]
    if fast:
        sentences.append(
            f"The last step changed {fast[0]}{_others(fast)} by more than {FAST:.0%}: the "
            f"learning rate is high for the end of a training."
        )
    # A frozen layer has no gradient; that it does not change is no finding.
    slow = [
        name
        for name, share in newest["update"].items()
        if share < SLOW and name in newest["gradient"]
    ]
    if slow and len(slow) < len(newest["update"]):
        sentences.append(
            f"The last step changed {slow[0]}{_others(slow)} by less than "
            f"{SLOW:g} of its weights: it hardly learns."
        )
    return sentences


def _layers(count: int) -> str:
    return "One layer has" if count == 1 else f"{count} layers have"


def _others(names: list[str]) -> str:
    count = len(names) - 1
    return "" if not count else f" and {count} other layer{'s' if count > 1 else ''}"
