"""Guides whose blocks of Python run as they stand, one after the other, in an empty folder."""

import re
from pathlib import Path

import pytest

import minidl as md

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("guide", ["guide-evaluation.md", "guide-training.md"])
def test_the_blocks_of_a_guide_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)     # they write files
    md.manual_seed(0)
    text = (DOCS / guide).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, guide, "exec"), names)     # of this project's own pages
