"""This module runs a worker process: it sends cases, reads answers, and notices if the process ends
or hangs.

The worker (`fuzz.worker`) answers each case with a line. A process that ends meanwhile is a crash,
and one that takes longer than it may is a hang; both count against the case that it was given.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10.0  # the CPU time in seconds that a case may take
PATIENCE = 12  # the factor for wall time: a busy machine is not the fault of the case

Answer = dict[str, Any]


class Worker:
    """A process that runs the cases of one fuzzer. It is started again when it has ended.

    `setup` names a function ("module:function") that the process calls first, by which tests plant
    faults. `limit` is the CPU time in seconds that a case may take.
    """

    def __init__(self, fuzzer: str, limit: float = LIMIT, setup: str = "") -> None:
        self.fuzzer, self.limit, self.setup = fuzzer, limit, setup
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def run(self, message: dict[str, Any]) -> Answer:
        """Return the answer to a case: {"outcome": word} or {"fault": kind, "where": ..., "text":
        ...}.

        `message` is {"case": description} or {"key": [fuzzer, seed, number]}.
        """
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None and self.process.stdin is not None
        self.phase, self.heard = "library", self._heard()
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._ended()
        begun, spent = time.monotonic(), self._cpu_time()
        while True:
            line = self._line(0.5)
            if line:
                answer = json.loads(line)
                if "phase" not in answer:
                    return answer
                self.phase = answer["phase"]
            elif self.process.poll() is not None:
                return self._ended()
            elif (
                self._cpu_time() - spent > self.limit
                or time.monotonic() - begun > PATIENCE * self.limit
            ):
                return self._hung()

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self.said.close()
            self.process = None

    def _start(self) -> None:
        self.stop()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "fuzz.worker",
            self.fuzzer,
            self.setup,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env=environment,
        )
        self.buffer = b""
        while not (line := self._line(1.0)):  # the process writes a line when it is ready
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the worker of {self.fuzzer} does not start:\n{self._said_since(0)}"
                )
        assert json.loads(line) == {"phase": "ready"}

    def _line(self, seconds: float) -> bytes:
        """Return the next line that the process writes, or b"" if none comes within so many
        seconds.
        """
        assert self.process is not None and self.process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return b""
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:  # end of file: the process is ending
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(5)
                return b""
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _cpu_time(self) -> float:
        """Return the CPU time of the process in seconds, or wall time where /proc is missing."""
        assert self.process is not None
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ended(self) -> Answer:
        assert self.process is not None
        code, text = self.process.wait(), self._said_since(self.heard)
        self.stop()
        if code == -signal.SIGTERM:  # no program sends this signal to itself
            return {"outcome": "ended from outside"}
        return {"fault": "crash", "where": "", "text": f"exit status {code}\n{text}"}

    def _hung(self) -> Answer:
        phase = self.phase
        self.stop()
        if phase == "reference":
            return {"outcome": "slow reference"}
        return {"fault": "hang", "where": "", "text": f"no answer within {self.limit} s"}

    def _heard(self) -> int:
        """Return how many bytes the process has written to its standard error so far."""
        return self.said.seek(0, os.SEEK_END)

    def _said_since(self, place: int) -> str:
        """Return the beginning of what the process has written since, where a sanitizer or Python
        gives the reason.
        """
        self.said.seek(place)
        return self.said.read(2500).decode(errors="replace")
