"""The verdict fails closed: nothing but required audits that all hold makes a pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from olvido.audits import AUDITS, EvidenceNeed, Finding, Report, Status, Verdict
from olvido.audits.compare import Question, finding
from olvido.audits.tolerances import RECALL, Range
from olvido.audits.verdict import Ground, judge, settle

REQUIRED = [name for name, audit in AUDITS.items() if audit.required]


MEANING = {name: audit.reason for name, audit in AUDITS.items()}


def raw(
    audit: str = "recall",
    value: float = 0.0,
    *,
    before: float | None = 1.0,
    p: float | None = None,
    first: Status = Status.PASS,
) -> Finding:
    return finding(
        Question(audit, "exact match", "forgotten", RECALL),
        value=value,
        against="never-trained",
        expected=0.0,
        spread=(0.0, 0.0),
        before=before,
        interval=(0.0, 0.0),
        p=p,
        n=4,
        clusters=2,
        first=first,
    )


def found(audit: str, status: Status) -> Finding:
    return raw(audit).but(status=status)


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        (raw(value=0.0), Status.PASS, "0.000"),
        (raw(value=0.5), Status.FAIL, "above what is tolerated"),
        (raw(value=math.nan), Status.FAIL, "not a number"),
        (raw(value=0.0, first=Status.SILENT), Status.SILENT, "proves nothing"),
        # Whether the model once knew it or not, what stands out now stands out.
        (raw(value=0.5, first=Status.SILENT), Status.FAIL, "above"),
        (raw(value=0.5, p=1e-6), Status.FAIL, "above"),
        (raw(value=0.5, p=math.nan), Status.FAIL, "above"),
        (raw(value=0.2, p=0.4), Status.PASS, "no further off than chance"),
        # Most of it is there still: that the evidence is thin acquits nobody.
        (raw(value=0.6, p=0.4, first=Status.UNKNOWN), Status.UNKNOWN, "too thin"),
        (raw(value=0.0, p=1.0, first=Status.UNKNOWN), Status.PASS, "0.000"),
    ],
)
def test_a_finding_is_settled(given: Finding, status: Status, says: str) -> None:
    (settled,) = settle([given])
    assert settled.status is status
    assert says in settled.says


def test_the_more_is_asked_the_more_it_takes_to_fail() -> None:
    one = settle([raw(value=0.3, p=0.04)])
    many = settle([raw(value=0.3, p=0.04)] * 10)
    assert one[0].status is Status.FAIL
    assert many[0].status is Status.PASS
    assert many[0].adjusted == pytest.approx(0.4)
    # A deterministic finding has no error probability, and takes no part.
    assert settle([raw(value=0.3, p=0.04), *[raw(value=0.0)] * 50])[0].status is Status.FAIL


def test_what_does_not_vote_is_shown_and_counts_for_nothing() -> None:
    silent = raw(value=0.9, p=1e-9).but(votes=False)
    voter = raw(value=0.3, p=0.04)
    settled = settle([silent, voter])
    assert [f.status for f in settled] == [Status.FAIL, Status.FAIL]
    assert settled[1].adjusted == 0.04
    verdict, _ = judge(settle([silent, raw()]), {}, ["recall"], MEANING)
    assert verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("statuses", "missing", "expected"),
    [
        ({"recall": [Status.PASS]}, {}, Verdict.PASS),
        ({"recall": [Status.FAIL]}, {}, Verdict.FAIL),
        ({"recall": [Status.PASS, Status.FAIL]}, {}, Verdict.FAIL),
        ({"recall": [Status.PASS, Status.SILENT]}, {}, Verdict.PASS),
        ({"recall": [Status.SILENT, Status.SILENT]}, {}, Verdict.UNKNOWN),
        ({"recall": [Status.PASS, Status.UNKNOWN]}, {}, Verdict.UNKNOWN),
        ({"recall": []}, {}, Verdict.UNKNOWN),
        ({}, {"recall": (EvidenceNeed.ORIGINAL,)}, Verdict.UNKNOWN),
        # What is not required may be missing or silent, but it may not fail.
        ({"recall": [Status.PASS], "membership": [Status.SILENT]}, {}, Verdict.PASS),
        ({"recall": [Status.PASS]}, {"membership": (EvidenceNeed.HOLDOUT,)}, Verdict.PASS),
        ({"recall": [Status.PASS], "membership": [Status.FAIL]}, {}, Verdict.FAIL),
        # A failure outweighs what could not be examined.
        ({"membership": [Status.FAIL]}, {"recall": (EvidenceNeed.ORIGINAL,)}, Verdict.FAIL),
    ],
)
def test_cases(
    statuses: dict[str, list[Status]],
    missing: dict[str, tuple[EvidenceNeed, ...]],
    expected: Verdict,
) -> None:
    findings = [found(audit, status) for audit, several in statuses.items() for status in several]
    verdict, reasons = judge(findings, missing, ["recall"], MEANING)
    assert verdict is expected
    assert bool(reasons) == (verdict is not Verdict.PASS)


FINDINGS = st.lists(
    st.builds(found, st.sampled_from(sorted(AUDITS)), st.sampled_from(list(Status))), max_size=12
)
MISSING = st.dictionaries(
    st.sampled_from(sorted(AUDITS)), st.just((EvidenceNeed.RETAIN,)), max_size=3
)


@given(findings=FINDINGS, missing=MISSING, audit=st.sampled_from(sorted(AUDITS)), at=st.integers())
def test_one_failure_fails_whatever_else_was_found(
    findings: list[Finding], missing: dict[str, tuple[EvidenceNeed, ...]], audit: str, at: int
) -> None:
    place = at % (len(findings) + 1)
    more = [*findings[:place], found(audit, Status.FAIL), *findings[place:]]
    verdict, reasons = judge(more, missing, REQUIRED, MEANING)
    assert verdict is Verdict.FAIL
    assert any(r.ground is Ground.FAILED and r.about == audit for r in reasons)
    assert any(MEANING[audit] in str(reason) for reason in reasons)


@given(findings=FINDINGS, missing=MISSING)
def test_a_pass_means_that_every_required_audit_ran_and_held(
    findings: list[Finding], missing: dict[str, tuple[EvidenceNeed, ...]]
) -> None:
    verdict, reasons = judge(findings, missing, REQUIRED, MEANING)
    passed = (
        not any(f.status is Status.FAIL for f in findings)
        and not any(name in missing for name in REQUIRED)
        and not any(f.status is Status.UNKNOWN for f in findings)
        and all(Status.PASS in {f.status for f in findings if f.audit == name} for name in REQUIRED)
    )
    assert (verdict is Verdict.PASS) == passed == (not reasons)


def test_every_audit_has_its_words_for_people() -> None:
    assert all(MEANING.values())
    assert len(set(MEANING.values())) == len(AUDITS)


def test_a_missing_audit_says_what_to_give() -> None:
    _, reasons = judge([], {"paraphrase": (EvidenceNeed.PARAPHRASES,)}, ["paraphrase"], MEANING)
    assert (reasons[0].ground, reasons[0].about) == (Ground.NOT_EXAMINED, "paraphrase")
    assert EvidenceNeed.PARAPHRASES.remedy in str(reasons[0])


BOUNDS = st.none() | st.floats(-10, 10)


@given(low=BOUNDS, high=BOUNDS, excess=st.floats())
@example(low=None, high=None, excess=math.nan)
def test_a_range_holds_what_lies_in_it_and_never_nan(
    low: float | None, high: float | None, excess: float
) -> None:
    inside = (low is None or excess >= low) and (high is None or excess <= high)
    assert Range(low, high).holds(excess) == (inside and not math.isnan(excess))


def test_statuses_and_needs_can_be_explained() -> None:
    assert all(status.meaning for status in Status)
    assert all(need.remedy for need in EvidenceNeed)


def reported(verdict: Verdict, *findings: Finding) -> Report:
    return Report(
        verdict=verdict,
        grounds=(),
        findings=findings,
        not_examined={},
        candidate="sha256:0",
        original=None,
        never_trained=("sha256:1",),
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_only_a_pass_is_a_pass(verdict: Verdict) -> None:
    report = reported(verdict)
    assert report.passed == (verdict is Verdict.PASS)


def test_a_finding_that_was_not_made_is_a_key_error() -> None:
    report = reported(Verdict.PASS, found("recall", Status.PASS))
    assert report.find("recall", "exact match").status is Status.PASS
    with pytest.raises(KeyError, match="AUC"):
        report.find("membership", "AUC")
