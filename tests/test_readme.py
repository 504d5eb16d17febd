"""The README and the engineer's tutorial are true: their code runs, and their links lead somewhere.

The commands, and the other tutorials, begin with a demo: they run beside its tests in
`cli/test_demo.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
ENGINEER, RESEARCHER = (
    (ROOT / "docs" / "tutorials" / f"{name}.md").read_text("utf-8")
    for name in ("engineer", "researcher")
)
PAGES = [
    path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if "cli" not in path.parts
]


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.slow
def test_code_of_the_engineer_s_tutorial_runs_as_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in _blocks(ENGINEER, "python"):
        exec(compile(block, "engineer.md", "exec"), scope)
    shown = capsys.readouterr().out
    assert shown.startswith("exact\n")
    assert re.search(r"^empirical .*% of retraining$", shown, re.M)
    assert re.search(r"^exact .*% of retraining$", shown, re.M)
    assert {"report.html", "report.json", "trained", "forgot"} <= {
        p.name for p in tmp_path.iterdir()
    }


def test_code_of_the_readme_is_part_of_a_tutorial() -> None:
    blocks = _blocks(README, "python")
    assert blocks
    assert set(blocks) <= {*_blocks(ENGINEER, "python"), *_blocks(RESEARCHER, "python")}


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 150


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        place, _, anchor = link.partition("#")
        if place.startswith("http"):
            continue
        there = page.parent / place if place else page
        assert there.exists(), link
        assert not anchor or anchor in _anchors(there), link
