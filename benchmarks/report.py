"""Tables and pictures of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def time_text(seconds: float) -> str:
    """Seconds in a readable unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def rate_text(row: dict[str, Any]) -> str:
    """What the native side achieves, where that is known."""
    return f"{row['rate']:.0f} {row['unit']}" if row["unit"] else ""


def line(row: dict[str, Any]) -> str:
    """One row of the table, in Markdown."""
    native, numpy = row["native"], row["numpy"]
    return (f"| {row['case']} | {time_text(native['median'])} ±{native['spread'] * 100:.0f}% "
            f"| {time_text(numpy['median'])} ±{numpy['spread'] * 100:.0f}% "
            f"| **{row['ratio']:.1f}x** | {row['ratio_min']:.1f}-{row['ratio_max']:.1f} "
            f"| {rate_text(row)} |")


HEADER = ("| | native | NumPy | ratio | rounds | native achieves |\n"
          "|---|---|---|---|---|---|")


def losses_text(rows: list[dict[str, Any]]) -> list[str]:
    """The first losses of both sides of each train step: they did the same work."""
    texts = []
    for row in rows:
        if row["losses"]["native"]:
            ours, theirs = (", ".join(f"{v:.5f}" for v in row["losses"][side])
                            for side in ("native", "numpy"))
            texts.append(f"{row['case']}: first losses native {ours}; NumPy {theirs}")
    return texts


def draw(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """A bar per case: how many times faster than NumPy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = sorted(rows, key=lambda row: row["ratio"])
    figure, axes = plt.subplots(figsize=(9, 1 + 0.24 * len(rows)), layout="constrained")
    ratios = [row["ratio"] for row in rows]
    errors = [[r - row["ratio_min"] for r, row in zip(ratios, rows, strict=True)],
              [row["ratio_max"] - r for r, row in zip(ratios, rows, strict=True)]]
    colors = ["tab:orange" if row["case"].startswith("train step") else "tab:blue"
              for row in rows]
    axes.barh([row["case"] for row in rows], ratios, xerr=errors, color=colors,
              error_kw={"elinewidth": 0.8})
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times faster than NumPy (train steps in orange)")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
