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

UNCHANGED = "the weights did not change"

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
        *("--original", models / "before", "--reference", models / "never-2"),
    ]


def _without(arguments: list[Any], *options: str) -> list[Any]:
    gone = {i for option in options for i in (arguments.index(option), arguments.index(option) + 1)}
    return [word for i, word in enumerate(arguments) if i not in gone]


def _strictly(out: str) -> dict[str, Any]:
    """One document of the JSON that everybody reads: no NaN, no Infinity."""

    def nothing(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return dict(json.loads(out, parse_constant=nothing))


@pytest.mark.slow
def test_a_model_that_never_saw_the_records_passes(olvido: Olvido, asked: list[Any]) -> None:
    status, out, err = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, err, report["verdict"]) == (0, "", "pass"), report["reasons"]
    assert report["reasons"] == []
    assert report["not_examined"] == {}
    quick = {name for name, kind in AUDITS.items() if kind.level is Level.QUICK}
    assert {finding["audit"] for finding in report["findings"]} == quick - {"adapter", "classes"}


@pytest.mark.slow
def test_a_model_that_did_not_change_fails(olvido: Olvido, asked: list[Any], models: Path) -> None:
    asked[1] = models / "before"
    status, out, _ = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (1, "fail")
    reasons = " ".join(report["reasons"])
    assert UNCHANGED in reasons
    assert "still recalls the forgotten" in reasons
    assert report["candidate"] == report["original"]


@pytest.mark.slow
def test_people_read_the_verdict_and_what_was_not_examined(
    olvido: Olvido, asked: list[Any], models: Path
) -> None:
    asked[1] = models / "before"
    status, out, err = olvido(*_without(asked, "--neighbours"))
    assert status == 1
    assert f"Verdict: fail. {UNCHANGED}" in out
    assert "Not examined: neighbours" in out
    assert err.startswith("Loading models\n")


def test_without_required_evidence_the_verdict_is_no_pass(olvido: Olvido, asked: list[Any]) -> None:
    asked = _without(asked, "--retain", "--neighbours", "--general", "--holdout", "--original")
    status, out, _ = olvido(*asked, "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (1, "unknown")
    assert "retain" in report["not_examined"]["retention"]


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["candidate", "reference"])
def test_a_model_whose_weights_are_no_numbers_never_passes(
    olvido: Olvido, asked: list[Any], here: Path, models: Path, broken: str
) -> None:
    model = load(models / "before")
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(math.nan)
    save(model.model, model.tokenizer, here / "broken")
    asked[{"candidate": 1, "reference": -1}[broken]] = here / "broken"
    status, out, _ = olvido(*_without(asked, "--neighbours", "--general"), "--json")
    assert status == 1
    assert _strictly(out)["verdict"] != "pass"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--audits", "recal"], ["unknown audit 'recal'", "did you mean 'recall'?"]),
        (["--audits", ""], ["unknown audit ''", "recall"]),
        (["--reference", "nevr"], ["unknown model 'nevr'", "a folder"]),
        (["--original", "befor"], ["unknown model 'befor'"]),
        (["--forget", "forgot.jsonl"], ["there is no file forgot.jsonl"]),
        (["--chatt"], ["--chatt", "olvido audit --help"]),
    ],
)
def test_wrong_input_is_one_line(
    refused: Refused, asked: list[Any], arguments: list[str], words: list[str]
) -> None:
    refused([*asked, *arguments], *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["models that never saw the records", "--reference", "--base MODEL --keep DIR"]),
        (["--base", "FILES/small"], ["--keep DIR"]),
        (["--base", "tiny", "--keep", "kept"], ["--base tiny has weights of other shapes"]),
        (["--base", "FILES/nothing", "--keep", "kept"], ["no folder", "nothing"]),
        (["--base", "FILES/small", "--keep", "FILES/forget.jsonl"], ["is no folder"]),
        (["--base", "FILES/small", "--keep", "kept", "--epochs", "0"], ["epochs"]),
        (["--base", "FILES/small", "--keep", "kept", "--shadows", "3"], ["in pairs"]),
        (["--base", "FILES/small", "--keep", "kept", "--audits", "recal"], ["'recal'"]),
        (["--base", "FILES/small", "--keep", "kept", "--references", "0"], ["--references"]),
        (["--reference", "FILES/small", "--keep", "kept"], ["--keep", "--base"]),
        (["--reference", "FILES/small", "--lr", "1e-3"], ["--lr", "--base"]),
        (["--reference", "FILES/small", "--level", "deep"], ["unknown level 'deep'", "standard"]),
        (["--reference", "FILES/small", "--page", "report.json"], ["ends in .html"]),
        (["--reference", "FILES/small", "--page", "no/report.html"], ["there is no folder no"]),
        (["--reference", "FILES/small", "--cache", "FILES/forget.jsonl"], ["is no folder"]),
    ],
)
def test_models_to_compare_with_are_given_or_trained_and_nothing_else(
    refused: Refused, asked: list[Any], files: Path, arguments: list[str], words: list[str]
) -> None:
    given = [word.replace("FILES", str(files)) for word in arguments]
    refused([*_without(asked, "--reference"), *given], *words)


