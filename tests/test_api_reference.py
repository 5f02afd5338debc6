"""These tests check the Markdown that is made from docstrings."""

import pytest

from tools import api_reference


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("x times y.", "x times y."),
        ("a * b_ and `a * b`", r"a \* b\_ and `a * b`"),
        ("Sum:\n\n    y = x * x", "Sum:\n\n```text\ny = x * x\n```"),
        ("A formula\nin prose:\n    y = x", "A formula\nin prose:\n\n```text\ny = x\n```"),
        (">>> 1 + 1\n2", "```pycon\n>>> 1 + 1\n2\n```"),
        (
            "x:         a tensor,\n           of numbers\n"
            "low, high: limits, [0, 1],\n           of it",
            "- `x`: a tensor, of numbers\n- `low`, `high`: limits, [0, 1], of it",
        ),
        ("Layers: what a model\nis made of.", "Layers: what a model\nis made of."),
        (
            "alpha, p: as there; the share\nof the area.",
            "alpha, p: as there; the share\nof the area.",
        ),
        (
            "    ==== =====\n    name value of\n    ==== =====\n    a_   1\n    ==== =====",
            "| name | value of |\n| --- | --- |\n| a\\_ | 1 |",
        ),
    ],
)
def test_a_docstring(docstring, markdown):
    assert api_reference.markdown(f"Summary.\n\n{docstring}") == f"Summary.\n\n{markdown}"
