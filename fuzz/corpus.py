"""The corpus has the cases that once found something. They are in fuzz/corpus/<fuzzer>/*.json, and
the tests replay them.

A new finding goes to fuzz/corpus/open/ until it is fixed. `python -m fuzz corpus` runs all cases
again, and moves those that are fixed into the corpus.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .process import ROOT, Worker

FOLDER = ROOT / "fuzz" / "corpus"
OPEN = FOLDER / "open"


def place(fuzzer: str, name: str) -> Path:
    """Return the path at which a finding of this name waits to be fixed."""
    mark = hashlib.sha256(name.encode()).hexdigest()[:6]
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50]
    return OPEN / f"{fuzzer}-{words}-{mark}.json"


def keep(fuzzer: str, name: str, case: Any, text: str) -> Path:
    """Save a finding, and return its path relative to the project."""
    path = place(fuzzer, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text.replace(f"{ROOT}/", "")[:1000]  # the place of this checkout does not matter
    entry = {"fuzzer": fuzzer, "finding": name, "text": text, "case": case}
    path.write_text(json.dumps(entry, indent=1) + "\n")
    return path.relative_to(ROOT)


def entries(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Return the cases of a folder and its subfolders by path, or the case of a single file."""
    for path in sorted(folder.rglob("*.json")) if not folder.suffix else [folder]:
        yield path, json.loads(path.read_text())


def replay(paths: list[Path]) -> int:
    """Run kept cases again (all, if none is named), move those that are fixed out of `open`, and
    return how many still fail.
    """
    found = [item for path in paths or [FOLDER] for item in entries(path)]
    failed = 0
    workers: dict[str, Worker] = {}
    try:
        for path, entry in found:
            fuzzer = entry["fuzzer"]
            worker = workers.setdefault(fuzzer, Worker(fuzzer))
            answer = worker.run({"case": entry["case"]})
            failed += "fault" in answer
            word = answer.get("fault") or f"ok ({answer['outcome']})"
            print(f"{word:20} {path.name}: {entry['finding']}", flush=True)
            if "fault" in answer:
                print(f"    {answer['text']}")
            elif path.resolve().parent == OPEN:
                target = FOLDER / fuzzer / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    finally:
        for worker in workers.values():
            worker.stop()
    return failed
