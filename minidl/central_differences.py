"""`gradcheck`, which compares the gradients of a function with central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import checks
from .backward import grad
from .grad_mode import no_grad
from .tensor import Tensor


def gradcheck(
    f: Callable[..., Any],
    inputs: Sequence[Any] | Tensor,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> bool:
    """Compare the gradients of f with central differences; return True, or raise AssertionError.

    `f` takes the tensors in `inputs` and returns a tensor or a tuple of them. Inputs that require a
    gradient are checked: |difference| <= atol + rtol max(1, largest gradient). Outputs are weighted
    by fixed random numbers, so that one backward checks every output. A kink of f within eps of an
    input is reported as an error although the gradient may be right.

    TypeError unless the checked inputs are float64, ValueError if no input requires a gradient, or
    for an eps that is not above 0 and tolerances below 0.

    >>> x = md.tensor([0.5, 2.], dtype=np.float64, requires_grad=True)
    >>> md.gradcheck(md.exp, x)
    True
    """
    checks.positive(eps, "gradcheck", "eps")
    checks.not_negative(rtol, "gradcheck", "rtol")
    checks.not_negative(atol, "gradcheck", "atol")
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [t for t in ins if isinstance(t, Tensor) and t._requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient")
    for t in checked:
        if t.dtype != np.float64:
            raise TypeError(f"gradcheck: needs float64 inputs, got {t.dtype}")
    weights: list[np.ndarray] = []

    def run() -> tuple[list[Tensor], float]:
        result = f(*ins)
        outs = list(result) if isinstance(result, tuple | list) else [result]
        outs = [t for t in outs if isinstance(t, Tensor) and t.dtype.kind == "f"]
        if not weights:
            rng = np.random.default_rng(0)
            weights.extend(rng.uniform(0.5, 1.5, t.shape) for t in outs)
        return outs, sum(float((t.data * w).sum()) for t, w in zip(outs, weights, strict=True))

    outs, _ = run()
    tracked = [k for k, t in enumerate(outs) if t._requires_grad]
    got = grad([outs[k] for k in tracked], checked, [weights[k] for k in tracked])
    for k, (t, analytic) in enumerate(zip(checked, got, strict=True)):
        numeric = np.empty(t.shape)
        values = t.data
        for index in np.ndindex(t.shape):
            keep = values[index]
            sides = []
            for step in (eps, -eps):
                values[index] = keep + step
                with no_grad():
                    sides.append(run()[1])
            values[index] = keep
            numeric[index] = (sides[0] - sides[1]) / (2 * eps)
        error = np.abs(analytic - numeric)
        bound = atol + rtol * max(1.0, float(np.abs(numeric).max(initial=0)))
        if not (error <= bound).all():
            worst = np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)
            raise AssertionError(
                f"gradcheck: input {k} at {tuple(int(i) for i in worst)}: backward gives "
                f"{analytic[worst]:.9g}, central differences {numeric[worst]:.9g}"
            )
    return True
