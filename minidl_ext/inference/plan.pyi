from collections.abc import Sequence
from typing import Any

import numpy as np

PLAN_VECTOR: int
PLAN_FREQUENCIES: int
PLAN_GAP: int
PLAN_TAPS: int
PLAN_ARRAYS: int

class Plan:
    count: int
    group: int
    arena: int
    work: float
    shared: bool
    def __init__(
        self,
        steps: list[dict[str, Any]],
        sizes: Sequence[int],
        arena: int,
        group: int,
        shared: bool,
        threads: int,
    ) -> None: ...
    def run(self, arrays: list[np.ndarray], images: int, threads: int = 0) -> None: ...
