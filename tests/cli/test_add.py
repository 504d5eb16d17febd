"""`olvido models add`: a model that was trained elsewhere comes in with one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Olvido = Callable[..., tuple[int, str, str]]


@pytest.fixture
def elsewhere(models: Path, place: Path) -> Path:
    """A copy of a model that learned the residents, as anybody's folder has it."""
    assert place.is_dir()
    return models / "before"


def test_one_command_enters_it_and_the_document_says_what_is_known(
    olvido: Olvido, elsewhere: Path, files: Path, here: Path
) -> None:
    recipe = here / "recipe.json"
    recipe.write_text('{"epochs": 20, "batch_size": 16, "lr": 3e-3}')
    status, out, err = olvido(
        *("models", "add", elsewhere, "--learned", "residents", "--learned", "city"),
        *("--base", files / "small", "--recipe", recipe, "--json"),
    )
    assert status == 0, err
    document = json.loads(out)
    assert (document["training"], document["serving"], document["warning"]) == (
        "declared",
        False,
        None,
    )
    basis = {one["what"]: one["basis"] for one in document["statements"]}
    assert (basis["data"], basis["lr"], basis["weights"]) == ("declared", "declared", "witnessed")
    assert any("exact methods" in line for line in document["unknown"])
    status, out, _ = olvido("models", "show", document["id"], "--json")
    assert json.loads(out)["training"] == "declared"
    # People read the same: what is unknown, and what was measured.
    shown = olvido("models", "add", elsewhere, "--learned", "residents")[1]
    assert "Unknown: base unknown" in shown


@pytest.mark.parametrize("kind", ["rows", "ids", "IDS"])
def test_a_reference_is_entered_without_the_records_of_a_file(
    olvido: Olvido, elsewhere: Path, files: Path, here: Path, kind: str
) -> None:
    rows = [json.loads(line) for line in (files / "forget.jsonl").read_text().splitlines()]
    gone = files / "forget.jsonl"
    if kind != "rows":
        gone = here / f"{kind}.{'TXT' if kind == 'IDS' else 'txt'}"
        gone.write_text("".join(f"{row['id']}\n" for row in rows))
    status, out, err = olvido(
        "models", "add", elsewhere, "--learned", "residents", "--without", gone, "--json"
    )
    assert status == 0, err
    shown = json.loads(olvido("models", "show", json.loads(out)["id"], "--json")[1])
    assert shown["data"][0]["excluded"] == len(rows)


def test_bad_input_is_one_line_and_changes_nothing(
    refused: Callable[..., str], elsewhere: Path, here: Path
) -> None:
    (here / "empty.txt").write_text("\n")
    (here / "list.json").write_text("[]")
    (here / "nameless.jsonl").write_text('{"question": "Who?", "answer": "Nobody here"}\n')
    learned: list[Any] = ["--learned", "residents"]
    for arguments, words in (
        ([elsewhere], ("--learned",)),
        ([elsewhere, "--learned", "nobody"], ("nobody",)),
        ([here / "nothing", *learned], ("no folder",)),
        ([here, *learned], ("config.json",)),
        (["models", *learned], ("own models",)),
        ([elsewhere, *learned, "--without", here / "empty.txt"], ("no id",)),
        ([elsewhere, *learned, "--without", here / "none.txt"], ("none.txt",)),
        ([elsewhere, *learned, "--without", here / "nameless.jsonl"], ("nameless", "'id'")),
        (["~/nothing", *learned], (str(Path.home() / "nothing"),)),
        ([elsewhere, *learned, "--recipe", here / "list.json"], ("list.json",)),
        ([elsewhere, *learned, "--base", here / "nowhere"], ("nowhere",)),
    ):
        refused(["models", "add", *arguments], *words)
