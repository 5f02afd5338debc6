"""These tests check the structure of the tests themselves: what they share is in tests/support, and
nowhere else.
"""

import ast
import re
from collections import Counter

from tests.support.processes import ROOT

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("tests", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TESTS = [path for path in TEXTS if path.startswith("tests/")]
SUPPORT = [path for path in TESTS if path.startswith("tests/support/")]
# Modules of the tests that a module imports, or that a program in one of its strings does.
IMPORTED = re.compile(r"(?:from|import|-m[\", ]+) *(tests(?:\.\w+)*)(?: import (\w+))?")


def test_there_are_tests_fixtures_and_support():
    for path in TESTS:
        name = path.rpartition("/")[2]
        assert path in SUPPORT or name.startswith("test_") or name == "conftest.py", (
            f"{path} is no test: what tests share belongs to tests/support"
        )


def test_no_test_imports_another():
    for path in TESTS:
        for module, name in IMPORTED.findall(TEXTS[path]):
            assert f"{module}.{name}".startswith("tests.support"), f"{path} imports {module} {name}"


def test_what_tests_share_has_a_docstring_no_tests_and_users():
    words = Counter(word for text in TEXTS.values() for word in re.findall(r"\w+", text))
    for path in SUPPORT:
        tree = ast.parse(TEXTS[path])
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert not node.name.startswith("test_"), f"{path}: {node.name}"
                assert words[node.name] > 1, f"{path}: nobody uses {node.name}"
