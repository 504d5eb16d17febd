"""The schemas in docs/schemas are those of the documents, and describe what is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from olvido import artifact_shapes as shapes
from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import Request, RequestStatus
from olvido.schemas.__main__ import DOCUMENTS, schema_of
from olvido.schemas.audit import AuditReport, Finding, Status, Verdict
from olvido.schemas.events import event
from olvido.schemas.options import RunOptions
from olvido.schemas.plan import Chosen, Plan, Way

from .published import SCHEMAS, misfits


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_published_is_what_the_documents_are(name: str) -> None:
    written = (SCHEMAS / f"{name}.json").read_text("utf-8")
    assert written == schema_of(name), "run 'python -m olvido.schemas docs/schemas'"
    Draft202012Validator.check_schema(json.loads(written))


def test_nothing_else_is_published() -> None:
    assert {path.stem for path in SCHEMAS.iterdir()} == set(DOCUMENTS)


def finding(**changed: Any) -> Finding:
    values: dict[str, Any] = {
        "audit": "recall",
        "metric": "exact match",
        "probe": "forgotten",
        "value": 0.5,
        "against": "never-trained",
        "expected": 0.25,
        "never_trained": (0.25,),
        "before": 1.0,
        "interval": (0.0, 0.5),
        "p": 0.01,
        "n": 4,
        "clusters": 2,
        "tolerance": (None, 0.05),
        "votes": True,
        "status": Status.FAIL,
        "says": "half of it",
    }
    return Finding(**values | changed)


def report(**changed: Any) -> AuditReport:
    values: dict[str, Any] = {
        "verdict": Verdict.FAIL,
        "grounds": (),
        "findings": (finding(), finding(value=float("nan"))),
        "not_examined": {},
        "candidate": "sha256:0",
        "original": None,
        "never_trained": ("sha256:1",),
        "tolerances": "sha256:2",
    }
    return AuditReport(**values | changed)


WAY = Way(
    method="retrain",
    guarantee="exact",
    summary="train again",
    applies=True,
    refusal=None,
    seconds=3.0,
    share_of_retraining=1.0,
)
WRITTEN = {
    "finding": finding(),
    "audit-report": report(),
    "plan": Plan(
        requests=("req-0001",),
        routes=(WAY,),
        chosen=Chosen(order=("retrain",), because="it is the only one"),
    ),
    "run-options": RunOptions(method="npo", options={"lr": 1e-4}, within=60.0, level="quick"),
}


def as_read(document: dict[str, Any]) -> dict[str, Any]:
    """As a file would have it, where what is not finite is null."""
    from olvido.files import finite

    return dict(json.loads(json.dumps(finite(document), allow_nan=False)))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_document_is_read_as_it_was_written_and_no_other_is(name: str) -> None:
    made = WRITTEN[name]
    document = as_read(made.to_dict())
    assert misfits(name, document) == []
    again = type(made).read(document)
    assert as_read(again.to_dict()) == document
    for member in document:
        lacking = {key: value for key, value in document.items() if key != member}
        assert misfits(name, lacking)
    more = document | {"anything": 1}
    assert misfits(name, more)
    with pytest.raises(InputError, match="anything"):
        type(made).read(more)
    with pytest.raises(ValidationError):
        made.says = "something else"  # type: ignore[union-attr]


@pytest.mark.parametrize("member", ["type", "version"])
def test_another_type_or_version_is_refused(member: str) -> None:
    document = WRITTEN["audit-report"].to_dict() | {member: "another"}
    with pytest.raises(InputError, match=member):
        AuditReport.read(document)


def test_a_finding_reckons_how_far_it_is_and_no_sentence_decides_anything() -> None:
    assert finding().excess == 0.25
    assert finding().outside
    for says in ("silent", "(the original did no better: proves nothing)", "passed", ""):
        assert finding(says=says).status is Status.FAIL
        assert finding(says=says).outside


def test_every_status_of_a_request_has_its_event() -> None:
    for status in RequestStatus:
        made = event(status, {"why": "said so"})
        assert made.status == status
        assert misfits("request-event", made.to_dict()) == []
        with pytest.raises(InputError, match="cannot say this"):
            event(status, {"whi": "said so"})
    with pytest.raises(InputError, match="cannot say this"):
        event(RequestStatus.WAITING, {"order": {}})
    assert Request.__dataclass_fields__["history"]


def test_what_runs_are_asked_for_is_refused_in_the_words_of_a_door() -> None:
    for wrong in ({"references": 0}, {"within": -1.0}, {"seed": 2**64}, {"options": {"lr": 1}}):
        with pytest.raises(InputError) as error:
            RunOptions(**wrong)
        (name,) = wrong
        called = "method" if name == "options" else name
        assert f"--{called}" in error.value.rendered(lambda term: f"--{term.name}")
    with pytest.raises(UnknownName, match="quick"):
        RunOptions(level="quik")  # type: ignore[arg-type]


def test_what_erasure_knows_a_report_by_is_in_every_report() -> None:
    assert AuditReport.model_fields.keys() >= shapes._AUDIT
