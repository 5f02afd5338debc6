"""Helpers of the tests explain their failed assertions as the tests themselves do."""

import pytest

pytest.register_assert_rewrite("tests.support")
