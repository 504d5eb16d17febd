"""`olvido audit`: status 0 only for a model that passes; missing evidence never does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.audits import AUDITS
from olvido.audits.types import Level
from olvido.models import load, save

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def asked(files: Path, models: Path) -> list[Any]:
    """An audit with all its evidence, of a model that never saw the records."""
    given = [
        (f"--{side}", files / f"{side}.jsonl")
        for side in ("forget", "retain", "neighbours", "general", "holdout")
    ]
    return [
        *("audit", models / "never-1", *(word for pair in given for word in pair)),
        *("--before", models / "before", "--reference", models / "never-2"),
    ]


def _without(arguments: list[Any], *options: str) -> list[Any]:
    gone = {i for option in options for i in (arguments.index(option), arguments.index(option) + 1)}
    return [word for i, word in enumerate(arguments) if i not in gone]


def _strictly(out: str) -> dict[str, Any]:
    """One document of the JSON that everybody reads: no NaN, no Infinity."""

    def nothing(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return dict(json.loads(out, parse_constant=nothing))


def test_a_model_that_never_saw_the_records_passes(olvido: Olvido, asked: list[Any]) -> None:
    status, out, err = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, err, report["verdict"]) == (0, "", "pass"), report["reasons"]
    assert report["reasons"] == []
    assert report["not_examined"] == {}
    quick = {name for name, kind in AUDITS.items() if kind.level is Level.QUICK}
    assert {finding["audit"] for finding in report["findings"]} == quick - {"adapter", "classes"}


def test_a_model_that_did_not_change_fails(olvido: Olvido, asked: list[Any], models: Path) -> None:
    asked[1] = models / "before"
    status, out, _ = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (1, "fail")
    reasons = " ".join(report["reasons"])
    assert "the weights did not change" in reasons
    assert "still recalls the forgotten" in reasons
    assert report["suspect"] == report["before"]


def test_people_read_the_verdict_and_what_was_not_examined(
    olvido: Olvido, asked: list[Any], models: Path
) -> None:
    asked[1] = models / "before"
    status, out, err = olvido(*_without(asked, "--neighbours"))
    assert status == 1
    assert "Verdict: fail. the weights did not change" in out
    assert "Not examined: neighbours" in out
    assert err.startswith("Loading models\n")


def test_without_required_evidence_the_verdict_is_no_pass(olvido: Olvido, asked: list[Any]) -> None:
    asked = _without(asked, "--retain", "--neighbours", "--general", "--holdout", "--before")
    status, out, _ = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (1, "unknown")
    assert "retain" in report["not_examined"]["collateral"]


def test_named_audits_are_the_only_ones(olvido: Olvido, asked: list[Any]) -> None:
    named = [name for name, audit in AUDITS.items() if audit.required]
    status, out, _ = olvido(*asked, "--audits", ", ".join(named), "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (0, "pass"), report["reasons"]
    assert {finding["audit"] for finding in report["findings"]} == set(named)


def test_a_required_audit_that_was_not_asked_for_is_no_pass(
    olvido: Olvido, asked: list[Any]
) -> None:
    status, out, _ = olvido(*asked, "--audits", "recall")
    assert status == 1
    assert "Verdict: unknown. " in out
    assert "likelihood was not examined: it was not asked for" in out
    assert "Not examined: likelihood (it was not asked for)." in out


@pytest.mark.parametrize("broken", ["suspect", "reference"])
def test_a_model_whose_weights_are_no_numbers_never_passes(
    olvido: Olvido, asked: list[Any], here: Path, models: Path, broken: str
) -> None:
    model = load(models / "before")
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(math.nan)
    save(model.model, model.tokenizer, here / "broken")
    asked[{"suspect": 1, "reference": -1}[broken]] = here / "broken"
    status, out, _ = olvido(*_without(asked, "--neighbours", "--general"), "--json")
    assert status == 1
    assert _strictly(out)["verdict"] != "pass"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--audits", "recal"], ["unknown audit 'recal'", "did you mean 'recall'?"]),
        (["--audits", ""], ["unknown audit ''", "recall"]),
        (["--reference", "nevr"], ["unknown model 'nevr'", "a folder"]),
        (["--before", "befor"], ["unknown model 'befor'"]),
        (["--forget", "forgot.jsonl"], ["there is no file forgot.jsonl"]),
        (["--chatt"], ["--chatt", "olvido audit --help"]),
    ],
)
def test_wrong_input_is_one_line(
    refused: Refused, asked: list[Any], arguments: list[str], words: list[str]
) -> None:
    refused([*asked, *arguments], *words)


def test_a_reference_is_required(refused: Refused, asked: list[Any]) -> None:
    refused(_without(asked, "--reference"), "Missing option '--reference'")


def test_a_reference_that_saw_the_records_is_refused(
    refused: Refused, asked: list[Any], models: Path
) -> None:
    refused([*asked, "--reference", models / "before"], "trained without it")


def test_a_named_audit_without_its_evidence_is_refused(refused: Refused, asked: list[Any]) -> None:
    asked = _without(asked, "--neighbours")
    refused([*asked, "--audits", "recall,neighbours"], "'neighbours' needs more evidence")


def test_a_file_without_records_is_refused(refused: Refused, asked: list[Any], here: Path) -> None:
    (here / "empty.jsonl").touch()
    asked[asked.index("--forget") + 1] = "empty.jsonl"
    refused(asked, "empty.jsonl holds no record")
