"""E05: does batch normalization whiten its input? It leaves all correlations between units alone.

To whiten is to make the covariance the identity: variances 1, and no correlations. Batch
normalization treats each unit on its own, which gives the variances and cannot touch a
correlation. The paper says so: full whitening costs an eigenvalue problem, and "each scalar
feature independently" is its simplification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..identities import HIDDEN, digits, into, network, normalized, positive, worst
from ..verdict import Verdict

UNCHANGED, UNCORRELATED = 1e-6, 0.1  # the bounds of the rule
SHOWN = 120  # pairs of a kind that are plotted


class Whitened(Experiment):
    id = "E05"
    title = "Whitened inputs"
    claim = "Batch normalization whitens its input."
    notes = "E"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3: each feature by itself"
    setup = (
        "{images} MNIST images as one batch, float64: the pixels that vary, and what goes "
        "into the three normalizations of the untrained MLP (784-100-100-100-10, sigmoid). "
        "Correlations of all pairs of units before and after batch normalization, and after "
        "whitening with the inverse root of the covariance."
    )
    rule = (
        f"The correlations of all pairs are unchanged to {UNCHANGED:g}, and the largest after "
        f"it is above {UNCORRELATED:g}, in every seed: REFUTED. The largest after it at most "
        f"{UNCORRELATED:g} in every seed: SUPPORTED. Else, or where one is no number: "
        "INCONCLUSIVE."
    )
    paper = '"we will normalize each scalar feature independently"'
    expected = Verdict.REFUTED
    explanation = (
        "Batch normalization makes the variance of each unit 1 and leaves every "
        "correlation where it was: what whitening does to a covariance's diagonal, it "
        "does; the rest of the matrix, which whitening sets to 0, stays. Neighbouring "
        "pixels are as alike after it as before. The paper gives up full whitening on "
        "purpose: of d units it needs a d x d eigenvalue problem and its gradient at "
        "every step, and far more examples than units."
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
            "hidden units": [into(model, name, images) for name in HIDDEN],
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
            positive(
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
    """Of each pair of columns, once."""
    centred = x - x.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=0))
    return (centred.T @ centred)[np.triu_indices(x.shape[1], 1)]


def spread(values: np.ndarray) -> np.ndarray:
    """The places of some values that are spread evenly from the least to the largest."""
    order = np.argsort(values)
    wanted = np.linspace(values.min(), values.max(), SHOWN)
    return order[np.searchsorted(values[order], wanted)]


def whitened(x: np.ndarray) -> np.ndarray:
    """Columns of variance 1 without correlations: by the inverse root of their covariance."""
    centred = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    return centred @ (vectors / np.sqrt(values)) @ vectors.T
