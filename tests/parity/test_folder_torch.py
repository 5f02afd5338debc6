"""These tests check that the PyTorch program with the job of `minidl train FOLDER` runs and
resumes.
"""

import subprocess
import sys

from tests.support.picture_files import coloured
from tests.support.processes import ROOT


def test_it_trains_and_resumes(tmp_path):
    coloured(tmp_path / "photos", {"blue": 20, "red": 20}, size=(16, 16))

    def run(epochs):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.folder_torch",
                tmp_path / "photos",
                tmp_path / "out",
                "--epochs",
                str(epochs),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()

    first = run(2)
    assert len(first) == 3 and first[-1].startswith("valid accuracy")
    assert run(2) == first[-1:]
