"""This process runs cases, which it reads line by line: `python -m fuzz.worker FUZZER [SETUP]`.

Its address space is limited, so that a request for absurd memory gets a MemoryError. The peak of
the memory in use is measured for each case.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any

from .draw import Draw
from .values import Invalid
from .watch import GIB, Fault, Watch, memory, place_of

ADDRESSES = 3 * GIB  # the address space that it may use on top of what it has at its start
SECONDS = 120  # the CPU time for a case, if nobody is left to end a hang


def limit_addresses() -> None:
    """Limit the address space of the process to ADDRESSES more than it has."""
    import resource

    most = memory("VmSize:") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time() -> None:
    """Limit the CPU time of the next case to SECONDS."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def answer(module: Any, message: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """Run a case, and return its outcome."""
    case = message["case"] if "case" in message else module.make(Draw(*message["key"]))
    limit_time()
    watch.start()
    try:
        outcome = module.run(case, watch)
        watch.check()
        return {"outcome": outcome}
    except Invalid:
        return {"outcome": "invalid"}
    except Fault as fault:
        return {"fault": fault.kind, "where": fault.where, "text": fault.text}
    except MemoryError:
        return {"outcome": "out of memory"}
    except Exception as error:  # most likely an error of the fuzzer itself, which should be seen
        text = "".join(traceback.format_exception(error)[-6:])
        return {
            "fault": "unexpected",
            "where": place_of(error) or type(error).__name__,
            "text": text,
        }


def main() -> None:
    fuzzer, setup = sys.argv[1], sys.argv[2]
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a case prints is no answer

    def say(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    import numpy as np

    np.seterr(all="ignore")
    module = importlib.import_module(f"fuzz.{fuzzer}")
    if setup:
        name, _, function = setup.partition(":")
        getattr(importlib.import_module(name), function)()
    limit_addresses()
    watch = Watch(say)
    say({"phase": "ready"})
    for line in sys.stdin:
        say(answer(module, json.loads(line), watch))


if __name__ == "__main__":
    main()
