"""These tests check that docs/coverage.md agrees with the tables of the tests, and has no empty
cell.
"""

from tools import coverage_table


def test_the_page_is_up_to_date():
    assert coverage_table.PAGE.read_text(encoding="utf-8") == coverage_table.page(), (
        "run python tools/coverage_table.py"
    )


def test_every_cell_has_a_test_or_a_reason():
    lines = [line for line in coverage_table.page().splitlines() if line.startswith("| `")]
    assert len(lines) > 80
    empty = [line for line in lines if any(not cell.strip() for cell in line.split("|")[1:-1])]
    assert empty == []
