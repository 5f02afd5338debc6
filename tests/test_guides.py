"""The guides: their blocks of Python run, one after the other."""

import re
from pathlib import Path

import pytest

import minidl as md

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("guide", sorted(DOCS.glob("guide-*.md")), ids=lambda path: path.stem)
def test_the_blocks_of_a_guide_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)     # they write files
    md.manual_seed(0)
    blocks = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, guide.name, "exec"), names)     # of this project's own pages
