"""This fuzzer runs random small networks (forward, backward and two optimizer steps) and compares
them with float64.

A case is {"input": shape, "layers": [...], "optimizer": name, ...}, of which `fuzz.network` makes a
model. The reference is the twins in float64, where every intermediate result is read, so that
nothing is fused. Native runs must give the same outputs, gradients, parameters and running
statistics, in float64 and float32, fused and not; and also in evaluation mode, folded and not.

The bound on a difference is a multiple of what happens to the reference when its parameters and
inputs are perturbed by some rounding errors.
"""

import warnings
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .draw import Draw
from .network import Network, random_layers
from .values import Invalid
from .watch import Fault, Watch, place_of

MOVED = 100  # the number of rounding errors by which inputs and parameters are perturbed
TIMES = 3
# If that does not explain a difference, perturbations by one rounding error are added.
MORE_TIMES = 12
Figures = dict[str, np.ndarray]


def make(draw: Draw) -> dict[str, Any]:
    """Return a network, its input and how it is trained."""
    flat = draw.chance(0.2)
    n = draw.pick(1, 2, 3, 4, 8)
    shape = (
        [max(2, n), draw.size(40, 1)]
        if flat
        else [n, draw.size(17, 2), draw.size(17, 2), draw.pick(1, 2, 3, 4, 8, 16, 16, 32)]
    )
    if not flat and draw.chance(0.15):  # sequences
        shape = [n, draw.integer(1, 6), draw.size(12, 1)]
    return {
        "input": shape,
        "seed": draw.integer(0, 9999),
        "layers": random_layers(draw),
        "optimizer": draw.pick("SGD", "SGD", "Adam", "RMSprop", "Adagrad", "LARS"),
        "loss": draw.pick("square", "weighted", "cross_entropy"),
        "values": draw.pick("normal", "normal", "offset", "whole"),
        "threads": draw.pick(1, 2, 3),
    }


def title(case: dict[str, Any]) -> str:
    """Return the title that a finding of this case is filed under: its layers."""
    return "-".join(sorted({layer["op"] for layer in case["layers"]}))[:60]


def describe(case: dict[str, Any]) -> str:
    """Return a description of the case in one line."""
    layers = ", ".join(
        layer["op"] + "".join(f" {k}={v}" for k, v in layer.items() if k != "op")
        for layer in case["layers"]
    )
    return f"{case['input']} {case['loss']} {case['optimizer']}: {layers}"


def run(case: dict[str, Any], watch: Watch) -> str:
    """Run a case. Return "agrees", or why there is nothing to compare."""
    if len(case["input"]) < 2 or min(case["input"]) < 1:
        raise Invalid("no input")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with watch.reference():
            try:
                want = figures(case, np.float64, "numpy", read=True)
            except (ValueError, IndexError) as error:
                return f"refused: {type(error).__name__}"
            if not all(np.isfinite(a).all() for a in want.values()):
                return "not finite"
        runs = [
            ("float64 fused", np.float64, False),
            ("float64", np.float64, True),
            ("float32 fused", np.float32, False),
            ("float32", np.float32, True),
        ]
        bounds: dict[Any, Figures] = {}
        for name, dtype, read in runs:
            try:
                got = figures(case, dtype, "native", read)
            except Exception as error:
                raise Fault(
                    "refused", f"{name}: {type(error).__name__}: {error}", place_of(error)
                ) from None
            if dtype not in bounds:
                with watch.reference():
                    bounds[dtype] = _bounds(case, want, dtype)
            try:
                compare(name, got, want, bounds[dtype])
            except Fault:
                with watch.reference():
                    wider = _widened(case, want, dtype)
                compare(name, got, want, wider)
    return "agrees"


def compare(name: str, got: Figures, want: Figures, bounds: Figures) -> None:
    """Raise Fault unless all figures are within the bounds."""
    for key, right in want.items():
        value = got[key]
        if value.shape != right.shape:
            raise Fault("shape", f"{name}: {key} is {value.shape}, right {right.shape}", name)
        bad = ~(np.abs(value - right) <= bounds[key])
        if bad.any():
            at = tuple(map(int, np.argwhere(bad)[0]))
            raise Fault(
                "difference",
                f"{name}: {key}: {int(bad.sum())} of {bad.size}; at {at} "
                f"{value[at]!r}, right {right[at]!r}, bound {bounds[key]!r}",
                f"{name.split()[0]} {key.split()[0]}",
            )


