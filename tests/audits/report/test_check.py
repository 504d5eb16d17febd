"""A report of another model, or one that somebody edited, is not believed."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.schemas.published import misfits

from olvido.audits import AUDITS, EvidenceNeed, Report
from olvido.audits.check import check_report
from olvido.errors import InputError
from olvido.files import finite, write_document


@pytest.fixture(scope="module")
def passed(world: Any) -> dict[str, Any]:
    """The report of a model that passes, as a file would hold it. Copy it to change it."""
    return _written(world.report(world.stranger))


@pytest.fixture(scope="module")
def failed(world: Any) -> dict[str, Any]:
    """The report of a model that did not change."""
    return _written(world.report(world.before))


def _written(report: Any) -> dict[str, Any]:
    return dict(json.loads(json.dumps(finite(report.to_dict()), allow_nan=False)))


def test_true_reports_hold_for_their_models_and_for_no_other(
    passed: dict[str, Any], failed: dict[str, Any]
) -> None:
    assert (passed["verdict"], failed["verdict"]) == ("pass", "fail")
    assert misfits("audit-report", passed) == misfits("audit-report", failed) == []
    assert check_report(passed, passed["candidate"]) == []
    assert check_report(failed, failed["candidate"]) == []
    (reason,) = check_report(passed, failed["candidate"])
    assert "about another model" in reason
    assert passed["candidate"] in reason
    assert failed["candidate"] in reason


@pytest.mark.slow
def test_what_evidence_was_missing_changes_nothing(world: Any) -> None:
    for lacking in ({"retain": ()}, {"original": None}, {"holdout": ()}, {"audits": ["recall"]}):
        report = _written(world.report(world.stranger, **lacking))
        assert check_report(report, report["candidate"]) == []


def test_every_status_is_held_to_its_numbers(
    passed: dict[str, Any], failed: dict[str, Any]
) -> None:
    seen = set()
    for report in (passed, failed):
        for place, found in enumerate(report["findings"]):
            seen.add(found["status"])
            for status in ("pass", "fail", "unknown", "silent"):
                edited = copy.deepcopy(report)
                edited["findings"][place]["status"] = status
                reasons = check_report(edited, report["candidate"])
                if status == found["status"]:
                    assert reasons == []
                else:
                    # Findings are judged by their numbers, so the verdict still follows.
                    (reason,) = reasons
                    assert repr(found["metric"]) in reason
                    assert f"the status {status!r}" in reason
    assert {"pass", "fail"} <= seen


@pytest.mark.parametrize("instead", ["pass", "unknown"])
def test_what_proves_nothing_cannot_be_made_to_pass(world: Any, instead: str) -> None:
    one, other, original = world.references
    report = _written(world.report(world.stranger, original=original, reference=[one, other]))
    silent = [f for f in report["findings"] if f["status"] == "silent"]
    assert silent
    for found in silent:
        found["status"] = instead
    assert len(check_report(report, report["candidate"])) == len(silent)


def _verdict(report: dict[str, Any]) -> None:
    report["verdict"] = "pass"
    report["reasons"] = report["grounds"] = []


def _reasons(report: dict[str, Any]) -> None:
    report["reasons"] = report["grounds"] = []


def _prior(report: dict[str, Any]) -> None:
    next(f for f in report["findings"] if f["status"] == "pass")["prior"] = "silent"


def _worst(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        f for f in report["findings"] if f["status"] == "fail" and f["votes"]
    )
    return found


def _value(report: dict[str, Any]) -> None:
    found = _worst(report)
    found["value"] = found["expected"]


def _vote(report: dict[str, Any]) -> None:
    _worst(report)["votes"] = False


def _chance(report: dict[str, Any]) -> None:
    found = next(f for f in report["findings"] if f["status"] == "fail" and f["p"] is not None)
    found["p"] = 0.9


def _wider(report: dict[str, Any]) -> None:
    _worst(report)["tolerance"] = [None, None]


def _renamed(report: dict[str, Any]) -> None:
    _worst(report)["metric"] = "likeness"


def _dropped(report: dict[str, Any]) -> None:
    report["findings"] = [f for f in report["findings"] if f["status"] != "fail"]
    _verdict(report)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "verdict": (_verdict, "its verdict is 'pass', and what follows from its findings is 'fail'"),
    "reasons": (_reasons, "gives 0 reasons"),
    "prior": (_prior, "the status 'pass', and what follows from its numbers is 'silent'"),
    "sentences": (lambda r: r["reasons"].append("it is Tuesday"), "sentences"),
    "grounds": (lambda r: r["grounds"][0].update(ground="undecided"), "its reasons are not those"),
    "tolerances": (lambda r: r.update(tolerances="sha256:0"), "other tolerances"),
    "value": (_value, "is not"),
    "vote": (_vote, "votes, and the report says otherwise"),
    "chance": (_chance, "adjusted error probability"),
    "tolerance": (_wider, "what is tolerated is"),
    "another metric": (_renamed, "is no finding that is known"),
    "findings left out": (_dropped, "proves nothing"),
    "references left out": (lambda r: r.update(never_trained=[]), "no never-trained one"),
    "reference that knew": (
        lambda r: r["never_trained"].append(r["original"]),
        "among its never-trained",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named(failed: dict[str, Any], name: str) -> None:
    edit, reason = EDITS[name]
    edited = copy.deepcopy(failed)
    edit(edited)
    reasons = check_report(edited, failed["candidate"])
    assert any(reason in given for given in reasons), reasons


@pytest.mark.parametrize("name", [name for name, kind in AUDITS.items() if kind.required])
def test_a_pass_without_a_required_audit_does_not_hold(passed: dict[str, Any], name: str) -> None:
    edited = copy.deepcopy(passed)
    edited["findings"] = [f for f in edited["findings"] if f["audit"] != name]
    assert check_report(edited, passed["candidate"])


def test_audits_in_words_are_not_missed_where_there_are_no_words(passed: dict[str, Any]) -> None:
    """As in the report of a classifier, which answers with a class."""
    edited = copy.deepcopy(passed)
    spoken = {name for name, kind in AUDITS.items() if EvidenceNeed.LANGUAGE in kind.needs}
    edited["findings"] = [f for f in edited["findings"] if f["audit"] not in spoken]
    reasons = check_report(edited, passed["candidate"])
    # Fewer findings vote, so that nothing but the adjustment is another.
    assert all("adjusted error probability" in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"verdict": "pass"},
        {"findings": 3},
        {"findings": [{}]},
        {"findings": [None]},
        {"verdict": "perhaps"},
        {"not_examined": {"recall": ["magic"]}},
        {"not_examined": None},
    ],
)
def test_what_is_no_report_is_refused(passed: dict[str, Any], broken: dict[str, Any]) -> None:
    whole = bool(broken) and broken != {"verdict": "pass"}
    document = {**passed, **broken} if whole else broken
    with pytest.raises(InputError, match="no report of an audit"):
        check_report(document, "sha256:0")


@pytest.mark.slow
def test_numbers_that_json_cannot_say_are_no_edits(world: Any, passed: dict[str, Any]) -> None:
    broken = world.fresh(0)
    broken.load_state_dict(world.stranger.state_dict())
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(math.nan)
    report = _written(world.report(broken, audits=["recall", "likelihood", "retention"]))
    assert any(found["value"] is None for found in report["findings"])
    assert check_report(report, report["candidate"]) == []


@pytest.mark.slow
def test_a_report_comes_back_from_its_file_as_it_was(world: Any, tmp_path: Path) -> None:
    for number, model in enumerate((world.stranger, world.before)):
        report = world.report(model)
        report.save(tmp_path / f"{number}.json")
        again = Report.load(tmp_path / f"{number}.json")
        assert finite(again.to_dict()) == finite(report.to_dict())
        again.page(tmp_path / f"{number}.html")
        assert report.verdict.value in (tmp_path / f"{number}.html").read_text("utf-8").lower()
        assert "\n" not in repr(again)
        assert len(repr(again)) < 300


@pytest.mark.parametrize("edit", ["verdict", "value", "grounds", "not a report"])
def test_a_report_that_does_not_follow_from_its_findings_is_not_loaded(
    failed: dict[str, Any], tmp_path: Path, edit: str
) -> None:
    document = copy.deepcopy(failed)
    if edit == "verdict":
        document["verdict"] = "pass"
    elif edit == "value":
        document["findings"][0]["value"] = 0.5
    elif edit == "grounds":
        document["grounds"], document["reasons"] = [], []
    else:
        document = {"verdict": "pass"}
    write_document(document, tmp_path / "report.json")
    with pytest.raises(InputError):
        Report.load(tmp_path / "report.json")
