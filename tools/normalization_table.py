"""This tool writes the tables of docs/normalization.md: agreement, large means, scale invariance.

    python -m tools.normalization_table

It needs PyTorch for its columns. Tests compute the same numbers again and compare the page with
them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels, nn

from . import normalization_cases as cases
from . import normalization_runs as runs

PAGE = Path(__file__).resolve().parents[1] / "docs" / "normalization.md"
KINDS = ("forward", "backward", "running")
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}


# ------------------------------------------------------------------------------------ agreement


def errors(case: runs.Case, reference: Any) -> list[float | None]:
    """Return the errors of forward, backward and running statistics, in float32 and then in
    float64.
    """
    result: list[float | None] = []
    for dtype in TOLERANCE:
        got, expected = runs.ours(case, dtype), reference(case, dtype)
        result += [
            runs.error(got[kind], expected[kind]) if expected[kind] else None for kind in KINDS
        ]
    return result


def agreement() -> str:
    """Return the largest error over ten steps of each normalization and option."""
    lines = [
        "| norm, option | compared with | forward | backward | running | forward, float64 | "
        "backward, float64 | running, float64 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases.cases():
        found = errors(case, runs.expected)
        reference = "formula"
        if case.torch is not None:
            reference = "formula, PyTorch"
            found = [
                None if one is None or other is None else max(one, other)
                for one, other in zip(found, errors(case, runs.pytorch), strict=True)
            ]
        cells = ["–" if value is None else _short(value) for value in found]
        lines.append(f"| {case.name} | {reference} | {' | '.join(cells)} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------- large means

RATIOS = (1, 100, 1000, 10000)  # mean / std
VALUES = 7680  # the number of values of a channel


def variance_errors() -> dict[str, list[float]]:
    """Return the largest relative error of the variance of 64 channels, for each ratio of mean and
    standard deviation; also of PyTorch's, where it is loaded.
    """
    result: dict[str, list[float]] = {}
    for ratio in RATIOS:
        rng = np.random.default_rng(ratio)
        x = (rng.normal(size=(VALUES, 64)) + ratio).astype(np.float32)
        exact = x.astype(np.float64).var(axis=0)
        naive = (x * x).mean(axis=0) - x.mean(axis=0) ** 2  # computed in float32 throughout
        found = {
            "minidl": kernels.batch_stats(x)[1],
            "E[x²] − E[x]²": naive,
            "Flax, fast variance": np.maximum(naive, 0),
        }
        if "torch" in sys.modules:
            found["PyTorch"] = _torch_variance(x)
        for name, var in found.items():
            result.setdefault(name, []).append(float(np.abs(var / exact - 1).max()))
    return result


def _torch_variance(x: np.ndarray) -> np.ndarray:
    """Return the variance that PyTorch's batch normalization computes, which becomes its running
    variance.
    """
    import torch

    var = torch.ones(x.shape[1])
    torch.nn.functional.batch_norm(
        torch.tensor(x), torch.zeros(x.shape[1]), var, training=True, momentum=1.0
    )
    return var.numpy() * ((len(x) - 1) / len(x))


def large_means() -> str:
    head = " | ".join(f"{ratio:,}" for ratio in RATIOS)
    lines = [f"| mean / std | {head} |", "|---" * (len(RATIOS) + 1) + "|"]
    for name, row in variance_errors().items():
        lines.append(f"| {name} | {' | '.join(_short(e) for e in row)} |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------- scale invariance

SCALES = (1e-3, 1e-2, 0.1, 10, 100, 1e3)


def scale_errors(eps: float) -> list[tuple[float, float, float]]:
    """Compare BN((aW)u) with BN(Wu) in float64 for each a: return how far the outputs, the
    gradients of u and a times the gradient of aW are from those at a = 1, relative to their maxima.
    """
    rng = np.random.default_rng(0)
    u, w, dy = rng.normal(size=(32, 8)), rng.normal(size=(8, 6)), rng.normal(size=(32, 6))

    def run(a: float) -> list[np.ndarray]:
        inputs, weight = md.tensor(u, requires_grad=True), md.tensor(a * w, requires_grad=True)
        y = md.batch_norm(inputs @ weight, None, None, training=True, eps=eps)
        y.backward(dy)
        assert inputs.grad is not None and weight.grad is not None
        return [y.data, inputs.grad, a * weight.grad]

    one = run(1)
    return [
        tuple(
            runs.error([got], [want])  # type: ignore[misc]
            for got, want in zip(run(a), one, strict=True)
        )
        for a in SCALES
    ]


def scale_invariance() -> str:
    lines = [
        "| a | eps | BN((aW)u) | gradient of u | a × gradient of aW |",
        "|---|---|---|---|---|",
    ]
    for eps in (0.0, 1e-5):
        lines += [
            f"| {a:g} | {eps:g} | {' | '.join(_short(e) for e in row)} |"
            for a, row in zip(SCALES, scale_errors(eps), strict=True)
        ]
    return "\n".join(lines)


def bias_gradient() -> float:
    """Return the gradient of a bias before a BatchNorm in float64, relative to the sum of the
    absolute values that cancel in it. It is a rounding error.
    """
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(64, 8)), rng.normal(size=(64, 6))
    dense, norm = nn.Dense(8, 6).astype(np.float64), nn.BatchNorm(6).astype(np.float64)
    y = dense(x)
    y.retain_grad()
    norm(y).backward(dy)
    assert dense.bias is not None and dense.bias.grad is not None and y.grad is not None
    return float((np.abs(dense.bias.grad) / np.abs(y.grad).sum(axis=0)).max())


# --------------------------------------------------------------------------------------- the page


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")


def sections() -> dict[str, str]:
    """Return the tables by the names of their places in the page."""
    return {
        "agreement": agreement(),
        "large means": large_means(),
        "scale invariance": scale_invariance(),
    }


def parts(page: str) -> dict[str, str]:
    """Return the tables that the page has now."""
    return dict(re.findall(r"<!-- table: (.*?) -->\n(.*?)\n<!-- end -->", page, re.DOTALL))


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table below its head."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def main() -> None:
    """Write new tables into the page."""
    import torch  # noqa: F401 - the columns of PyTorch are made where it is loaded

    page = PAGE.read_text()
    for name, table in sections().items():
        page = re.sub(
            rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)",
            lambda m, table=table: m[1] + table + m[2],  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