def _bounds(
    case: dict[str, Any],
    want: Figures,
    dtype: Any,
    errors: tuple[int, ...] = (MOVED,),
    draws: range = range(TIMES),
) -> Figures:
    """Return how far each figure may be from the reference in this dtype: by the effect of
    perturbations of so many rounding errors, each drawn several times.
    """
    eps = float(np.finfo(dtype).eps)
    moved = [
        figures(case, np.float64, "numpy", read=True, noise=error * eps, draw=i)
        for error in errors
        for i in draws
    ]
    bounds = {}
    # The gradient of a bias before a normalization is 0, except for the rounding errors of what
    # cancels.
    scale: dict[str, float] = {}
    for key, right in want.items():
        kind = key.partition(" ")[0].partition("-")[0]
        scale[kind] = max(scale.get(kind, 0.0), float(np.abs(right).max(initial=0.0)))
    for key, right in want.items():
        far = max(
            (
                float(np.abs(m[key] - right).max(initial=0.0))
                for m in moved
                if m[key].shape == right.shape
            ),
            default=0.0,
        )
        largest = scale[key.partition(" ")[0].partition("-")[0]]
        bounds[key] = np.float64(8 * far + 2 * MOVED * eps * (largest + 0.1))
    return bounds


def _widened(case: dict[str, Any], want: Figures, dtype: Any) -> Figures:
    """Return bounds from more perturbations, and from a few times the error of the unfused twins in
    this dtype.

    If rounding takes a value across the kink of a ReLU, gradients change by leaps, and only some
    perturbations take it across. And some gradients are 0 in float64 whatever the arguments are,
    because equal terms cancel: after a normalization of a single value, for example, whose factor 1
    / sqrt(eps) is large. Only the twins show the error of these.
    """
    bounds = _bounds(case, want, dtype, (1, MOVED), range(TIMES, TIMES + MORE_TIMES))
    rounded = figures(case, dtype, "numpy", read=True)
    return {
        key: bounds[key] + 8 * np.abs(rounded[key] - right).max(initial=0.0)
        if key in rounded and rounded[key].shape == right.shape
        else bounds[key]
        for key, right in want.items()
    }


def figures(
    case: dict[str, Any], dtype: Any, backend: str, read: bool, noise: float = 0.0, draw: int = 0
) -> Figures:
    """Return all figures that a run computes, by name."""
    rng = np.random.default_rng(case["seed"])
    shift = np.random.default_rng(draw + 1)

    def moved(a: np.ndarray) -> np.ndarray:
        return a * (1 + noise * shift.choice([-1.0, 1.0], a.shape)) if noise else a

    x = rng.standard_normal(case["input"])
    x = {"offset": x + 3, "whole": np.round(2 * x)}.get(case["values"], x).astype(np.float32)
    md.manual_seed(case["seed"])
    md.set_num_threads(case["threads"])
    found: Figures = {}
    with md.use_backend("numpy"):  # so that all runs start alike
        model = Network(case["layers"], x.shape)
    with md.use_backend(backend), np.errstate(all="ignore"):
        model.astype(np.float64)
        for p in model.parameters():
            p.data = moved(p.data + 0.1 * rng.standard_normal(p.shape).astype(np.float32))
        model.astype(dtype)
        x = moved(x.astype(np.float64)).astype(dtype)
        weights = list(model.parameters())
        options: dict[str, Any] = {"momentum": 0.9} if case["optimizer"] in ("SGD", "LARS") else {}
        kind = getattr(optim, case["optimizer"])
        stepper = kind(weights, lr=0.01, **options) if weights else None
        for step in range(2):
            given = md.Tensor(x, requires_grad=True)
            y = model.run(given, read)
            loss = _loss(case, y, step)
            loss.backward()
            found[f"loss {step}"] = np.float64(loss.item())
            found[f"output {step}"] = np.asarray(y.data, np.float64)
            found[f"gradient-x {step}"] = np.asarray(given.grad, np.float64)
            # Adam and similar optimizers divide by the root of the squares, so that what is 0
            # becomes anything.
            if step == 0 or case["optimizer"] in ("SGD", "LARS"):
                for name, p in model.named_parameters():
                    if p.grad is not None:
                        found[f"gradient {name} {step}"] = np.asarray(p.grad, np.float64)
            if stepper is None or case["optimizer"] not in ("SGD", "LARS"):
                break
            stepper.step()
            stepper.zero_grad()
        for name, value in model.state_dict().items():
            if "running" in name:
                found[f"state {name}"] = np.asarray(value, np.float64)
        model.eval()
        with md.no_grad():
            found["eval"] = np.asarray(model.run(md.Tensor(x), read).data, np.float64)
            found["predict"] = np.asarray(model.predict(x, batch_size=len(x)), np.float64)
            if not read and any(layer["op"] == "norm" for layer in case["layers"]):
                try:
                    folded = nn.fold(model, md.Tensor(x))
                except ValueError:  # nothing can be folded, or the check refuses it
                    return found
                found["predict"] = np.asarray(folded.predict(x), np.float64)
    return found


def _loss(case: dict[str, Any], y: md.Tensor, step: int) -> md.Tensor:
    rng = np.random.default_rng(case["seed"] + 1 + step)
    if case["loss"] == "cross_entropy" and y.ndim == 2:
        return md.cross_entropy(y, rng.integers(0, y.shape[-1], y.shape[0]))
    if case["loss"] == "square":
        return (y * y).mean()
    return (y * md.Tensor(rng.standard_normal(y.shape).astype(y.dtype))).sum()


__all__ = ["Invalid", "describe", "make", "run", "title"]
