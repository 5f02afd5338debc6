"""`minidl bench`: how fast a model answers, compiled and in evaluation mode."""

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

SLICES = 4  # in which the two take turns, so that both see the same phases of the machine
WARM_UP = 0.1  # seconds of calls before each slice, which are not counted
LEAST = 3  # calls in a slice, whatever they take
ROW = "{:>6}  {:<15}  {:>8}  {:>9}  {:>9}  {:>9}  {:>10}"


@click.command(no_args_is_help=True)
@click.argument("run_or_model")
@click.option(
    "--batch",
    type=Numbers("batches"),
    default="1,128",
    show_default=True,
    metavar="N,N...",
    help="Images in a call; several sizes with commas.",
)
@click.option(
    "--input",
    "shape",
    type=Numbers("shape", 1, 2, 3),
    metavar="H,W,C",
    help="The shape of an image. [default: that of the model]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 3600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Of calls for each line of the table.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object, and nothing else, on stdout.")
@threads_option
def bench(
    run_or_model: str,
    batch: int | list[int],
    shape: int | list[int] | None,
    seconds: float,
    as_json: bool,
    threads: int | None,
) -> None:
    """Measure how fast a model answers: compiled, and beside it in evaluation mode.

    RUN_OR_MODEL is a run's folder, of which the best model is taken, a model's file, or a name, as
    resnet20, with random weights. The images are random. For each size of batch and each of the
    two: the shortest call, the median, the 99th percentile (99 of 100 calls take no longer), and
    images a second.

    \b
    minidl bench runs/photos
    minidl bench resnet20 --batch 1,8,64 --threads 1
    """
    from .. import machine

    set_threads(threads)
    asked = None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    model, input_shape = _model(run_or_model, asked)
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
    print(f"\nThe outputs of the two differ by at most {difference:.0e} of the largest.")
    fewest = min(line["threads"] for line in lines)
    if fewest < int(about["threads"]):
        print(
            f"Some calls ran on {_threads(fewest)}, since other processes use the CPUs: the "
            f"times are not those of a quiet machine."
        )


def _model(given: str, asked: tuple[int, ...] | None) -> tuple[Layer, tuple[int, ...]]:
    """The model of a name, a path or a run, and the shape of its images."""
    from ..models import create, names

    model: Any
    if given in names() and not os.path.exists(given):
        model = create(given, **({} if asked is None else {"input_shape": asked}))
    elif os.path.exists(given):
        model = load_model(given).model
    else:
        raise click.UsageError(
            f"there is no run or model {given!r}, and it is none of {', '.join(names())}"
        )
    return model, model.input_shape if asked is None else asked


def _both(
    model: Layer, shape: tuple[int, ...], batch: int, seconds: float
) -> tuple[list[dict[str, Any]], float]:
    """The figures of both ways for a batch, and how far their outputs are apart, of the largest."""
    import numpy as np

    from ..compiled import compile

    x = np.random.default_rng(0).random((batch, *shape), np.float32).astype(model._dtype())
    compiled = compile(model, x)
    one = compiled(x)
    if not isinstance(one, np.ndarray):
        raise click.UsageError(
            f"bench needs a model with one output, and {type(model).__name__} "
            f"returns a {type(one).__name__}"
        )
    other = model.predict(x, batch)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "compiled": lambda: compiled(x),
        "evaluation mode": lambda: model.predict(x, batch),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    threads: dict[str, list[int]] = {way: [] for way in ways}
    for _ in range(SLICES):
        for way, run in ways.items():
            found, fewest = _measure(run, seconds / SLICES)
            times[way] += found
            threads[way].append(fewest)
    rows = []
    for way in ways:
        figures = _figures(times[way], batch)
        rows.append({"batch": batch, "model": way, **figures, "threads": min(threads[way])})
    return rows, float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-30))


def _measure(run: Callable[[], Any], seconds: float) -> tuple[list[float], int]:
    """The times of single calls, and the fewest threads that one could have."""
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
    """What is said of calls: of fewer than 100, the 99th percentile is the longest."""
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
    """A time in milliseconds, with three digits or more."""
    ms = seconds * 1e3
    return f"{ms:.{3 if ms < 1 else 2 if ms < 100 else 0}f} ms"


def _threads(count: int | str) -> str:
    return f"{count} thread{'' if int(count) == 1 else 's'}"
