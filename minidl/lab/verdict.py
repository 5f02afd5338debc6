"""Verdicts, and the intervals that they follow from.

A claim says where a figure lies. Its interval wholly there: SUPPORTED; wholly elsewhere: REFUTED;
else, or where there is no interval: INCONCLUSIVE. An identity needs no interval: it holds or not.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95  # of the intervals
RESAMPLES = 9999


class Verdict(enum.StrEnum):
    """What is found of a sentence."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure over the seeds, with the interval that it lies in; NaN where there is none."""

    value: float
    low: float
    high: float
    count: int = 0

    def __mul__(self, factor: float) -> Interval:
        """The figure in another unit, as a share in percent; the factor is above 0."""
        return Interval(factor * self.value, factor * self.low, factor * self.high, self.count)

    __rmul__ = __mul__

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def interval(values: Sequence[float], statistic: Callable[..., Any] = np.mean) -> Interval:
    """The statistic of one value a seed, with its 95% bootstrap interval (percentiles; Efron 1979).

    Of paired arms, give the differences. `statistic(values, axis=...)`. The interval is NaN for
    fewer than two values or where one is NaN. Of two or three seeds it is the range of them, as
    the least of 27 equally likely resamples has a probability above 2.5%: the mean of very many
    seeds would lie in it less often than 95 times in 100. ImportError without SciPy.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"interval: values must be one number a seed, got shape {array.shape}")
    value = float(statistic(array, axis=-1))
    if len(array) < 2 or not np.isfinite(array).all():
        return Interval(value, math.nan, math.nan, len(array))
    if (array == array[0]).all():
        return Interval(value, value, value, len(array))
    from scipy.stats import bootstrap

    found = bootstrap(
        (array,),
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high), len(array))


# ---------------------------------------------------------------------------- where a figure lies


def above(found: Interval, bound: float) -> Verdict:
    """The figure is larger than the bound."""
    return _where(found.low > bound, found.high <= bound)


def at_least(found: Interval, bound: float) -> Verdict:
    """The figure is the bound or larger."""
    return _where(found.low >= bound, found.high < bound)


def below(found: Interval, bound: float) -> Verdict:
    """The figure is smaller than the bound."""
    return _where(found.high < bound, found.low >= bound)


def at_most(found: Interval, bound: float) -> Verdict:
    """The figure is the bound or smaller."""
    return _where(found.high <= bound, found.low > bound)


def within(found: Interval, low: float, high: float) -> Verdict:
    """The figure lies between two bounds, or on one."""
    return _where(low <= found.low and found.high <= high, found.high < low or found.low > high)


def identity(holds: bool) -> Verdict:
    """What is exact, and either so or not."""
    return Verdict.SUPPORTED if holds else Verdict.REFUTED


def every(first: Verdict, *others: Verdict) -> Verdict:
    """A sentence with several parts holds if all do, and fails if one does."""
    verdicts = (first, *others)
    if Verdict.REFUTED in verdicts:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.SUPPORTED


def some(first: Verdict, *others: Verdict) -> Verdict:
    """A sentence of which one part is enough holds if one does, and fails if all do."""
    return opposite(every(opposite(first), *map(opposite, others)))


def opposite(verdict: Verdict) -> Verdict:
    """That of the sentence's denial."""
    return {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}.get(
        verdict, verdict
    )


def _where(there: bool, elsewhere: bool) -> Verdict:
    if there:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if elsewhere else Verdict.INCONCLUSIVE
