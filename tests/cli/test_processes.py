"""Commands that several processes carry out together, started as the how-to page says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.models import load, save

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/how-to/processes.md"
# One process fails alone, in the middle of its work.
BROKEN = """
import os
import olvido.training.loop as loops
from olvido.errors import StateError

step = loops.Loop.step

def failing(self, index, *given, **more):
    if index == 2 and os.environ["RANK"] == "1":
        raise StateError("the disk of this process is gone: mount it")
    return step(self, index, *given, **more)

loops.Loop.step = failing
from olvido.cli import main
main()
"""


def configured(kind: str, folder: Path) -> Path:
    """A configuration of the page, for processors alone."""
    blocks = re.findall(r"((?:    .+\n)+)", PAGE.read_text(encoding="utf-8"))
    (block,) = (block for block in blocks if f"distributed_type: {kind}\n" in block)
    text = re.sub("^    ", "", block, flags=re.M).replace("use_cpu: false", "use_cpu: true")
    path = folder / "two.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path, small: Any, tokenizer: Any, town: Town) -> Path:
    save(small, tokenizer, tmp_path / "base")
    for name, who in (("forget", town.data_subject), ("retain", town.residents[1])):
        lines = [json.dumps(dict(row)) for row in town.rows_of(who)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


def launched(config: Path, folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    sides = [f"--{side}={folder / side}.jsonl" for side in ("forget", "retain")]
    options = [f"--option={option}" for option in ("epochs=4", "batch_size=8", "lr=1e-3")]
    return subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)),
            *("--main_process_port", "0", *program, "forget", str(folder / "base"), *sides),
            *(*options, "--out", str(folder / "new"), "--json"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_pages_configuration_starts_two_that_forget_together(folder: Path) -> None:
    ended = launched(configured("MULTI_GPU", folder), folder, "-m", "olvido")
    assert ended.returncode == 0, ended.stderr[-3000:]
    # One document, of the main process.
    found = json.loads(ended.stdout)
    assert found["forget_loss"]["after"] > found["forget_loss"]["before"]
    assert load(str(folder / "new")).digest == found["after"]


def test_an_error_in_one_process_is_said_once_and_ends_all(folder: Path) -> None:
    ended = launched(configured("FSDP", folder), folder, "broken.py")
    assert ended.returncode != 0
    assert ended.stdout == ""
    said = [line for line in ended.stderr.splitlines() if line.startswith("olvido:")]
    assert said == ["olvido: the disk of this process is gone: mount it"]
    assert "exitcode  : 2 " in ended.stderr
    assert not (folder / "new").exists()
