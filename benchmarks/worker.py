"""One side of a comparison: a process that runs cases on one backend, when it is told to.

It reads lines of JSON, {"case": name, "seconds": s}, and answers each with a line: the times of
the single calls in seconds and, for train steps, the losses of the first ones.
"""

import json
import sys
import time

import minidl as md

from .cases import all_cases


def measure(run, seconds):
    """Times of single calls over about `seconds`, at least 3 calls."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main(backend, threads):
    md.set_num_threads(threads)
    cases = {case.name: case for case in all_cases()}
    current, run = None, None
    with md.use_backend(backend):
        for line in sys.stdin:
            request = json.loads(line)
            first = []
            if request["case"] != current:
                current, run = request["case"], cases[request["case"]].make()
                first = [run() for _ in range(3)]       # warm-up, and the losses of train steps
            times = measure(run, request["seconds"])
            losses = [v for v in first if isinstance(v, float)]
            print(json.dumps({"times": times, "losses": losses}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
