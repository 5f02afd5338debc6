"""What is different while a profile is on: a few entry points are other functions, which tell the
thread's recorder. Without a profile nothing of minidl knows of this.

They are replaced for the whole process as long as any thread has a profile; in other threads they
only look whether they have a recorder.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import Any

from .. import backward, kernels
from ..graph import Function
from ..lazy import Lazy
from ..locks import lock
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from ..tracers import profilers
from .recorder import BACKWARD, OPTIMIZER, Recorder, join, spans_of

_lock = lock()
_replaced: list[tuple[Any, str, Any]] = []  # (owner, name, what stood there)

recorders: dict[int, Recorder] = profilers  # type: ignore[assignment]


def on(profile: int, thread: int) -> Recorder:
    """Record for a profile, given by its id, what a thread does from now on."""
    with _lock:
        recorder = recorders.get(thread)
        if recorder is None:
            recorder = Recorder()
        recorder.profiles.add(profile)
        if not _replaced:
            kernels.surround(_kernel)
            for owner, name, around in ENTRIES:
                before = vars(owner)[name]
                _replaced.append((owner, name, before))
                setattr(owner, name, around(before))
        recorders[thread] = recorder
        return recorder


def off(profile: int) -> None:
    """Record nothing more for a profile. After the last one all entry points are what they were.

    Whatever state an interruption has left, a call of it once more leaves nothing switched on."""
    with _lock:
        for thread, recorder in list(recorders.items()):
            recorder.profiles.discard(profile)
            if not recorder.profiles:
                recorders.pop(thread, None)
                recorder.close()
        if not recorders:
            while _replaced:
                owner, name, before = _replaced[-1]
                setattr(owner, name, before)
                _replaced.pop()
            kernels.surround(None)


# ------------------------------------------------------------------- what stands in their places


def _kernel(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None or recorder.paused:
            return kernel(*args, **options)
        span = recorder.begin("kernel", name)
        try:
            results = kernel(*args, **options)
        finally:
            span.end = perf_counter_ns()
        recorder.kernel(span, args, options, results)
        return results

    return call


def _apply(before: Any) -> Any:
    plain = before.__func__  # of a classmethod

    def apply(cls: Any, *inputs: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return plain(cls, *inputs, **options)
        lazy = None
        for x in inputs:
            if isinstance(x, Tensor) and x._array is None:
                lazy = x._lazy
                break
        span = recorder.begin("operation", cls.__name__)
        try:
            result = plain(cls, *inputs, **options)
        finally:
            span.end = perf_counter_ns()
        recorder.operation(span, cls, inputs, lazy, result)
        return result

    return classmethod(apply)


def _call(before: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Layer, *inputs: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return before(self, *inputs, **options)
        around, recorder.layer = recorder.layer, self
        if around is None:
            recorder.roots[id(self)] = self
        span = recorder.begin("layer", "")
        try:
            return before(self, *inputs, **options)
        finally:
            span.end = perf_counter_ns()
            recorder.layer = around

    return __call__


def _compute(before: Callable[[Lazy], Any]) -> Callable[[Lazy], Any]:
    def compute(self: Lazy) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None or (self._made is not None and self._made() is not None):
            return before(self)
        parts = spans_of(self)
        if not parts:  # made before the profile: the time is that of who asks for it
            return before(self)
        join(parts)
        span = recorder.begin("compute", parts[-1].label)
        span.parts, span.layer, span.calls = parts, parts[0].layer, 0
        try:
            return before(self)
        finally:
            span.end = perf_counter_ns()

    return compute


def _walk(before: Callable[..., Any]) -> Callable[..., Any]:
    def _walk(*args: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return before(*args, **options)
        phase, recorder.phase = recorder.phase, BACKWARD
        depth = len(recorder.gradients)
        span = recorder.begin("walk", "walk back")
        try:
            return before(*args, **options)
        finally:
            span.end = perf_counter_ns()
            recorder.phase = phase
            del recorder.gradients[depth:]  # of a walk that has failed

    return _walk


def _step(before: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Optimizer) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return before(self)
        with recorder.part(f"{type(self).__name__}.step", OPTIMIZER):
            return before(self)

    return step


# (owner, name, what makes another function of the one that stands there)
ENTRIES: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (Function, "apply", _apply),
    (Layer, "__call__", _call),
    (Lazy, "compute", _compute),
    (backward, "_walk", _walk),
    (Optimizer, "step", _step),
)
