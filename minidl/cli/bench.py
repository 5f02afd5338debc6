"""`minidl bench`: measure the inference time of a model, compiled and in evaluation mode."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .shared import Numbers, load_model, set_threads, threads_option

if TYPE_CHECKING:
    import numpy as np

    from ..nn.layer import Layer

SLICES = 4  # the two variants alternate in slices, so that both see the same load of the machine
WARM_UP = 0.1  # seconds of calls before each slice that are not counted
LEAST = 3  # least number of calls in a slice, however long they take
ROW = "{:>6}  {:<15}  {:>8}  {:>9}  {:>9}  {:>9}  {:>10}"


@click.command(no_args_is_help=True)
@click.argument("run_or_model")
@click.option(
    "--batch",
    type=Numbers("batches"),
    default="1,128",
    show_default=True,
    metavar="N,N...",
    help="Batch size; several sizes are separated by commas.",
)
@click.option(
    "--input",
    "shape",
    type=Numbers("shape", 1, 2, 3),
    metavar="H,W,C",
    help="Shape of an image. [default: the model's]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 3600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds of measuring for each line of the table.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the table.")
@threads_option
def bench(
    run_or_model: str,
    batch: int | list[int],
    shape: int | list[int] | None,
    seconds: float,
    as_json: bool,
    threads: int | None,
) -> None:
    """Measure the inference time of a model, compiled and in evaluation mode.

    RUN_OR_MODEL is a run's folder, whose best model is used, a model's file, or a model's name such
    as resnet20, with random weights. The images are random. For each batch size and both variants
    the table shows the shortest, median and 99th percentile time of a call, and images per second.

    \b
    minidl bench runs/photos
    minidl bench resnet20 --batch 1,8,64 --threads 1
    """
    from .. import machine

    set_threads(threads)
    chosen = None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    model, input_shape = _model(run_or_model, chosen)
    lines, difference = [], 0.0
    for size in [batch] if isinstance(batch, int) else batch:
        found, far = _both(model, input_shape, size, seconds)
        lines += found
        difference = max(difference, far)
    about = machine.facts()
    if as_json:
        print(
            json.dumps(
                {
                    "model": run_or_model,
                    "input_shape": input_shape,
                    "machine": about,
                    "difference": difference,
                    "lines": lines,
                },
                indent=1,
            )
        )
        return
    print(
        f"{run_or_model}, images of {' x '.join(map(str, input_shape))}\n"
        f"{about['cpu']}, up to {_threads(about['threads'])}, kernels {about['kernels']}, minidl "
        f"{about['minidl']}\n"
    )
    print(ROW.format("batch", "model", "calls", "shortest", "median", "99%", "images/s"))
    for line in lines:
        print(
            ROW.format(
                line["batch"],
                line["model"],
                line["calls"],
                *(_text(line[name]) for name in ("min", "p50", "p99")),
                f"{line['images_per_second']:,.0f}",
            )
        )
    print(
        f"\nThe outputs of the two variants differ by at most {difference:.0e} of the largest "
        f"output."
    )
    fewest = min(line["threads"] for line in lines)
    if fewest < int(about["threads"]):
        print(
            f"Some calls ran on {_threads(fewest)} only, since other processes use the CPUs: the "
            f"times would be shorter on an idle machine."
        )


def _model(given: str, shape: tuple[int, ...] | None) -> tuple[Layer, tuple[int, ...]]:
    """Return the model of a name, a path or a run, and the shape of its images."""
    from ..models import create, names

    model: Any
    if given in names() and not os.path.exists(given):
        model = create(given, **({} if shape is None else {"input_shape": shape}))
    elif os.path.exists(given):
        model = load_model(given).model
    else:
        raise click.UsageError(
            f"RUN_OR_MODEL: there is no run or model {given!r}, and it is none of "
            f"{', '.join(names())}"
        )
    shape = model.input_shape if shape is None else shape
    if shape is None:
        raise click.UsageError("--input: the model does not say the shape of its input")
    return model, shape


def _both(
    model: Layer, shape: tuple[int, ...], batch: int, seconds: float
) -> tuple[list[dict[str, Any]], float]:
    """Measure both variants for a batch size. Returns a line of figures for each, and the largest
    difference of their outputs relative to the largest output."""
    import numpy as np

    from ..compiled import compile

    x = np.random.default_rng(0).random((batch, *shape), np.float32).astype(model._dtype())
    compiled = compile(model, x)
    result = compiled(x)
    if not isinstance(result, np.ndarray):
        raise click.UsageError(
            f"bench needs a model with one output, and {type(model).__name__} "
            f"returns a {type(result).__name__}"
        )
    expected = model.predict(x, batch)
    variants: dict[str, Callable[[], np.ndarray]] = {
        "compiled": lambda: compiled(x),
        "evaluation mode": lambda: model.predict(x, batch),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    threads: dict[str, list[int]] = {name: [] for name in variants}
    for _ in range(SLICES):
        for name, run in variants.items():
            found, fewest = _measure(run, seconds / SLICES)
            times[name] += found
            threads[name].append(fewest)
    rows = []
    for name in variants:
        figures = _figures(times[name], batch)
        rows.append({"batch": batch, "model": name, **figures, "threads": min(threads[name])})
    return rows, float(np.abs(result - expected).max() / max(np.abs(expected).max(), 1e-30))


def _measure(run: Callable[[], Any], seconds: float) -> tuple[list[float], int]:
    """Return the times of single calls, and the smallest number of threads available to a call."""
    from .. import kernels

    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP:
        run()
    times: list[float] = []
    fewest = kernels.thread_count()
    end = time.perf_counter() + seconds
    while len(times) < LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        fewest = min(fewest, kernels.thread_count())
    return times, fewest


def _figures(times: list[float], batch: int) -> dict[str, Any]:
    """Return the statistics of calls. The 99th percentile of fewer than 100 is the longest one."""
    ranked = sorted(times)

    def percentile(share: float) -> float:
        return ranked[math.ceil(share * len(ranked)) - 1]

    return {
        "calls": len(ranked),
        "min": ranked[0],
        "p50": percentile(0.5),
        "p99": percentile(0.99),
        "images_per_second": batch * len(ranked) / sum(ranked),
    }


def _text(seconds: float) -> str:
    """Format a time in milliseconds, with at least three significant digits."""
    ms = seconds * 1e3
    return f"{ms:.{3 if ms < 1 else 2 if ms < 100 else 0}f} ms"


def _threads(count: int | str) -> str:
    return f"{count} thread{'' if int(count) == 1 else 's'}"
