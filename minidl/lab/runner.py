"""Running experiments: each seed in a process of its own, several of them in parallel.

A finished seed is not run again: a second run computes only the seeds that are missing. A seed that
crashes is reported and does not stop the others. However a run ends, its worker processes end with
it; see `worker`.
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

LINES = 12  # the number of lines of a worker's error message that are kept


@dataclasses.dataclass(frozen=True)
class Job:
    """A seed of an experiment that has to be run."""

    experiment: Experiment
    seed: int

    def seconds(self, quick: bool) -> float:
        """Return the first estimate of the time: the minutes that the experiment states, but at
        most twelve seconds with --quick."""
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
    """Run experiments, write `folder`/results.json, and return the outcomes by id.

    quick:    whether to use the smaller settings, with which verdicts are provisional
    seeds:    the number of seeds; None: what each experiment asks for. An experiment is judged by
              all of its finished seeds, those of earlier runs included
    jobs:     the number of processes at a time, which share the CPUs; None: one for each CPU that
              this process may use. Experiments that measure time run at the end, one by one
    progress: whether to report progress on stderr

    Ctrl-C and SIGTERM end the workers and then this function, by KeyboardInterrupt and
    SystemExit(143). Finished seeds are kept.

    Raises ValueError for less than one seed or job, and for a folder that another run uses or that
    has results of the other kind of settings (quick or full); TypeError for a number of a wrong
    type; ImportError without the extra `lab`. An experiment that crashed, or whose data set is
    missing, is INCONCLUSIVE and says so.
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
    """Raise ImportError if a library is missing that is used only at the end of a run, so that a
    long run does not fail there."""
    for name in ("scipy", "matplotlib", "jinja2"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"lab: needs {name}: pip install 'minidl[lab]'")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit within the `with` block, so that it cleans up as Ctrl-C does.

    The exit code, 143, is what a shell reports for SIGTERM. Nothing is changed if the program has
    a handler of its own, or outside of the main thread, which alone receives signals.
    """
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
    """Return the names of the data sets that the experiments need and that are not available."""
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
    """Run the seeds, and return the errors of those that failed, by the id of the experiment."""
    errors: dict[str, str] = {}
    # The longest start first: a long one that starts last would run while other CPUs are idle.
    parallel = sorted(
        (job for job in todo if not job.experiment.alone), key=lambda job: -job.seconds(quick)
    )
    alone = [job for job in todo if job.experiment.alone]
    with _Bar(todo, quick, jobs, progress) as bar, _Processes() as processes:
        for part, workers in ((parallel, jobs), (alone, 1)):
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
                except BaseException:  # after Ctrl-C or SIGTERM no waiting job may start
                    processes.stop()
                    pool.shutdown(cancel_futures=True)
                    raise
    return errors


class _Processes:
    """The running worker processes. They are terminated at the end of the `with` block."""

    def __init__(self) -> None:
        self.lock, self.running, self.stopped = threading.Lock(), set[Any](), False

    def run(self, job: Job, folder: str, quick: bool, threads: int) -> str:
        """Run a seed in a process and wait for it. Return "", or the error message if it failed."""
        # -P, so that a file in the current folder cannot shadow a module of the same name.
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
                return f"seed {job.seed}: not started, because the run was stopped"
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
            except OSError as error:  # there is no memory, or there are too many processes
                return f"seed {job.seed}: {error}"
            self.running.add(process)
        assert process.stdin is not None and process.stderr is not None
        # Not by `communicate`, which closes stdin: the worker takes that for the end of the runner.
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
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


class _Bar:
    """Progress on stderr: on a terminal a bar with the remaining time, elsewhere a line per seed.

    The remaining time is estimated from the minutes that the experiments state, multiplied by the
    ratio of measured to stated time of the seeds that are finished.
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
        self.stated = self.measured = 0.0  # total seconds of the finished seeds
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
        """Run a seed, and record when it began."""
        self.began[job] = self.clock()
        return run(job, *rest)

    def finished(self, job: Job, error: str) -> None:
        """Record that a seed is finished or has failed, and show it."""
        stated = self.left.pop(job)
        if job in self.began and not error:  # the time until a crash would distort the estimate
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
        """Return an estimate of the remaining time. The experiments that run alone add to the
        longer of two: the parallel work shared by all jobs, and the longest parallel seed."""
        scale = self.measured / self.stated if self.stated else 1.0
        now, parallel, alone = self.clock(), [0.0], 0.0
        for job, stated in self.left.items():
            passed = now - self.began[job] if job in self.began else 0.0
            needs = max(0.0, scale * stated - passed)
            if job.experiment.alone:
                alone += needs
            else:
                parallel.append(needs)
        return max(sum(parallel) / self.jobs, *parallel) + alone

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
