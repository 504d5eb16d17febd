"""Results can be made again: by the commands that stand in them, from where a run was stopped."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
COMMAND = re.compile(r"python (benchmarks/\w+\.py[^\n`#]*)")
PEERS = ("influence_peer",)
"""Scripts that need a package which is not in this environment as soon as they are read."""


def commands() -> list[str]:
    """Every command of a benchmark that a page of results names, once."""
    found = (COMMAND.findall(page.read_text("utf-8")) for page in RESULTS.glob("*.md"))
    return sorted({line.strip().rstrip(",") for lines in found for line in lines if " " in line})


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    # Folders of tests have some of the scripts' names, and scripts import one another by name.
    for script in (ROOT / "benchmarks").glob("*.py"):
        monkeypatch.delitem(sys.modules, script.stem, raising=False)
    return importlib.import_module("harness")


class Read(Exception):
    """Raised in place of a benchmark's work: its command line was read."""


def _loaded(name: str) -> Any:
    """Load a script by its path: folders of tests have some of the names too."""
    spec = importlib.util.spec_from_file_location(
        f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_results_is_one_that_its_script_reads(
    harness: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    script, *arguments = shlex.split(command)
    name = Path(script).stem
    if name in PEERS:
        pytest.importorskip("kronfluence")

    def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
        parser.parse_args()
        raise Read

    monkeypatch.setattr(harness, "parsed", parsed)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(Read):
        _loaded(name).main()


def test_every_page_of_results_names_the_commands_that_remake_it() -> None:
    for page in RESULTS.glob("*.md"):
        text = page.read_text("utf-8")
        if page.name == "index.md":
            # It leads to the others.
            continue
        assert COMMAND.search(text) or "olvido demo" in text, page.name
        # Numbers that a page points to lie beside it.
        for file in re.findall(r"\]\((\w+\.json)\)", text):
            assert (RESULTS / file).is_file(), (page.name, file)


def test_results_are_stored_compactly(harness: Any, tmp_path: Path) -> None:
    assert list(RESULTS.glob("*.json"))
    for file in RESULTS.glob("*.json"):
        document = json.loads(file.read_text("utf-8"))
        harness.write(document, tmp_path / "again.json")
        assert file.read_text("utf-8") == (tmp_path / "again.json").read_text("utf-8"), file.name
        assert json.loads((tmp_path / "again.json").read_text("utf-8")) == document


def test_a_piece_is_made_once(harness: Any, tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"number": len(made), "loss": float("nan")}

    found = [harness.once(tmp_path / "a" / "piece.json", make) for _ in range(2)]
    assert found == [{"number": 1, "loss": None}] * 2
    assert harness.pieces(tmp_path / "a") == found[:1]


def test_a_piece_that_fails_leaves_nothing(harness: Any, tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        harness.once(tmp_path / "piece.json", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_added_meanwhile_stays(harness: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        harness.add(tmp_path / "all.json", name, {"k": name})
    assert harness.read(tmp_path / "all.json") == {"one": {"k": "one"}, "two": {"k": "two"}}
    assert harness.read(tmp_path / "none.json") == {}


def test_a_header_says_how_and_where(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/x.py", "--ways", "npo (default)"])
    found = harness.header(seed=3)
    assert found["command"] == 'python benchmarks/x.py --ways "npo (default)"'
    assert found["seed"] == 3
    assert {"date", "machine", "python", "load"} <= set(found)


def test_a_table_stands_below_its_command(
    harness: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py"])
    harness.show(harness.table(["k", "n"], [["a", 1]]))
    assert capsys.readouterr().out.splitlines() == [
        *("    python benchmarks/x.py", "", "| k | n |", "|---|---|", "| a | 1 |")
    ]
