"""Which normalization a model has and where: what its arguments `norm` and `norm_position` mean.

`Norms` makes the layers of a model, `norm_relu` runs them. What the names stand for is said to
users in the docstring of `minidl.models`. Nothing here is kept in a model but the position, so
that a model with a function for `norm` can be pickled whatever that function is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import checks, nn, ops
from ..tensor import Tensor

NAMES = ("batch", "layer", "group", "instance", "none")
POSITIONS = ("before", "after")
MOST_GROUPS = 8

Made = TypeVar("Made", bound=nn.Layer)
Norm = str | Callable[[int], nn.Layer]


class Norms:
    """Makes the normalization layers of a model, and the layers whose outputs they normalize.

    `model`: its name, for errors. ValueError for an unknown name or position, TypeError for a
    `norm` that is neither a name nor a function, or a function that returns no layer.
    """

    def __init__(self, model: str, norm: Norm, position: str) -> None:
        if isinstance(norm, str):
            if norm not in NAMES:
                raise ValueError(
                    f"{model}: norm must be {_listed(NAMES)} or a function of the "
                    f"number of features, got {norm!r}"
                )
        elif isinstance(norm, nn.Layer) or not callable(norm):
            raise TypeError(
                f"{model}: norm must be a name or a function of the number of "
                f"features that makes a layer, got {type(norm).__name__}"
            )
        checks.choice(position, model, "norm_position", POSITIONS)
        self.model, self.norm, self.position = model, norm, position

    def normalized(
        self, kind: Callable[..., Made], *sizes: Any, relu: bool = True, **options: Any
    ) -> tuple[Made, nn.Layer]:
        """The layer kind(*sizes, **options) and the normalization for its output.

        The layer has a bias unless a normalization follows it directly, which cancels it or has
        a beta in its place. `relu`: whether a ReLU stands beside the normalization; without one
        the normalization follows directly in both positions.
        """
        norm = self.layer(sizes[1], flat=kind is nn.Dense)
        return kind(*sizes, **options, bias=self.needs_bias(norm, relu)), norm

    def needs_bias(self, norm: nn.Layer, relu: bool = True) -> bool:
        """Whether a layer before this normalization has a bias: see `normalized`."""
        return isinstance(norm, nn.Identity) or (relu and self.position == "after")

    def layer(self, features: int, flat: bool = False) -> nn.Layer:
        """A normalization layer. `flat`: of features without positions, which an instance
        normalization has nothing to average over in: there is none then."""
        if not isinstance(self.norm, str):
            made = self.norm(features)
            if not isinstance(made, nn.Layer):
                raise TypeError(
                    f"{self.model}: norm must be a function that makes a layer, but "
                    f"for {features} features it made {type(made).__name__}"
                )
            return made
        if self.norm == "batch":
            return nn.BatchNorm(features)
        if self.norm == "layer":
            return nn.LayerNorm(features)
        if self.norm == "group":
            # Of at least two features: one alone, without positions, would be its own mean.
            groups = max(
                g
                for g in range(1, MOST_GROUPS + 1)
                if features % g == 0 and (g == 1 or features // g > 1)
            )
            return nn.GroupNorm(groups, features)
        if self.norm == "instance" and not flat:
            return nn.InstanceNorm(features, affine=True)
        return nn.Identity()


def norm_relu(norm: nn.Layer, x: Tensor, position: str, residual: Tensor | None = None) -> Tensor:
    """relu(norm(x)), or norm(relu(x)) with the position "after"; with a residual
    relu(norm(x) + residual), or norm(relu(x + residual))."""
    if position == "after":
        return norm(ops.relu(x if residual is None else x + residual))
    # One expression on the normalization's output: BatchNorm then runs with both in one pass.
    return ops.relu(norm(x) if residual is None else norm(x) + residual)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names[:-1]) + f' or "{names[-1]}"'
