"""A session is a run of one fuzzer: it runs cases until the time is up, and makes findings small,
prints and keeps them.
"""

import importlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from . import corpus, state
from .draw import Draw
from .process import LIMIT, Answer, Worker
from .shrink import smaller

SHRINK_SECONDS = 30.0


def signature(fuzzer: str, case: Any, answer: Answer) -> str:
    """Return what two findings have in common if they are the same: what was called, and what went
    wrong where.
    """
    title = importlib.import_module(f"fuzz.{fuzzer}").title(case)
    if answer["fault"] == "unnamed error":  # the place alone, so that all callers share one finding
        title = ""
    return " ".join(filter(None, [title, answer["fault"], answer["where"]]))


@dataclass
class Session:
    """The record of a fuzzer's run."""

    fuzzer: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    found: dict[str, int] = field(default_factory=dict)  # the number of findings, by signature

    def run(
        self,
        minutes: float,
        keep: bool = True,
        cases: int | None = None,
        limit: float = LIMIT,
        setup: str = "",
    ) -> "Session":
        """Run random cases for so many minutes (at most so many cases), and keep the findings if
        `keep` is set.
        """
        module = importlib.import_module(f"fuzz.{self.fuzzer}")
        until, number, said = time.monotonic() + 60 * minutes, 0, time.monotonic()
        with Worker(self.fuzzer, limit, setup) as worker:
            while time.monotonic() < until and (cases is None or number < cases):
                key = [self.fuzzer, self.seed, number]
                answer = worker.run({"key": key})
                if "fault" in answer:
                    before = time.monotonic()
                    self._found(worker, module, key, answer, keep)
                    # The time for making findings small does not count.
                    until += time.monotonic() - before
                self.outcomes[answer.get("outcome", "fault")] += 1
                number += 1
                if keep and time.monotonic() - said > 5:
                    state.add(self.fuzzer, time.monotonic() - said, number, self.seed)
                    said = time.monotonic()
        if keep:
            state.add(self.fuzzer, time.monotonic() - said, number, self.seed)
        return self

    def _found(
        self, worker: Worker, module: Any, key: list[Any], answer: Answer, keep: bool
    ) -> None:
        case = module.make(Draw(*key))
        name = signature(self.fuzzer, case, answer)
        self.found[name] = self.found.get(name, 0) + 1
        if self.found[name] > 1:
            return
        small, last = case, answer
        if keep and corpus.place(self.fuzzer, name).exists():
            print(f"{self.fuzzer}: {name}: still open (seed {key[1]}, case {key[2]})", flush=True)
            return
        if keep:
            small, last = self._small(worker, case, answer, name)
        text = [
            f"\n{self.fuzzer}: {name}",
            f"  {module.describe(small)}",
            f"  {last['text']}",
            f"  again: python -m fuzz {self.fuzzer} --seed {key[1]} --case {key[2]}",
        ]
        if keep:
            path = corpus.keep(self.fuzzer, name, small, last["text"])
            text.append(f"  small: python -m fuzz corpus {path}")
        print("\n".join(text), flush=True)

    def _small(self, worker: Worker, case: Any, answer: Answer, name: str) -> tuple[Any, Answer]:
        """Return a smaller case of the same signature, and its answer."""
        until = time.monotonic() + SHRINK_SECONDS
        if answer["fault"] == "hang":
            worker.limit, limit = worker.limit / 4, worker.limit
            try:
                return self._smaller(worker, case, answer, name, until)
            finally:
                worker.limit = limit
        if (
            answer["fault"] in ("refused", "unexpected")  # a smaller case may be refused rightly
            or (self.fuzzer == "onnx" and case["valid"])
        ):
            return case, answer
        return self._smaller(worker, case, answer, name, until)

    def _smaller(
        self, worker: Worker, case: Any, answer: Answer, name: str, until: float
    ) -> tuple[Any, Answer]:
        again = True
        while again:
            again = False
            for candidate in smaller(case):
                if time.monotonic() > until:
                    return case, answer
                got = worker.run({"case": candidate})
                if "fault" in got and signature(self.fuzzer, candidate, got) == name:
                    case, answer, again = candidate, got, True
                    break
        return case, answer
