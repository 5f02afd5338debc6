"""This module has an optimizer with two groups, and the rates that a schedule gives it."""

import numpy as np

from minidl import nn, optim

RATES = [0.5, 2.0]


def optimizer(rates=RATES):
    return optim.SGD([{"params": nn.Parameter(np.zeros(1)), "lr": rate} for rate in rates], lr=9)


def run(schedule, count):
    """Return the rates at the start and after each step: (count + 1, groups)."""
    rates = [schedule.lr]
    for _ in range(count):
        schedule.step()
        rates.append(schedule.lr)
    return np.array(rates)
