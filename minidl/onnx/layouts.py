"""Finds which inputs and outputs of a graph are images, in which order minidl has their axes, and
where images are flattened for a dense layer.

An input is an image if it comes to an operator of images (a convolution, a pool) through operators
that leave the places of values alone; an output is one if it comes from such an operator in the
same way. An input or output that the file itself transposes between (N, C, H, W) and (N, H, W, C)
is an image too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .operators import OPERATORS
from .operators.elementwise import ELEMENTWISE
from .operators.pools import POOLS
from .steps import Step
from .values import Axes, channels_last

LAYOUTS = ("NHWC", "NCHW")  # in which a caller may have images
TO_LAST = (0, 2, 3, 1)
Order = Axes | None | str  # "last": channels last, whatever the number of axes; None: no image
# A step beside a value; whether it takes or makes the value as its image; the values on its other
# side; and, of a Transpose, which axis of the value each of their axes is.
Neighbour = tuple[Step, bool, Sequence[str | None], Axes | None]


def consumers_of(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """The steps that take each value."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.inputs:
            if name is not None:
                found.setdefault(name, []).append(step)
    return found


def producers_of(steps: Iterable[Step]) -> dict[str, Step]:
    """The step that makes each value."""
    return {name: step for step in steps for name in step.outputs if name is not None}


def order_of_input(name: str, consumers: dict[str, list[Step]]) -> Order:
    """The order of axes that the nearest operator of images among an input's consumers wants;
    "last" for channels last; None if there is no such operator."""

    def following(value: str) -> Iterator[Neighbour]:
        for step in consumers.get(value, ()):
            yield step, step.inputs[0] == value, step.outputs, _perm(step)

    return _nearest_order(name, following)


def order_of_output(name: str, producers: dict[str, Step]) -> Order:
    """The order of axes in which the nearest operator of images among an output's producers has
    made it; "last" for channels last; None if there is no such operator."""

    def preceding(value: str) -> Iterator[Neighbour]:
        step = producers.get(value)
        if step is not None:
            inputs = [
                None if known is not None else given
                for given, known in zip(step.inputs, step.known, strict=False)
            ]
            perm = _perm(step)
            yield step, True, inputs, perm and tuple([perm.index(k) for k in range(len(perm))])

    return _nearest_order(name, preceding)


def _nearest_order(name: str, neighbours: Callable[[str], Iterable[Neighbour]]) -> Order:
    """A breadth-first walk from a value of the graph's border to the nearest operator of images,
    through operators that leave the places of values alone."""
    waiting: list[tuple[str, Axes | None]] = [(name, None)]
    seen = {name}
    while waiting:
        value, axes = waiting.pop(0)  # axis k of `value` is axis axes[k] of `name`
        for step, through, others, perm in neighbours(value):
            kind = _kind(step)
            if kind == "images" and through:
                return (
                    "last" if axes is None else tuple([axes[a] for a in channels_last(len(axes))])
                )
            beyond = axes
            if step.operator == "Transpose":
                if perm is None or (axes is not None and len(perm) != len(axes)):
                    continue
                beyond = perm if axes is None else tuple([axes[a] for a in perm])
            elif kind != "any":
                continue
            for other in others:
                if other is not None and other not in seen:
                    seen.add(other)
                    waiting.append((other, beyond))
    turned = any(
        step.operator == "Transpose" and perm == TO_LAST for step, _, _, perm in neighbours(name)
    )
    return TO_LAST if turned else None


def _kind(step: Step) -> str | None:
    """What a step does with the order of axes, as `Operator.places` says. None for a reduction that
    removes axes, since its result has others."""
    return OPERATORS[step.operator].places if step.get("keepdims", 1) else None


def _perm(step: Step) -> Axes | None:
    """The permutation of a Transpose; None where it is not known, and for other operators."""
    if step.operator != "Transpose":
        return None
    if step.get("perm") is not None:
        return tuple(step.get("perm"))
    shape = step.shapes[0]
    return None if shape is None else tuple(range(len(shape)))[::-1]


def flattened_images(
    step: Step, consumers: dict[str, list[Step]], producers: dict[str, Step]
) -> tuple[Step, int] | None:
    """The Gemm or MatMul that alone takes the rows which `step` makes of images, and the images'
    number of channels. None if the step makes no such rows, if other steps take them as well, or if
    the number of channels is not known.

    Such rows may keep the order in which minidl has the values of an image, if the rows of the
    weights are put in that order too: no value of an image has to move then."""
    if (
        step.operator not in ("Flatten", "Reshape")
        or step.inputs[0] is None
        or step.get("axis", 1) != 1
        or order_of_output(step.inputs[0], producers) != "last"
    ):
        return None
    channels = _channels(step.inputs[0], producers)
    name = step.outputs[0]
    while channels and name is not None and len(consumers.get(name, ())) == 1:
        consumer = consumers[name][0]
        if consumer.operator in ("Gemm", "MatMul"):
            return (consumer, channels) if consumer.inputs[0] == name else None
        if (
            consumer.operator not in ELEMENTWISE
            or consumer.operator == "PRelu"
            or consumer.makes(1)
            or consumer.inputs[0] != name
        ):
            return None
        name = consumer.outputs[0]
    return None


def _channels(name: str | None, producers: dict[str, Step]) -> int | None:
    """How many channels images have, as far as weights of the file tell. A wrong answer would only
    cost a transpose."""
    while name is not None and name in producers:
        step = producers[name]
        weight = step.known[1] if len(step.known) > 1 else None
        if step.operator in ("Conv", "BatchNormalization", "InstanceNormalization"):
            return weight.shape[0] if weight is not None and weight.ndim else None
        if step.operator == "ConvTranspose":
            if weight is None or weight.ndim < 2:
                return None
            channels: int = weight.shape[1] * step.get("group", 1)
            return channels
        if step.operator not in (*ELEMENTWISE, *POOLS, "Add"):
            return None
        name = step.inputs[0]
    return None
