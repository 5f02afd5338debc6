"""These tests run the code in docs/guide-interop.md that needs PyTorch, which must print what the
page says.

The other blocks of the page are in tests/test_docs.py.
"""

from tests.support import pages

PAGE = pages.ROOT / "docs" / "guide-interop.md"


def test_the_blocks_of_pytorch_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = [
        text
        for language, more, text in pages.blocks(PAGE)
        if (language, more) == ("python", "torch")
    ]
    assert blocks
    for text in blocks:
        pages.python(text, names, PAGE.name)
