"""This module runs the steps of a build. Each step makes one file, and is repeated only if what it
read has changed.

`setup.py` says which steps there are.
"""

import os
import shutil
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path("minidl_ext")


def say(text):
    """Print a line of progress, which build tools show if they were asked to be verbose."""
    print(f"minidl: {text}\n", end="", flush=True)  # one write, so that threads do not mix lines


@dataclass
class Step:
    """A step makes one file of the build, `target`, from `sources` and from what they include.

    The tool that `action` runs lists in `target`.dep which files it read. Of these, files of this
    project with one of the suffixes `kinds` count as inputs. `made_by` names the versions and
    options, and `seconds` is roughly how long one CPU takes.
    """

    text: str
    target: Path
    sources: list[Path]
    kinds: tuple[str, ...]
    made_by: str
    action: Any
    seconds: int

    @property
    def stamp(self):
        return self.target.with_name(f"{self.target.name}.stamp")

    def is_due(self):
        """Return whether `target` is missing, or was made in another way or from older inputs."""
        stamp, listed = self.stamp, Path(f"{self.target}.dep")
        if not (self.target.exists() and stamp.exists() and stamp.read_text() == self.made_by):
            return True
        words = listed.read_text().replace("\\\n", " ").split() if listed.exists() else []
        ours = [Path(word) for word in words if word.startswith(f"{PACKAGE}/")]
        inputs = [*self.sources, *(path for path in ours if path.suffix in self.kinds)]
        date = stamp.stat().st_mtime
        return any(not path.exists() or path.stat().st_mtime > date for path in inputs)

    def run(self):
        started = time.time()
        self.stamp.unlink(missing_ok=True)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.action()
        self.stamp.write_text(self.made_by)
        os.utime(self.stamp, (started, started))  # a source that is edited meanwhile is newer


def perform(steps):
    """Run the steps that are due, one thread for each CPU, and stop at the first error.

    Each thread waits for a compiler. Large sources go first, so that no CPU is left with a long one
    at the end.
    """
    due = [step for step in steps if step.is_due()]
    due.sort(key=lambda step: sum(path.stat().st_size for path in step.sources), reverse=True)
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    if (seconds := sum(step.seconds for step in due) / cpus) > 20:
        say(f"the next {len(due)} files take about {max(1, round(seconds / 60))} min")

    def run(number):
        say(f"{due[number].text} ({number + 1} of {len(due)})")
        due[number].run()

    with ThreadPoolExecutor(cpus) as pool:
        jobs = [pool.submit(run, number) for number in range(len(due))]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
    for job in jobs:
        if not job.cancelled():
            job.result()


def copy_if_changed(library, path):
    """Copy a library, and rename the copy: a process that has loaded the old one keeps it."""
    old, new = path.stat() if path.exists() else None, library.stat()
    if old and (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    shutil.copy2(library, temporary)
    os.replace(temporary, path)
