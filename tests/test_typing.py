"""A type checker knows the options of methods, audits, learners and regularisers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RIGHT = """
from collections.abc import Sequence

import olvido
from olvido.methods import HiddenStatePenalty, Descent, Divergence, NPO, TaskVector
from olvido.learners import Sharded


class Mine(Descent):
    power: float = 1.0


NPO(beta=0.2, lr=1e-3, regulariser="kl+nll", epochs=3)
NPO(regulariser=[Divergence, HiddenStatePenalty(layer=3)])
TaskVector(scale=1.0, epochs=2)
Sharded(shards=4, slices=2)
Mine(power=0.5, lr=1e-4)
made: olvido.methods.Method = olvido.methods.NPO(beta=0.1)
kind: type[olvido.methods.Method] = NPO
"""
WRONG = {
    "NPO(betta=1)": 'Unexpected keyword argument "betta"',
    'NPO(beta="a")': "incompatible type",
    "NPO(0.1)": "positional",
    'TaskVector(regulariser="kl")': 'Unexpected keyword argument "regulariser"',
    "Sharded(shard=4)": 'Unexpected keyword argument "shard"',
    "HiddenStatePenalty(layers=3)": 'Unexpected keyword argument "layers"',
    "Mine(powr=0.5)": 'Unexpected keyword argument "powr"',
    "olvido.methods.NPOO": 'has no attribute "NPOO"',
    "NPO(regulariser=3)": "incompatible type",
    "olvido.forget(object(), forget=[], method=3)": "incompatible type",
}


@pytest.mark.slow
def test_what_is_right_is_accepted_and_each_mistake_is_found(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(RIGHT + "\n".join(WRONG) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", str(snippet)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    first = RIGHT.count("\n") + 1
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith(str(snippet)) or "snippet.py:" in line:
            number = int(line.split("snippet.py:")[1].partition(":")[0])
            said[number] = said.get(number, "") + line
    assert min(said, default=0) >= first, done.stdout + done.stderr
    for number, (written, why) in enumerate(WRONG.items(), first):
        assert why in said.get(number, ""), (written, done.stdout)
