"""E05: does batch normalization whiten its input?

Whitening makes the covariance matrix the identity: all variances are 1, and no units are
correlated. Batch normalization treats each unit separately, which gives the right variances but
cannot change a correlation. The paper says so: whitening requires solving an eigenvalue problem,
and normalizing "each scalar feature independently" is a simplification of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..identities import HIDDEN, digits, exact_verdict, input_of, network, normalized, worst
from ..verdict import Verdict

UNCHANGED = 1e-6  # a smaller change of a correlation counts as none
UNCORRELATED = 0.1  # a smaller correlation counts as none
SHOWN = 120  # the number of pairs of each kind that are plotted


class Whitened(Experiment):
    id = "E05"
    title = "Whitened inputs"
    claim = "Batch normalization whitens its input."
    notes = "E"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3: each feature is normalized separately"
    setup = (
        "{images} MNIST images as one batch, float64: the pixels that vary, and the inputs of "
        "the three normalizations in the untrained MLP (784-100-100-100-10, sigmoid). The "
        "correlations of all pairs of units are computed before batch normalization, after it, "
        "and after whitening by the inverse square root of the covariance matrix."
    )
    rule = (
        "REFUTED if in every seed no correlation of a pair changes by more than "
        f"{UNCHANGED:g}, and the largest one after batch normalization is above "
        f"{UNCORRELATED:g}. SUPPORTED if in every seed the largest one after it is at most "
        f"{UNCORRELATED:g}. INCONCLUSIVE otherwise, and if a correlation is NaN."
    )
    paper = '"we will normalize each scalar feature independently"'
    expected = Verdict.REFUTED
    explanation = (
        "Batch normalization makes the variance of each unit 1 and does not change any "
        "correlation. Like whitening it sets the diagonal of the covariance matrix to 1, but "
        "it does not set the other elements to 0. Neighbouring pixels are as strongly "
        "correlated after it as before. The paper gives up full whitening on purpose: for d "
        "units it would need to solve a d x d eigenvalue problem and to backpropagate "
        "through it at every step, and it would need far more examples than units."
    )
    needs = ("mnist",)
    minutes = 0.03
    full = {"images": 4000}
    quick = {"images": 1500}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        images, _ = digits(settings["images"], seed)
        model = network(seed)
        flat = images.reshape(len(images), -1)
        kinds = {
            "pixels": [flat[:, flat.std(axis=0) > 0]],
            "hidden units": [input_of(model, name, images) for name in HIDDEN],
        }
        result: dict[str, Any] = {"pairs": {}, "median": {}, "largest": {}}
        changes = []
        for kind, inputs in kinds.items():
            before = np.concatenate([correlations(x) for x in inputs])
            after = np.concatenate([correlations(normalized(x)) for x in inputs])
            changes.append(np.abs(before - after).max())
            shown = spread(before)
            result["pairs"][kind] = [before[shown], after[shown]]
            result["median"][kind] = float(np.median(np.abs(after)))
            result["largest"][kind] = float(np.abs(after).max())
        white = np.concatenate([correlations(whitened(x)) for x in kinds["hidden units"]])
        before = np.concatenate([correlations(x) for x in kinds["hidden units"]])
        shown = spread(before)
        result["pairs"]["whitened"] = [before[shown], white[shown]]
        return {**result, "change": float(np.max(changes)), "whitened": float(np.abs(white).max())}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        change = worst(seeds, "change")
        largest = [float(np.max(list(seed["largest"].values()))) for seed in seeds]
        least, most = np.min(largest), np.max(largest)
        kinds = list(seeds[0]["median"])
        return Judgement(
            exact_verdict(
                supports=np.isfinite(change) and most <= UNCORRELATED,
                refutes=change <= UNCHANGED and least > UNCORRELATED,
            ),
            f"No correlation between two units changes by more than {change:.0e}; the largest is "
            f"{least:.3f}.",
            {
                "largest change of a correlation": change,
                **{
                    f"{kind}: largest |correlation| after it": float(
                        np.max([seed["largest"][kind] for seed in seeds])
                    )
                    for kind in kinds
                },
                **{
                    f"{kind}: median |correlation| after it": float(
                        np.mean([seed["median"][kind] for seed in seeds])
                    )
                    for kind in kinds
                },
                "hidden units, whitened: largest |correlation|": worst(seeds, "whitened"),
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(("correlation of two units, before", "after"))
        for kind, label, colour in (
            ("pixels", "BatchNorm, pixels", plots.GREY),
            ("hidden units", "BatchNorm, hidden units", plots.A),
            ("whitened", "whitening, hidden units", plots.B),
        ):
            before, after = (
                np.concatenate([seed["pairs"][kind][place] for seed in seeds]) for place in (0, 1)
            )
            ax.plot(
                before,
                after,
                color=colour,
                linestyle="none",
                marker="o",
                markersize=3,
                alpha=0.6,
                label=label,
            )
        ax.axline((0, 0), slope=1, color=plots.MUTED, linewidth=0.8, zorder=0)
        plots.legend(ax, 1)
        return figure


def correlations(x: np.ndarray) -> np.ndarray:
    """Return the correlation of each pair of columns, each pair once."""
    centred = x - x.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=0))
    return (centred.T @ centred)[np.triu_indices(x.shape[1], 1)]


def spread(values: np.ndarray) -> np.ndarray:
    """Return the indices of `SHOWN` values that cover the range from the smallest to the largest
    value evenly."""
    order = np.argsort(values)
    wanted = np.linspace(values.min(), values.max(), SHOWN)
    return order[np.searchsorted(values[order], wanted)]


def whitened(x: np.ndarray) -> np.ndarray:
    """Return the columns whitened by the inverse square root of their covariance matrix."""
    centred = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    return centred @ (vectors / np.sqrt(values)) @ vectors.T
