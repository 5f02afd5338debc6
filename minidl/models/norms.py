"""The normalization of models: the implementation of their arguments `norm` and `norm_position`.

`Norms` creates the layers of a model, `norm_relu` applies them. The docstring of `minidl.models`
explains the names to users. A model keeps only the position, and not the function that may be given
as `norm`, so that it can be pickled whatever that function is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import checks, nn, ops
from ..tensor import Tensor

NAMES = ("batch", "layer", "group", "instance", "none")
EXPECTED = (
    f"""{", ".join(f'"{name}"' for name in NAMES)}, or a function of the number of features that """
    f"returns a layer"
)
POSITIONS = ("before", "after")
MOST_GROUPS = 8

Made = TypeVar("Made", bound=nn.Layer)
Norm = str | Callable[[int], nn.Layer]


class Norms:
    """Creates the normalization layers of a model, and the layers whose outputs they normalize.

    model: the name of the model, for errors

    ValueError for an unknown name or position, TypeError for a `norm` that is neither a name nor a
    function, or a function that does not return a layer.
    """

    def __init__(self, model: str, norm: Norm, position: str) -> None:
        if isinstance(norm, str):
            if norm not in NAMES:
                raise ValueError(checks.message(model, "norm", EXPECTED, norm))
        elif isinstance(norm, nn.Layer) or not callable(norm):
            raise TypeError(checks.message(model, "norm", EXPECTED, norm))
        checks.choice(position, model, "norm_position", POSITIONS)
        self.model, self.norm, self.position = model, norm, position

    def normalized(
        self, kind: Callable[..., Made], *sizes: Any, relu: bool = True, **options: Any
    ) -> tuple[Made, nn.Layer]:
        """Create the layer kind(*sizes, **options) and the normalization for its output.

        relu: whether the model has a ReLU before or after the normalization. Without one, the
              normalization directly follows the layer in both positions

        The layer has no bias if the normalization directly follows it, since the normalization
        would subtract the bias or adds its own beta.
        """
        norm = self.layer(sizes[1], flat=kind is nn.Dense)
        return kind(*sizes, **options, bias=self.needs_bias(norm, relu)), norm

    def needs_bias(self, norm: nn.Layer, relu: bool = True) -> bool:
        """Return whether the layer before a normalization has a bias (see `normalized`)."""
        return isinstance(norm, nn.Identity) or (relu and self.position == "after")

    def layer(self, features: int, flat: bool = False) -> nn.Layer:
        """Create a normalization layer.

        flat: whether the features have no positions, as those of a dense layer. Instance
              normalization is left out then, since it averages over positions
        """
        if not isinstance(self.norm, str):
            made = self.norm(features)
            if not isinstance(made, nn.Layer):
                raise TypeError(
                    f"{self.model}: norm must return a layer, but for {features} features it "
                    f"returned a {type(made).__name__}"
                )
            return made
        if self.norm == "batch":
            return nn.BatchNorm(features)
        if self.norm == "layer":
            return nn.LayerNorm(features)
        if self.norm == "group":
            # A group needs two features: a single one without positions would equal its own mean.
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
    """Return relu(norm(x)), or norm(relu(x)) with the position "after". With a residual they are
    relu(norm(x) + residual) and norm(relu(x + residual))."""
    if position == "after":
        return norm(ops.relu(x if residual is None else x + residual))
    # Written as one expression, so that BatchNorm, the sum and the ReLU are fused into one pass.
    return ops.relu(norm(x) if residual is None else norm(x) + residual)