def test_a_text_to_be_kept_and_forgotten_both_is_refused_before_anything_is_trained(
    refused: Refused, asked: list[Any], files: Path
) -> None:
    asked[asked.index("--retain") + 1] = files / "residents.jsonl"
    asked = _without(asked, "--reference")
    refused([*asked, "--base", files / "small", "--keep", "kept"], "would have seen that")


@pytest.mark.slow
def test_never_trained_models_are_trained_once_and_used_again(
    olvido: Olvido, files: Path, models: Path, here: Path
) -> None:
    asked = [
        *("audit", models / "never-1", "--forget", files / "forget.jsonl"),
        *("--retain", files / "retain.jsonl", "--holdout", files / "holdout.jsonl"),
        *("--base", files / "small", "--keep", "kept", "--references", 2, "--shadows", 2),
        *("--epochs", 1, "--audits", "likelihood", "--json"),
    ]
    found = []
    for _ in range(2):
        status, out, err = olvido(*asked)
        assert (status, err) == (1, "")
        report = _strictly(out)
        found.append((report["never_trained"], report["findings"]))
        made = {path: path.stat().st_mtime_ns for path in (here / "kept").glob("*/*")}
        found.append(made)
    assert found[:2] == found[2:]
    names = sorted(folder.name[:13] for folder in (here / "kept").iterdir())
    assert names == ["reference-001", "reference-002", "shadow-000-" + names[2][11:], names[3]]
    assert len(set(report["never_trained"])) == 2
    assert report["trained"]["recipe"]["epochs"] == 1
    assert report["predicted_seconds"] > 0


def test_people_are_told_how_long_it_takes_before_it_starts(
    olvido: Olvido, files: Path, here: Path
) -> None:
    _, _, err = olvido(
        *("audit", files / "small", "--forget", files / "forget.jsonl"),
        *("--reference", "tiny", "--audits", "likelihood", "--cache", "said"),
    )
    lines = err.splitlines()
    told = next(n for n, line in enumerate(lines) if line.startswith("The audit takes about "))
    assert "(level quick)" in lines[told]
    assert "Audited likelihood" in lines[told:]
    assert list((here / "said").rglob("*.npz"))


@pytest.mark.slow
def test_a_page_is_written_beside_the_document(
    olvido: Olvido, asked: list[Any], here: Path, models: Path
) -> None:
    asked[1] = models / "before"
    named = ["--audits", "change,recall,likelihood,retention"]
    status, out, _ = olvido(*asked, *named, "--page", "report.html", "--json")
    assert (status, _strictly(out)["verdict"]) == (1, "fail")
    page = (here / "report.html").read_text("utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert UNCHANGED in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert [path.name for path in here.iterdir()] == ["report.html"]


def test_another_tokenizer_is_refused(
    refused: Refused, asked: list[Any], files: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tokenizers import Tokenizer
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    other = tmp_path_factory.mktemp("other") / "model"
    words = Tokenizer(kinds.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[UNK]")
    save(load(files / "small").model, made, other)
    refused([*asked, "--reference", other], "has another tokenizer")


def test_a_reference_that_saw_the_records_is_refused(
    refused: Refused, asked: list[Any], models: Path
) -> None:
    refused([*asked, "--reference", models / "before"], "trained without the forgotten")


@pytest.mark.parametrize("copied", ["the audited model", "another reference"])
def test_a_reference_that_is_another_model_of_the_audit_is_refused(
    refused: Refused, asked: list[Any], models: Path, copied: str
) -> None:
    again = models / ("never-1" if copied == "the audited model" else "never-2")
    refused([*asked, "--reference", again], "trained without the forgotten")


@pytest.mark.slow
@pytest.mark.parametrize("with_before", [True, False])
def test_a_reference_that_knows_the_records_voids_the_verdict(
    olvido: Olvido, asked: list[Any], models: Path, here: Path, with_before: bool
) -> None:
    knowing = load(str(models / "before"))
    with torch.no_grad():
        for weight in knowing.model.parameters():
            weight += 5e-3 * weight.std() * torch.randn_like(weight)
    save(knowing.model, knowing.tokenizer, here / "knowing")
    if not with_before:
        asked = _without(asked, "--original")
    status, out, _ = olvido(*asked, "--reference", here / "knowing", "--json")
    report = _strictly(out)
    assert (status, report["verdict"]) == (1, "unknown")
    told = [g["about"] for g in report["grounds"] if g["ground"] == "contaminated reference"]
    assert told == [report["never_trained"][1]]


def test_a_named_audit_without_its_evidence_is_refused(refused: Refused, asked: list[Any]) -> None:
    asked = _without(asked, "--neighbours")
    refused([*asked, "--audits", "recall,neighbours"], "'neighbours' needs more evidence")


def test_a_file_without_records_is_refused(refused: Refused, asked: list[Any], here: Path) -> None:
    (here / "empty.jsonl").touch()
    asked[asked.index("--forget") + 1] = "empty.jsonl"
    refused(asked, "empty.jsonl holds no record")
