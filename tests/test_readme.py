"""The README is true: its code runs, and what it points to is there.

Its commands begin with a demo and are run beside the demo's tests, `cli/test_demo.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.slow
def test_code_of_the_readme_runs_as_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [b for b in _blocks("python") if "make_town" in b or "shards =" in b]
    assert len(blocks) == 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile("import olvido\n" + block, "README.md", "exec"), scope)
    shown = capsys.readouterr().out
    assert shown.startswith("empirical ")
    assert "exact " in shown
    assert shown.count("% of retraining") == 2


def test_the_method_of_the_readme_is_a_method() -> None:
    import torch

    blocks = [b for b in _blocks("python") if "class Mine" in b]
    scope: dict[str, type] = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    now = SimpleNamespace(log_p=torch.tensor([-6.0, -2.0]), count=torch.tensor([3.0, 2.0]))
    assert scope["Mine"]().forget_losses(now).tolist() == [-2.0, -1.0]


def test_what_the_readme_points_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert (Path(__file__).parents[1] / link).exists(), link
