"""Runs experiments: seed by seed, each in a process of its own, some beside each other.

A seed that is finished stays finished: run again, only what is missing is run. What crashes is
reported and ends nothing else. Workers end with the run, whatever ends that: see `worker`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import checks
from ..cpus import available_cpus
from . import store, worker
from .experiment import Experiment
from .problems import MissingData, require
from .results import Found, collect, write_results

LINES = 12  # of a worker's error that are kept


@dataclasses.dataclass(frozen=True)
class Job:
    """A seed of an experiment that is to be run."""

    experiment: Experiment
    seed: int

    def seconds(self, quick: bool) -> float:
        """The estimate that the bar begins with: the stated minutes, of which --quick leaves
        twelve seconds at most."""
        stated = 60 * self.experiment.minutes
        return min(12.0, stated) if quick else stated


def run(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike[str],
    quick: bool = False,
    seeds: int | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> dict[str, Found]:
    """Run experiments, write `folder`/results.json, and return what was found, by id.

    `quick`: smaller settings, and verdicts that are provisional. `seeds`: how many are wanted, else
    what each experiment says; it is judged by all that are finished. `jobs`: processes beside each
    other, else one for each CPU of this process; each has its part of the CPUs. What measures time
    is run at the end, alone.

    Ctrl-C and SIGTERM end the workers and then the run, by KeyboardInterrupt and SystemExit(143);
    the seeds that are finished stay so.

    ValueError for less than one seed or job, and for a folder of the other kind of settings or in
    which another run works; TypeError for a number of a wrong type; ImportError without the extra
    `lab`. An experiment whose data set is missing, or which crashed, is INCONCLUSIVE and says so.
    """
    for name, count in (("seeds", seeds), ("jobs", jobs)):
        if count is not None:
            checks.count(count, "lab", name, 1)
    require_extra()
    folder = checks.path(folder, "lab", "folder")
    with store.working(folder, quick), _ended_by_sigterm():
        counts = {e.id: seeds or (e.quick_seeds if quick else e.seeds) for e in experiments}
        missing = _missing(experiments)
        todo = [
            Job(e, seed)
            for seed in range(max(counts.values(), default=0))
            for e in experiments
            if seed < counts[e.id]
            and not set(e.needs) & missing
            and store.read_seed(folder, e, seed, e.settings(quick)) is None
        ]
        errors = _run(todo, folder, quick, jobs or available_cpus(), progress)
        found = {
            e.id: collect(folder, e, quick, missing, errors.get(e.id, "")) for e in experiments
        }
        write_results(folder, found)
    return found


def require_extra() -> None:
    """ImportError where something is not installed that only the end of a run would need."""
    for name in ("scipy", "matplotlib", "jinja2"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"lab: needs {name}: pip install 'minidl[lab]'")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit, so that what Ctrl-C ends is ended by it too. The
    exit code is the one that shells give. A program's own handler stays, and so does everything in
    threads other than the main one, which get no signals."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _missing(experiments: Sequence[Experiment]) -> set[str]:
    """The data sets that cannot be had."""
    missing = set()
    for name in sorted({name for e in experiments for name in e.needs}):
        try:
            require(name)
        except MissingData:
            missing.add(name)
    return missing


def _run(
    todo: Sequence[Job], folder: str, quick: bool, jobs: int, progress: bool
) -> dict[str, str]:
    """Run the seeds; the errors of those that failed, by id."""
    errors: dict[str, str] = {}
    # The longest first, so that none is left for the end; what must be alone after all others.
    beside = sorted(
        (job for job in todo if not job.experiment.alone), key=lambda job: -job.seconds(quick)
    )
    alone = [job for job in todo if job.experiment.alone]
    with _Bar(todo, quick, jobs, progress) as bar, _Processes() as processes:
        for part, workers in ((beside, jobs), (alone, 1)):
            workers = max(1, min(workers, len(part)))
            threads = max(1, available_cpus() // workers)
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                futures = {
                    pool.submit(bar.timed, processes.run, job, folder, quick, threads): job
                    for job in part
                }
                try:
                    for future in concurrent.futures.as_completed(futures):
                        job = futures[future]
                        if error := future.result():
                            known = errors.get(job.experiment.id, "")
                            errors[job.experiment.id] = f"{known}\n{error}".strip()
                        bar.finished(job, error)
                except BaseException:  # Ctrl-C, SIGTERM: what waits is not begun
                    processes.stop()
                    pool.shutdown(cancel_futures=True)
                    raise
    return errors


class _Processes:
    """The workers that run now, all of which end when the block does."""

    def __init__(self) -> None:
        self.lock, self.running, self.stopped = threading.Lock(), set[Any](), False

    def run(self, job: Job, folder: str, quick: bool, threads: int) -> str:
        """Run a seed; "" or what went wrong."""
        # -P: a file in the current folder that is called as a module does not take its place.
        command = [
            sys.executable,
            "-P",
            "-m",
            "minidl.lab.worker",
            job.experiment.id,
            str(job.seed),
            folder,
            worker.UNTIL_EOF,
            *([worker.QUICK] if quick else []),
        ]
        paths = [path for path in sys.path if path]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        with self.lock:
            if self.stopped:
                return "it was not begun"
            try:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            except OSError as error:  # no memory, or too many processes
                return f"seed {job.seed}: {error}"
            self.running.add(process)
        assert process.stdin is not None and process.stderr is not None
        # Without `communicate`, which would close stdin: by its end the worker knows that this
        # process is gone.
        said = process.stderr.read().strip()
        process.wait()
        with self.lock:
            self.running.discard(process)
        process.stdin.close()
        process.stderr.close()
        if process.returncode == 0:
            return ""
        if process.returncode < 0:
            said = f"{said}\nended by {_signal_name(-process.returncode)}"
        return f"seed {job.seed}: " + "\n".join(said.strip().splitlines()[-LINES:])

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of those for real time have none
        return f"signal {number}"


class _Bar:
    """Progress on stderr: a bar with the time left on a terminal, else a line for each seed.

    The time left is that of the minutes that the experiments state, times how much longer or
    shorter the seeds that are through have taken than was stated for them.
    """

    def __init__(
        self,
        todo: Sequence[Job],
        quick: bool,
        jobs: int,
        wanted: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.left = {job: job.seconds(quick) for job in todo}
        self.jobs, self.clock = jobs, clock
        self.began: dict[Job, float] = {}
        self.stated = self.measured = 0.0  # seconds of the seeds that are through
        self.count, self.shown = len(todo), None
        self.say: Callable[[str], Any] | None = None
        if not wanted or not todo:
            return
        from tqdm import tqdm

        if sys.stderr.isatty():
            self.shown = tqdm(
                total=self.count,
                unit=" seeds",
                file=sys.stderr,
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}",
            )
            self.say = self.shown.write
        else:
            self.say = lambda text: print(text, file=sys.stderr, flush=True)
        self._estimate()

    def timed(self, run: Callable[..., str], job: Job, *rest: Any) -> str:
        """Run a seed, and take note of when it began."""
        self.began[job] = self.clock()
        return run(job, *rest)

    def finished(self, job: Job, error: str) -> None:
        """A seed is through."""
        stated = self.left.pop(job)
        if job in self.began and not error:  # what crashed took no time to speak of
            self.stated += stated
            self.measured += self.clock() - self.began[job]
        if self.say is None:
            return
        text = f"{job.experiment.id} seed {job.seed}"
        if error:
            self.say(f"{text} FAILED\n{error}")
        elif self.shown is None:
            self.say(f"{text} done, {self._estimate()}")
        if self.shown is not None:
            self.shown.update()
            self._estimate()

    def seconds(self) -> float:
        """How long what is left will take."""
        scale = self.measured / self.stated if self.stated else 1.0
        now, beside, alone = self.clock(), [0.0], 0.0
        for job, stated in self.left.items():
            passed = now - self.began[job] if job in self.began else 0.0
            needs = max(0.0, scale * stated - passed)
            if job.experiment.alone:
                alone += needs
            else:
                beside.append(needs)
        return max(sum(beside) / self.jobs, *beside) + alone

    def _estimate(self) -> str:
        minutes = self.seconds() / 60
        text = f"{len(self.left)} of {self.count} left, about {minutes:.0f} min"
        if self.shown is not None:
            self.shown.set_postfix_str(f"{minutes:.0f} min left")
        return text

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.shown is not None:
            self.shown.close()
