"""Verdicts, and the intervals that they are derived from.

A claim states in which region a figure lies. It is SUPPORTED if the figure's interval lies wholly
in this region, REFUTED if the interval lies wholly outside of it, and INCONCLUSIVE otherwise or
without an interval. An identity needs no interval: it holds or it does not.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95  # the confidence level of the intervals
RESAMPLES = 9999  # the number of bootstrap resamples


class Verdict(enum.StrEnum):
    """The outcome of an experiment for its claim."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure over the seeds and the ends of its confidence interval, which are NaN if there is
    none. `count` is the number of seeds."""

    value: float
    low: float
    high: float
    count: int = 0

    def __mul__(self, factor: float) -> Interval:
        """Convert the figure to another unit, such as a share to percent, by a positive factor."""
        return Interval(factor * self.value, factor * self.low, factor * self.high, self.count)

    __rmul__ = __mul__

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def interval(values: Sequence[float], statistic: Callable[..., Any] = np.mean) -> Interval:
    """Return a statistic of the values of the seeds, with its 95% bootstrap interval by percentiles
    (Efron 1979).

    values:    one value for each seed; for paired arms the differences
    statistic: a function of (values, axis=...), by default the mean

    The ends of the interval are NaN for fewer than two values and if a value is not finite. For two
    or three seeds the interval is the range of the values, since even with three each of the 27
    equally likely resamples has a probability above 2.5%. The mean of very many seeds lies in such
    an interval less often than 95 times in 100. Raises ImportError without SciPy.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            f"interval: values must be one number for each seed, got shape {array.shape}"
        )
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
    """Return the verdict on "the figure is larger than the bound"."""
    return _where(found.low > bound, found.high <= bound)


def at_least(found: Interval, bound: float) -> Verdict:
    """Return the verdict on "the figure is equal to the bound or larger"."""
    return _where(found.low >= bound, found.high < bound)


def below(found: Interval, bound: float) -> Verdict:
    """Return the verdict on "the figure is smaller than the bound"."""
    return _where(found.high < bound, found.low >= bound)


def at_most(found: Interval, bound: float) -> Verdict:
    """Return the verdict on "the figure is equal to the bound or smaller"."""
    return _where(found.high <= bound, found.low > bound)


def within(found: Interval, low: float, high: float) -> Verdict:
    """Return the verdict on "the figure lies between the bounds, or on one of them"."""
    return _where(low <= found.low and found.high <= high, found.high < low or found.low > high)


def identity(holds: bool) -> Verdict:
    """Return the verdict on an exact statement, which holds or does not."""
    return Verdict.SUPPORTED if holds else Verdict.REFUTED


def every(first: Verdict, *others: Verdict) -> Verdict:
    """Return the verdict on "all of these statements hold": it is refuted if one of them is."""
    verdicts = (first, *others)
    if Verdict.REFUTED in verdicts:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.SUPPORTED


def some(first: Verdict, *others: Verdict) -> Verdict:
    """Return the verdict on "one of these statements holds": it is refuted if all of them are."""
    return opposite(every(opposite(first), *map(opposite, others)))


def opposite(verdict: Verdict) -> Verdict:
    """Return the verdict on the negation of a statement."""
    return {Verdict.SUPPORTED: Verdict.REFUTED, Verdict.REFUTED: Verdict.SUPPORTED}.get(
        verdict, verdict
    )


def _where(there: bool, elsewhere: bool) -> Verdict:
    if there:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if elsewhere else Verdict.INCONCLUSIVE
