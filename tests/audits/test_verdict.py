"""The verdict fails closed: nothing but required audits that all hold makes a pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from olvido.audits import AUDITS, Finding, Need, Report, Status, Verdict
from olvido.audits.compare import finding
from olvido.audits.tolerances import RECALL, Range
from olvido.audits.verdict import NAMES, judge

REQUIRED = [name for name, audit in AUDITS.items() if audit.required]


def found(audit: str, status: Status, value: float = 0.0) -> Finding:
    return finding(
        audit=audit,
        metric="exact match",
        probe="forgotten",
        value=value,
        against="never-trained",
        spread=(0.0, 0.0),
        before=1.0,
        interval=(0.0, 0.0),
        n=4,
        clusters=2,
        tolerated=RECALL,
        status=status,
    )


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
        ({}, {"recall": (Need.BEFORE,)}, Verdict.UNKNOWN),
        # What is not required may be missing or silent, but it may not fail.
        ({"recall": [Status.PASS], "membership": [Status.SILENT]}, {}, Verdict.PASS),
        ({"recall": [Status.PASS]}, {"membership": (Need.HOLDOUT,)}, Verdict.PASS),
        ({"recall": [Status.PASS], "membership": [Status.FAIL]}, {}, Verdict.FAIL),
        # A failure outweighs what could not be examined.
        ({"membership": [Status.FAIL]}, {"recall": (Need.BEFORE,)}, Verdict.FAIL),
    ],
)
def test_cases(
    statuses: dict[str, list[Status]], missing: dict[str, tuple[Need, ...]], expected: Verdict
) -> None:
    findings = [found(audit, status) for audit, several in statuses.items() for status in several]
    verdict, reasons = judge(findings, missing, ["recall"])
    assert verdict is expected
    assert bool(reasons) == (verdict is not Verdict.PASS)


FINDINGS = st.lists(
    st.builds(found, st.sampled_from(sorted(AUDITS)), st.sampled_from(list(Status))), max_size=12
)
MISSING = st.dictionaries(st.sampled_from(sorted(AUDITS)), st.just((Need.RETAIN,)), max_size=3)


@given(findings=FINDINGS, missing=MISSING, audit=st.sampled_from(sorted(AUDITS)), at=st.integers())
def test_one_failure_fails_whatever_else_was_found(
    findings: list[Finding], missing: dict[str, tuple[Need, ...]], audit: str, at: int
) -> None:
    place = at % (len(findings) + 1)
    more = [*findings[:place], found(audit, Status.FAIL), *findings[place:]]
    verdict, reasons = judge(more, missing, REQUIRED)
    assert verdict is Verdict.FAIL
    assert any(NAMES[audit] in reason for reason in reasons)


@given(findings=FINDINGS, missing=MISSING)
def test_a_pass_means_that_every_required_audit_ran_and_held(
    findings: list[Finding], missing: dict[str, tuple[Need, ...]]
) -> None:
    verdict, reasons = judge(findings, missing, REQUIRED)
    passed = (
        not any(f.status is Status.FAIL for f in findings)
        and not any(name in missing for name in REQUIRED)
        and all(
            Status.PASS in (s := {f.status for f in findings if f.audit == name})
            and Status.UNKNOWN not in s
            for name in REQUIRED
        )
    )
    assert (verdict is Verdict.PASS) == passed == (not reasons)


def test_every_audit_has_its_words_for_people() -> None:
    assert set(NAMES) == set(AUDITS)


def test_a_missing_audit_says_what_to_give() -> None:
    _, reasons = judge([], {"paraphrase": (Need.PARAPHRASES,)}, ["paraphrase"])
    assert "paraphrase" in reasons[0]
    assert Need.PARAPHRASES.remedy in reasons[0]


BOUNDS = st.none() | st.floats(-10, 10)


@given(low=BOUNDS, high=BOUNDS, excess=st.floats())
@example(low=None, high=None, excess=math.nan)
def test_a_range_holds_what_lies_in_it_and_never_nan(
    low: float | None, high: float | None, excess: float
) -> None:
    inside = (low is None or excess >= low) and (high is None or excess <= high)
    assert Range(low, high).holds(excess) == (inside and not math.isnan(excess))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "above what is tolerated"), (math.nan, "not a number")],
)
def test_a_failed_finding_says_which_way(value: float, expected: str) -> None:
    assert expected in found("recall", Status.FAIL, value).says


def test_statuses_and_needs_can_be_explained() -> None:
    assert all(status.meaning for status in Status)
    assert all(need.remedy for need in Need)


@pytest.mark.parametrize("verdict", Verdict)
def test_only_a_pass_is_a_pass(verdict: Verdict) -> None:
    report = Report(verdict, (), (), {}, "sha256:0", None, ("sha256:1",))
    assert report.passed == (verdict is Verdict.PASS)


def test_a_finding_that_was_not_made_is_a_key_error() -> None:
    report = Report(
        Verdict.PASS, (), (found("recall", Status.PASS),), {}, "sha256:0", None, ("sha256:1",)
    )
    assert report.find("recall", "exact match").status is Status.PASS
    with pytest.raises(KeyError, match="AUC"):
        report.find("membership", "AUC")
