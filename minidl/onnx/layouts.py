"""Which inputs and outputs of a graph are images, and in which order minidl has their axes; and
where images are flattened for a dense layer.

An input is one if it comes to an operator of images (a convolution, a pool) through operators that
leave the places of values alone, an output if it comes from one in the same way; and so is what the
file itself turns from (N, C, H, W) to (N, H, W, C), or back, at its border.
"""

from __future__ import annotations

from collections.abc import Iterable

from .operators import OPERATORS
from .operators.elementwise import ELEMENTWISE
from .operators.pools import POOLS
from .steps import Step
from .values import Axes, channels_last

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
Order = Axes | None | str       # "last": channels last, whatever the number of axes; None: no image


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
    """The order of axes that the first operator of images which an input comes to wants; "last" for
    channels last; None if it comes to none."""
    waiting: list[tuple[str, Axes | None]] = [(name, None)]
    seen = {name}
    while waiting:
        current, called = waiting.pop(0)        # its axis k is axis called[k] of the input
        for step in consumers.get(current, ()):
            kind = _kind(step)
            if kind == "images" and step.inputs[0] == current:
                if called is None:
                    return "last"
                return tuple([called[a] for a in channels_last(len(called))])
            then = called
            if step.operator == "Transpose":
                perm = _perm(step)
                if perm is None or (called is not None and len(perm) != len(called)):
                    continue
                then = perm if called is None else tuple([called[a] for a in perm])
            elif kind != "any":
                continue
            for output in step.outputs:
                if output is not None and output not in seen:
                    seen.add(output)
                    waiting.append((output, then))
    turned = any(s.operator == "Transpose" and _perm(s) == TO_LAST for s in consumers.get(name, ()))
    return TO_LAST if turned else None


def order_of_output(name: str, producers: dict[str, Step]) -> Order:
    """The order of axes in which an operator of images has made an output; "last" for channels
    last; None if none has."""
    waiting: list[tuple[str, Axes | None]] = [(name, None)]
    seen = {name}
    while waiting:
        current, after = waiting.pop(0)         # its axis after[k] is axis k of the output
        step = producers.get(current)
        if step is None:
            continue
        kind = _kind(step)
        if kind == "images":
            if after is None:
                return "last"
            return tuple([after.index(a) for a in channels_last(len(after))])
        then = after
        if step.operator == "Transpose":
            perm = _perm(step)
            if perm is None or (after is not None and len(perm) != len(after)):
                continue
            then = perm if after is None else tuple([perm[a] for a in after])
        elif kind != "any":
            continue
        for k, given in enumerate(step.inputs):
            if given is not None and given not in seen and step.known[k] is None:
                seen.add(given)
                waiting.append((given, then))
    step = producers.get(name)
    turned = step is not None and step.operator == "Transpose" and _perm(step) == TO_FIRST
    return TO_LAST if turned else None


def _kind(step: Step) -> str | None:
    """What a step does with places; a reduction that takes axes away has a result of other ones."""
    return OPERATORS[step.operator].places if step.get("keepdims", 1) else None


def _perm(step: Step) -> Axes | None:
    if step.get("perm") is not None:
        return tuple(step.get("perm"))
    shape = step.shapes[0]
    return None if shape is None else tuple(range(len(shape)))[::-1]


def flattened_images(step: Step, consumers: dict[str, list[Step]], producers: dict[str, Step]
                     ) -> tuple[Step, int] | None:
    """For a step that makes rows of images, the only one that takes these, a Gemm or a MatMul, and
    the number of channels; None if that is not known, or others take the rows too.

    Such rows may keep the order in which minidl has the values of an image, if the weights have it
    too: nothing is moved then."""
    if (step.operator not in ("Flatten", "Reshape") or step.inputs[0] is None
            or step.get("axis", 1) != 1 or order_of_output(step.inputs[0], producers) != "last"):
        return None
    channels = _channels(step.inputs[0], producers)
    name = step.outputs[0]
    while channels and name is not None and len(consumers.get(name, ())) == 1:
        after = consumers[name][0]
        if after.operator in ("Gemm", "MatMul"):
            return (after, channels) if after.inputs[0] == name else None
        if (after.operator not in ELEMENTWISE or after.operator == "PRelu" or after.makes(1)
                or after.inputs[0] != name):
            return None
        name = after.outputs[0]
    return None


def _channels(name: str | None, producers: dict[str, Step]) -> int | None:
    """How many channels images have, as far as weights of the file tell. (A wrong answer would only
    cost a transpose.)"""
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
