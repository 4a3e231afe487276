"""docs/EVIDENCE.md says what its records say."""

import subprocess
import sys

import pytest

from recipe.plan.compose import PROJECT


@pytest.mark.slow
def test_every_table_of_the_page_is_what_the_records_say() -> None:
    command = [sys.executable, "benchmarks/evidence.py", "--check"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
