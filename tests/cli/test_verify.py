"""`olvido verify-exact`: status 0 only where every bit was come to again without who left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.artifact_shapes import NOTE
from olvido.learners import fresh, trained, verifier
from olvido.learners.verifier import STATES
from olvido.workspace import reading as workspace

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def repeated() -> Callable[[Path], tuple[fresh.ProcessResult, float]]:
    """Runs are repeated in the test's own process, and once only, which is quicker; that of a
    classifier (test_classifiers.py) has a fresh one."""
    known: dict[str, fresh.ProcessResult] = {}

    def carried_out(path: Path) -> tuple[fresh.ProcessResult, float]:
        sent = fresh.take(path)
        plan = sent.spec.plan.digest
        if plan not in known:
            known[plan] = fresh._carried_out(sent)
        return known[plan], 0.0

    return carried_out


@pytest.fixture
def asked(
    answered: tuple[Path, dict[str, Any]],
    repeated: Callable[[Path], tuple[fresh.ProcessResult, float]],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Stands in a workspace whose served model forgot by retraining; gives that model's folder."""
    monkeypatch.setattr(verifier, "carry_out_fresh", repeated)
    folder = here / "workspace"
    shutil.copytree(answered[0], folder)
    monkeypatch.chdir(folder)
    (model,) = [
        note.parent
        for note in (folder / "models").glob(f"*/{NOTE}")
        if json.loads(note.read_text("utf-8"))["runs"]["run"]["plan"]["absent"]
    ]
    return model


def _changed(
    patch: pytest.MonkeyPatch, model: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Change what is written down of the model's training, with each digest that guards it."""
    note = json.loads((model / NOTE).read_text("utf-8"))
    change(note)
    del note["digest"]
    note["digest"] = trained._digest(note)
    logged = workspace.function_digest
    known = logged(model)
    (model / NOTE).write_text(json.dumps(note), "utf-8")
    # As if it had been entered like this: an edit of a file is refused before anything is read.
    patch.setattr(
        workspace, "function_digest", lambda folder: known if folder == model else logged(folder)
    )


@pytest.mark.slow
def test_a_model_that_forgot_exactly_is_equal(olvido: Olvido, asked: Path) -> None:
    status, out, err = olvido("verify-exact", "serving", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["equal"] is True
    assert found["id"] == asked.name
    assert found["proven"].startswith("exact: equal, bit for bit, to a training in which")
    assert found["absent"] > 0
    assert found["runs"][0]["matched"] == list(STATES)


@pytest.mark.slow
def test_people_are_told_what_was_compared_and_what_it_does_not_show(
    olvido: Olvido, asked: Path
) -> None:
    status, out, err = olvido("verify-exact", "serving", "--workers", 2)
    said = " ".join(out.split())
    assert status == 0
    for word in ("run", *STATES, "equal"):
        assert word in said
    assert (
        "Verified exact: equal, bit for bit, to a training in which the records never took part"
        in said
    )
    assert "This does not show that the weights the training began with never knew" in said
    assert "DIFFERS" not in out
    assert err == "Loading serving\nTraining serving over from its beginning\n"


def test_a_model_whose_run_ended_otherwise_is_not(
    olvido: Olvido, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _changed(
        monkeypatch, asked, lambda note: note["runs"]["run"]["final"].update(optimizer="0" * 64)
    )
    status, out, _ = olvido("verify-exact", "serving", "--json")
    assert status == 1
    assert json.loads(out)["runs"][0]["differing"] == ["optimizer"]
    status, out, _ = olvido("verify-exact", "serving")
    assert status == 1
    assert out.count("DIFFERS") == 1
    assert "Not equal" in out
    assert "Verified" not in out


def test_another_environment_is_one_line(
    refused: Refused, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it would be recorded elsewhere, the log's own chain included.
    _changed(
        monkeypatch,
        asked,
        lambda note: note["runs"]["run"]["environment"].update(torch="1.0", cpu="an abacus"),
    )
    refused(["verify-exact", "serving"], "cpu: recorded 'an abacus'", "torch: recorded '1.0'")


def test_a_model_that_an_empirical_method_touched_is_refused(
    refused: Refused, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited(note: dict[str, Any]) -> None:
        gone = note["runs"]["run"]["plan"]["slots"][:1]
        before = {"kind": note["kind"]}
        note.update(kind="Edited", forgotten=gone, losses={}, previous=before)

    _changed(monkeypatch, asked, edited)
    refused(["verify-exact", "serving"], "forgotten by an empirical method")


def test_a_model_that_still_holds_who_asked_to_leave_is_refused(
    refused: Refused, asked: Path
) -> None:
    refused(["verify-exact", "previous"], "records to be forgotten", "olvido request run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["servin"], ["unknown model 'servin'", "did you mean 'serving'?"]),
        (["serving", "--workers", "0"], ["workers must be at least 1"]),
        ([], ["Missing argument 'model'"]),
    ],
)
@pytest.mark.usefixtures("asked")
def test_wrong_input_is_one_line(refused: Refused, arguments: list[str], words: list[str]) -> None:
    refused(["verify-exact", *arguments], *words)
