"""Switch profiling on and off by replacing a few entry points with wrappers that report to the
thread's recorder. So code outside of this package has no cost without a profile.

The entry points are replaced for the whole process as long as any thread has a profile. In threads
without a profile the wrappers only look for a recorder and call the original.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import Any

import numpy as np

from .. import backward, kernels
from ..graph import Function
from ..lazy import Lazy
from ..locks import lock
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from ..tracers import profilers
from . import work
from .recorder import BACKWARD, OPTIMIZER, SMALL, Recorder, Span, join, spans_of

_lock = lock()
_replaced: list[tuple[Any, str, Any]] = []  # (owner, name, original attribute)

recorders: dict[int, Recorder] = profilers  # type: ignore[assignment]


def on(profile: int, thread: int) -> Recorder:
    """Start recording a thread for a profile, given by its id. Returns the thread's recorder."""
    with _lock:
        recorder = recorders.get(thread)
        if recorder is None:
            recorder = Recorder()
        recorder.profiles.add(profile)
        if not _replaced:
            kernels.surround(_kernel)
            for owner, name, wrap in ENTRIES:
                original = vars(owner)[name]
                _replaced.append((owner, name, original))
                setattr(owner, name, wrap(original))
        recorders[thread] = recorder
        return recorder


def off(profile: int) -> None:
    """Stop recording for a profile. After the last profile, all entry points are restored.

    If Ctrl-C interrupts this function at any point, another call completes it."""
    with _lock:
        for thread, recorder in list(recorders.items()):
            recorder.profiles.discard(profile)
            if not recorder.profiles:
                recorders.pop(thread, None)
                recorder.close()
        if not recorders:
            while _replaced:
                owner, name, original = _replaced[-1]
                setattr(owner, name, original)
                _replaced.pop()
            kernels.surround(None)


# ----------------------------------------------------------------------------------- the wrappers


def _kernel(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    flops = work.FLOPS.get(name)

    # The wrapper calls as few functions as it can: each runs from cold caches, after a kernel that
    # has read and written megabytes.
    def call(*args: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None or recorder.paused:
            return kernel(*args, **options)
        span = Span("kernel", name, recorder.layer, recorder.phase)
        recorder.log.append(span)
        try:
            results = kernel(*args, **options)
        finally:
            span.end = perf_counter_ns()
        if flops is not None:
            span.flops = flops(results, *args, **options)
        span.bytes, shapes = work.bytes_and_shapes(name, args, options, results)
        span.shapes = recorder.shapes.setdefault(shapes, shapes)
        if type(results) is tuple:
            for array in results:
                recorder.hold(array, span)
        elif type(results) is np.ndarray and results.nbytes >= SMALL:
            recorder.hold(results, span)
        return results

    return call


def _apply(original: Any) -> Any:
    plain = original.__func__  # `apply` is a classmethod

    def apply(cls: Any, *inputs: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return plain(cls, *inputs, **options)
        lazy = None
        for x in inputs:
            if isinstance(x, Tensor) and x._array is None:
                lazy = x._lazy
                break
        span = Span("operation", cls.__name__, recorder.layer, recorder.phase)
        recorder.log.append(span)
        try:
            result = plain(cls, *inputs, **options)
        finally:
            span.end = perf_counter_ns()
        recorder.operation(span, cls, inputs, lazy, result)
        return result

    return classmethod(apply)


def _call(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Layer, *inputs: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return original(self, *inputs, **options)
        around, recorder.layer = recorder.layer, self
        if around is None:
            recorder.roots[id(self)] = self
        span = Span("layer", "", self, recorder.phase)
        recorder.log.append(span)
        try:
            return original(self, *inputs, **options)
        finally:
            span.end = perf_counter_ns()
            recorder.layer = around

    return __call__


def _compute(original: Callable[[Lazy], Any]) -> Callable[[Lazy], Any]:
    def compute(self: Lazy) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None or (self._made is not None and self._made() is not None):
            return original(self)
        parts = spans_of(self)
        if not parts:  # created before the profile: the time counts for the caller
            return original(self)
        join(parts)
        span = recorder.begin("compute", parts[-1].label)
        span.parts, span.layer, span.calls = parts, parts[0].layer, 0
        try:
            return original(self)
        finally:
            span.end = perf_counter_ns()

    return compute


def _walk(original: Callable[..., Any]) -> Callable[..., Any]:
    def _walk(*args: Any, **options: Any) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return original(*args, **options)
        phase, recorder.phase = recorder.phase, BACKWARD
        depth = len(recorder.gradients)
        span = recorder.begin("walk", "walk back")
        try:
            return original(*args, **options)
        finally:
            span.end = perf_counter_ns()
            recorder.phase = phase
            del recorder.gradients[depth:]  # gradients that were begun by a walk that failed

    return _walk


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Optimizer) -> Any:
        recorder = recorders.get(get_ident())
        if recorder is None:
            return original(self)
        with recorder.part(f"{type(self).__name__}.step", OPTIMIZER):
            return original(self)

    return step


# (owner, name, function that wraps the original)
ENTRIES: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (Function, "apply", _apply),
    (Layer, "__call__", _call),
    (Lazy, "compute", _compute),
    (backward, "_walk", _walk),
    (Optimizer, "step", _step),
)
