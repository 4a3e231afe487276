"""The shell completion that Hydra makes, in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.plan.compose import PROJECT

COMPLETE = """
eval "$(python train.py -sc install=bash)"
words=($1)
COMP_LINE="$1" COMP_POINT=${#1} COMP_CWORD=$((${#words[@]} - 1))
hydra_bash_completion
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("python train.py +recipe=v", {"+recipe=v1", "+recipe=v2"}),
        ("python train.py +recipe=v2 ema=", {"ema=ema", "ema=none"}),
        ("python train.py +recipe=v2 optimizer.nes", {"optimizer.nesterov="}),
        ("python train.py +recipe=v2 scale=d", {"scale=demo"}),
    ],
)
def test_bash_completes_options_and_keys(typed: str, completions: set[str]) -> None:
    python = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", typed],
        cwd=PROJECT,
        env={**os.environ, "PATH": f"{python}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.split()) == completions
