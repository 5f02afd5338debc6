"""The tables, pictures and files of results are made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save(folder: Path, name: str, results: dict[str, Any]) -> None:
    """Save results as <name>.json in the folder, which is made if it does not exist, and print the
    path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(results, indent=1))
    print(f"saved {path}")


def time_text(seconds: float) -> str:
    """Return a number of seconds in a readable unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def spread_text(figures: dict[str, Any]) -> str:
    return f"{time_text(figures['median'])} ±{figures['spread'] * 100:.0f}%"


def range_text(figures: dict[str, Any]) -> str:
    low, high = time_text(figures["min"]), time_text(figures["max"])
    return f"{time_text(figures['median'])} ({low} - {high})"


def rate_text(row: dict[str, Any]) -> str:
    """Return the rate that our side achieves, if it is known."""
    return f"{row['rate']:.0f} {row['unit']}" if row["unit"] else ""


def line(cells: list[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def table(head: list[str], rows: list[list[str]] | None = None) -> str:
    """Return a table in Markdown, or its head if the lines are printed later."""
    return "\n".join(map(line, [head, ["---"] * len(head), *(rows or [])]))


def rates(row: dict[str, Any], can: dict[str, float]) -> None:
    """Add the rate that our side achieves, and its share of the peak, to a row with `work` and
    `unit`.
    """
    row["rate"] = row["work"] / row["ours"]["median"] / 1e9
    peak = {"GFLOP/s": "FMA GFLOP/s", "GB/s": "copy GB/s"}.get(row["unit"])
    row["share"] = row["rate"] / can[peak] if peak in can else None


# Against NumPy

NUMPY_HEAD = ["", "native", "NumPy", "ratio", "rounds", "native achieves"]


def numpy_cells(row: dict[str, Any]) -> list[str]:
    numpy = row["others"]["numpy"]
    ratio = numpy["ratio"]
    return [
        row["case"],
        spread_text(row["ours"]),
        spread_text(numpy),
        f"**{ratio['median']:.1f}x**",
        f"{ratio['min']:.1f}-{ratio['max']:.1f}",
        rate_text(row),
    ]


def losses_text(rows: list[dict[str, Any]]) -> list[str]:
    """Return the first losses of both sides of each train step, which show that they did the same
    work.
    """
    texts = []
    for row in rows:
        if row["losses"]["ours"]:
            ours, theirs = (
                ", ".join(f"{v:.5f}" for v in row["losses"][side]) for side in ("ours", "numpy")
            )
            texts.append(f"{row['case']}: first losses native {ours}; NumPy {theirs}")
    return texts


def draw(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """Draw a bar for each case: how many times faster it is than NumPy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = sorted(rows, key=lambda row: row["others"]["numpy"]["ratio"]["median"])
    ratios = [row["others"]["numpy"]["ratio"] for row in rows]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.24 * len(rows)), layout="constrained")
    errors = [[r["median"] - r["min"] for r in ratios], [r["max"] - r["median"] for r in ratios]]
    colors = ["tab:orange" if row["case"].startswith("train step") else "tab:blue" for row in rows]
    axes.barh(
        [row["case"] for row in rows],
        [r["median"] for r in ratios],
        xerr=errors,
        color=colors,
        error_kw={"elinewidth": 0.8},
    )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times faster than NumPy (train steps in orange)")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# Kernels against the machine, PyTorch and NumPy

KERNEL_HEAD = ["", "minidl", "achieves", "of peak", "PyTorch", "ratio", "NumPy", "ratio"]


def kernel_cells(row: dict[str, Any]) -> list[str]:
    cells = [
        row["case"],
        spread_text(row["ours"]),
        rate_text(row),
        "" if row["share"] is None else f"{row['share'] * 100:.0f}%",
    ]
    for name in ("torch", "numpy"):
        other = row["others"].get(name)
        cells += [spread_text(other), f"**{other['ratio']['median']:.1f}x**"] if other else ["", ""]
    return cells


# Train steps against PyTorch

TORCH_HEAD = [
    "",
    "minidl",
    "PyTorch, its fastest",
    "mode",
    "ratio",
    "rounds",
    "minidl's memory",
    "PyTorch's",
    "of PyTorch's",
]


def torch_cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of one case beside the fastest mode of PyTorch."""
    peer = row["others"][row["peer"]]
    ratio = peer["ratio"]
    ours, theirs = (row["peak_bytes"][side] for side in ("ours", row["peer"]))
    return [
        row["case"],
        range_text(row["ours"]),
        range_text(peer),
        row["peer"],
        f"**{ratio['median']:.2f}x**",
        f"{ratio['min']:.2f}-{ratio['max']:.2f}",
        f"{ours / 2**20:.0f} MiB",
        f"{theirs / 2**20:.0f} MiB",
        f"{ours / theirs:.2f}",
    ]


def modes_cells(row: dict[str, Any], modes: list[str]) -> list[str]:
    """Return the median and the peak memory of each mode of PyTorch."""

    def cell(mode: str) -> str:
        if mode in row["failed"]:
            return "fails"
        if mode not in row["others"]:
            return ""
        return (
            f"{time_text(row['others'][mode]['median'])}, {row['peak_bytes'][mode] / 2**20:.0f} MiB"
        )

    return [row["case"], *(cell(mode) for mode in modes)]


def agreement_text(row: dict[str, Any]) -> str:
    """Return the losses of both sides, and whether they differ by rounding only."""

    def some(losses: list[float]) -> str:
        return ", ".join(f"{v:.5f}" for v in losses[:3]) + f" ... {losses[-1]:.5f}"

    losses, found = row["losses"], row["agreement"]
    nchw, exact = found["from_nchw"], found["from_float64"]
    return "\n".join(
        [
            f"{row['case']}, on {row['images']}: losses of {len(losses['ours'])} steps",
            f"  minidl          {some(losses['ours'])}",
            f"  PyTorch NCHW    {some(losses['NCHW'])}",
            f"  PyTorch float64 {some(losses['float64'])}",
            f"  relative distance from NCHW: minidl {nchw['ours']:.1e}, channels_last "
            f"{nchw['channels_last']:.1e}: {'agrees' if found['agrees'] else 'DOES NOT AGREE'}",
            f"  relative distance from float64: minidl {exact['ours']:.1e}, NCHW "
            f"{exact['NCHW']:.1e}, channels_last {exact['channels_last']:.1e}: "
            f"{'as exact' if found['as_exact'] else 'LESS EXACT'}",
        ]
    )


NORM_HEAD = ["", "minidl", "GB/s", "of copying", "PyTorch, its fastest", "mode", "ratio", "rounds"]


def norm_cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of BatchNorm with ReLU beside the fastest mode of PyTorch."""
    _, ours, theirs, mode, ratio, rounds, *_ = torch_cells(row)
    return [
        row["case"],
        ours,
        f"{row['rate']:.0f}",
        f"{row['share'] * 100:.0f}%",
        theirs,
        mode,
        ratio,
        rounds,
    ]


def scaling_cells(row: dict[str, Any]) -> list[str]:
    """Return the cells that compare all threads with one."""
    one = row["others"]["1 thread"]
    ratio = one["ratio"]
    return [
        row["case"],
        range_text(row["ours"]),
        range_text(one),
        f"**{ratio['median']:.2f}x**",
        f"{ratio['min']:.2f}-{ratio['max']:.2f}",
        "yes" if row["same_losses"] else "NO",
    ]
