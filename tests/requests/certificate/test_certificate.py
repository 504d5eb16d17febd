"""A certificate says what was done, no more than its evidence, and stands only as it was issued.

Everything that is refused here is refused by Olvido and by the verifier in docs/, which share no
code.
"""

from __future__ import annotations

import base64
import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemas.published import misfits

from olvido.artifacts import KINDS
from olvido.audits.base import AUDITS
from olvido.audits.tolerances import version as tolerances
from olvido.audits.types import EvidenceNeed, Level
from olvido.audits.types import Status as Status_
from olvido.errors import StateError, UnknownName
from olvido.files import read_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import PRIVATE, Guarantee, RequestKind
from olvido.ledger.signing import SigningKey, public_file
from olvido.methods import METHODS
from olvido.methods.guarantee import MEANING
from olvido.requests.certificate import CertificateCheck, certificates_of, check, issue
from olvido.requests.certificate.answer import DESTROY, EXITS, UNSEEN
from olvido.requests.certificate.check import seal
from olvido.requests.certificate.claims import _OPTION_WORDS, COUNTED, overclaims
from olvido.requests.certificate.issue import statement_core
from olvido.requests.certificate.limits import LIMITS
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.publishing import Prepared, publish
from olvido.schemas.certificate import REST

from .conftest import MAIL, NEVER, PERSON, VERIFIER, Case, audit_of, destroyed, finding

Make = Callable[..., Case]
Path_ = tuple[str | int, ...]


def statement(envelope: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(envelope["payload"])))


def core_of(case: Case) -> dict[str, Any]:
    return statement_core(case.workspace, case.workspace.store.request("req-0001"))


def believed(
    case: Case, second: ModuleType, envelope: dict[str, Any], weights: str | None = None
) -> tuple[bool, bool]:
    """By Olvido, and by the verifier that shares no code with it."""
    pem = public_file(case.workspace.settings.signing_key).read_bytes()
    ours = check(envelope, case.key.public, weights)
    return ours.holds, second.check(copy.deepcopy(envelope), pem, weights) == []


@pytest.mark.parametrize("exact", [False, True])
def test_what_was_done_is_certified(case: Make, second: ModuleType, exact: bool) -> None:
    made = case(exact=exact)
    path = issue(made.workspace, "req-0001")
    envelope = read_document(path)
    assert believed(made, second, envelope) == (True, True)
    assert misfits("certificate", statement(envelope)) == []
    predicate = statement(envelope)["predicate"]
    assert predicate["guarantee"]["class"] == ("exact" if exact else "empirical")
    assert predicate["forgotten"]["count"] == 3
    (dataset,) = predicate["datasets"]
    assert dataset["root_before"] == str(made.workspace.store.dataset("people").root)
    assert dataset["root_after"] != dataset["root_before"]
    assert predicate["closure"]["complete"] is False
    assert predicate["made_by"]["environment"]["torch"] == "2.13.0"
    assert (predicate["audit"] is None) == exact
    if not exact:
        (kept, _) = predicate["utility"]
        assert kept == {
            "measure": "retention: exact match (forgotten)",
            "before": 0.96,
            "after": 0.95,
            "delta": 0.95 - 0.96,
        }
    checked = check(envelope, made.key.public)
    replay = f"olvido verify-exact {predicate['models']['after']['id']}"
    assert checked.replay == (replay if exact else None)
    assert made.workspace.store.verify_log().sound


def test_a_destroyed_model_is_certified_and_nothing_more(case: Make, second: ModuleType) -> None:
    made = case()
    store, model = made.workspace.store, made.report["model"]["before"]
    request = destroyed(made)
    core = statement_core(made.workspace, request)
    envelope = read_document(issue(made.workspace, request.id))
    assert believed(made, second, envelope) == (True, True)
    assert believed(made, second, envelope, made.report["digest"]["before"]) == (False, False)
    predicate = statement(envelope)["predicate"]
    assert (predicate["guarantee"]["class"], predicate["models"]["after"]) == ("destroyed", None)
    exact = {"class": "exact", "meaning": MEANING[Guarantee.EXACT], "bound": None}
    for changes in (
        {"guarantee": exact, "not_proven": list(LIMITS[Guarantee.EXACT])},
        {"forgotten": core["forgotten"] | {"count": 3}},
        {"report": str(Digest.of(b"none"))},
        {"method": core["method"] | {"name": "retrain"}},
        {"models": core["models"] | {"after": core["models"]["before"]}},
    ):
        assert overclaims(core | changes)
        assert believed(made, second, made.reissued(core | changes)) == (False, False), changes
    # A model that is back under its name is not gone.
    folder = made.workspace.settings.models / store.model(model).path
    folder.mkdir(parents=True)
    # What others put into its folder is not.
    (folder / "thesis.md").write_text("Mine.")
    statement_core(made.workspace, request)
    (folder / "model.safetensors").touch()
    with pytest.raises(StateError, match="was not destroyed"):
        statement_core(made.workspace, request)


def test_the_same_evidence_is_certified_once(case: Make) -> None:
    made = case()
    path = issue(made.workspace, "req-0001")
    content, events = path.read_bytes(), made.workspace.store.events()
    assert issue(made.workspace, "req-0001") == path
    # Killed between the log and the file: the same file is written again.
    path.unlink()
    assert certificates_of(made.workspace, "req-0001") == ()
    assert issue(made.workspace, "req-0001") == path
    assert (path.read_bytes(), made.workspace.store.events()) == (content, events)
    assert certificates_of(made.workspace, "req-0001") == (path,)
    assert path.name.startswith("req-0001-")


def test_a_model_s_weights_are_held_against_it(case: Make, second: ModuleType) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    after = made.report["digest"]["after"]
    assert believed(made, second, envelope, after) == (True, True)
    assert believed(made, second, envelope, made.report["digest"]["before"]) == (False, False)


def test_another_s_key_is_not_the_issuer_s(case: Make, second: ModuleType, tmp_path: Path) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    other = SigningKey.create(tmp_path / "other.key")
    assert not check(envelope, other.public).holds
    assert second.check(envelope, (tmp_path / "other.pub").read_bytes())
    # What another signed, under this issuer's name.
    forged = seal(statement(envelope), other)
    forged["signatures"][0]["keyid"] = made.key.public.id
    assert believed(made, second, forged) == (False, False)


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where every value stands that holds no other."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(item, (dict, list)) and item:
            yield from leaves(item, (*path, name))
        else:
            yield (*path, name)


def altered(value: Any) -> Any:
    """Another value of the same kind, where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}"
    return "something" if value is None else [1] if value == [] else {"a": 1}


def changed(document: dict[str, Any], path: Path_, change: Callable[[Any], Any]) -> dict[str, Any]:
    again = copy.deepcopy(document)
    inside: Any = again
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = change(inside[path[-1]])
    return again


@pytest.mark.slow
def test_every_altered_member_is_refused_signed_again_or_not(
    case: Make, second: ModuleType
) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    said = statement(envelope)
    paths = list(leaves(said))
    assert len(paths) > 150
    for path in paths:
        other = changed(said, path, altered)
        payload = base64.b64encode(rfc8785.dumps(other)).decode()
        assert believed(made, second, {**envelope, "payload": payload}) == (False, False), path
        # The issuer's own key, but not the log: the head was signed before.
        assert believed(made, second, seal(other, made.key)) == (False, False), path


def test_members_taken_away_or_added_are_refused(case: Make, second: ModuleType) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    said = statement(envelope)

    def objects(value: Any, path: Path_ = ()) -> Iterator[Path_]:
        yield path
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            if isinstance(item, (dict, list)):
                yield from objects(item, (*path, name))

    for path in objects(said):
        for change in ("add", "drop"):
            other = copy.deepcopy(said)
            inside: Any = other
            for name in path:
                inside = inside[name]
            if change == "add" and isinstance(inside, dict):
                inside["certified by"] = "everybody"
            elif change == "add":
                inside.append(inside[0] if inside else "x")
            elif inside:
                inside.pop(next(iter(inside)) if isinstance(inside, dict) else 0)
            else:
                continue
            assert believed(made, second, seal(other, made.key)) == (False, False), (path, change)


def test_altered_envelopes_are_refused(case: Make, second: ModuleType) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    (signature,) = envelope["signatures"]
    payload = base64.b64decode(envelope["payload"])
    spaced = base64.b64encode(json.dumps(json.loads(payload), indent=1).encode()).decode()
    for other in (
        {**envelope, "payloadType": "application/json"},
        {**envelope, "signatures": []},
        {**envelope, "signatures": [signature, signature]},
        {**envelope, "signatures": [{**signature, "keyid": "0" * 64}]},
        {**envelope, "signatures": [{**signature, "sig": signature["sig"][::-1]}]},
        {**envelope, "signatures": [{**signature, "sig": base64.b64encode(bytes(64)).decode()}]},
        {**envelope, "signatures": [{"sig": signature["sig"]}]},
        {**envelope, "signatures": None},
        {**envelope, "payload": envelope["payload"] + "\n"},
        {**envelope, "payload": envelope["payload"].rstrip("=")[:-2]},
        {**envelope, "payload": spaced},
        {**envelope, "payload": 7},
        {**envelope, "more": 1},
        {"payload": envelope["payload"]},
        {},
    ):
        assert believed(made, second, other) == (False, False), other


def audit(case: Case, *findings: Any) -> dict[str, Any]:
    digests = case.report["digest"]
    report = audit_of(digests["after"], digests["before"], *findings)
    for found in report["findings"]:
        del found["exhibit"]
    for name in ("seconds", "type", "version"):
        del report[name]
    return report


def overclaiming(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a dishonest issuer would like to certify, each a certificate of the right shape."""
    exact = {"class": "exact", "meaning": MEANING[Guarantee.EXACT], "bound": None}
    digests = case.report["digest"]
    failing = audit(case, finding("recall", "ROUGE-L", value=0.5, p=1e-6, interval=(0.38, 0.5)))
    unknown = audit(
        case,
        finding(
            "probes",
            "reversed: probability",
            value=0.6,
            p=0.2,
            interval=(-0.1, 1.2),
            prior=Status_.UNKNOWN,
        ),
    )
    said_pass = {"verdict": "pass", "reasons": [], "grounds": []}
    one = {"artefact": "raw rows", "exit": "open", "until": None, "reason": "not examined"} | {
        "by_word": False
    }

    def closed(**item: Any) -> dict[str, Any]:
        return {"complete": True, "open": [], "items": [{**one, "reason": None, **item}]}

    core: dict[str, Any] = core_of(case)
    dataset = core["datasets"][0]
    passing = core["audit"]
    for name, changes in {
        "exact by an empirical method": {
            "guarantee": exact,
            "not_proven": list(LIMITS[Guarantee.EXACT]),
        },
        "exact with the limits of less": {"guarantee": exact},
        "certified without a certified method": {
            "guarantee": {
                "class": "certified",
                "meaning": MEANING[Guarantee.CERTIFIED],
                "bound": {"epsilon": 1.0, "delta": 1e-5, "assumptions": ["convexity"]},
            },
            "not_proven": list(LIMITS[Guarantee.CERTIFIED]),
        },
        "empirical with a bound": {
            "guarantee": core["guarantee"]
            | {"bound": {"epsilon": 1.0, "delta": 1e-5, "assumptions": ["x"]}}
        },
        "deleted": {"guarantee": {"class": "deleted", "meaning": "gone", "bound": None}},
        "a meaning of its own": {"guarantee": core["guarantee"] | {"meaning": "never learned it"}},
        "no limits": {"not_proven": []},
        "fewer limits": {"not_proven": core["not_proven"][:1]},
        "no audit": {"audit": None, "references": [], "utility": []},
        "an audit that failed": {"audit": failing},
        "a failure called a pass": {"audit": failing | said_pass},
        "an undecided audit called a pass": {"audit": unknown | said_pass},
        "a failed finding called passed": {
            "audit": failing
            | said_pass
            | {
                "findings": [
                    found | {"status": "pass", "adjusted": found["adjusted"] and 1.0}
                    for found in failing["findings"]
                ]
            }
        },
        "a failed finding that has no vote": {
            "audit": failing
            | said_pass
            | {
                "findings": [
                    found | ({"votes": False} if found["status"] == "fail" else {})
                    for found in failing["findings"]
                ]
            }
        },
        "findings left out": {"audit": passing | {"findings": passing["findings"][1:]}},
        "no findings": {"audit": passing | {"findings": []}, "utility": []},
        "a required audit not made": {
            "audit": passing | {"findings": passing["findings"][1:], "not_examined": {"recall": []}}
        },
        "an excess made small": {
            "audit": passing
            | {"findings": [f | {"excess": 0.0, "value": 0.9} for f in passing["findings"]]}
        },
        "an audit of another model": {"audit": passing | {"candidate": digests["before"]}},
        "no reference": {"audit": passing | {"never_trained": []}, "references": []},
        "the model before as its own reference": {
            "audit": passing | {"never_trained": [digests["before"], str(NEVER[1])]},
            "references": [{"digest": d, "seed": 0} for d in (digests["before"], str(NEVER[1]))],
        },
        "references that were not asked": {"references": core["references"][:1]},
        "an audit beside another model before": {
            "audit": passing | {"original": str(Digest.of(b"another"))}
        },
        "utility told better": {"utility": [u | {"after": 1.0} for u in core["utility"]]},
        "utility not told": {"utility": []},
        "open called closed": {"closure": core["closure"] | {"complete": True}},
        "open not listed": {"closure": core["closure"] | {"open": []}},
        "open called closed and not listed": {
            "closure": core["closure"] | {"complete": True, "open": []}
        },
        "nothing looked at called closed": {"closure": {"complete": True, "open": [], "items": []}},
        "an exit that is none": {"closure": closed(exit="hidden")},
        "waiting for no date": {"closure": closed(exit="awaiting-expiry")},
        "waiting for a day that never was": {
            "closure": closed(exit="awaiting-expiry", until="2026-02-30")
        },
        "erased, one day": {"closure": closed(exit="erased", until="2027-01-01")},
        "cannot, without a reason": {"closure": closed(exit="cannot")},
        "open without a reason": {
            "closure": {
                "complete": False,
                "open": ["raw rows"],
                "items": [one | {"reason": ""}],
            }
        },
        "erased twice": {
            "closure": closed(exit="erased") | {"items": closed(exit="erased")["items"] * 2}
        },
        "weights that did not change": {
            "models": {"before": core["models"]["before"]}
            | {"after": core["models"]["after"] | {"weights": digests["before"]}}
        },
        "a model that is its own successor": {
            "models": {"before": core["models"]["before"]}
            | {"after": core["models"]["after"] | {"id": core["models"]["before"]["id"]}}
        },
        "a model gone that was not destroyed": {
            "models": core["models"] | {"after": None},
        },
        "destroyed, and still there": {
            "guarantee": {
                "class": "destroyed",
                "meaning": MEANING[Guarantee.DESTROYED],
                "bound": None,
            },
            "not_proven": list(LIMITS[Guarantee.DESTROYED]),
        },
        "more records than were forgotten": {
            "forgotten": core["forgotten"] | {"count": core["forgotten"]["count"] + 1}
        },
        "no records": {
            "forgotten": core["forgotten"] | {"count": 0},
            "datasets": [dataset | {"forgotten": 0}],
        },
        "more forgotten than there was": {"datasets": [dataset | {"about": 2}]},
        "a root that did not change": {
            "datasets": [dataset | {"root_after": dataset["root_before"]}]
        },
        "another dataset's root": {"datasets": [dataset | {"id": "0" * 16}]},
        "a dataset twice": {
            "datasets": [dataset, dataset | {"forgotten": 0}],
        },
        "an unknown method": {"method": core["method"] | {"name": "magic"}},
        "an unknown kind of request": {"request": core["request"] | {"kind": "wish"}},
        "answered before it was asked": {
            "request": core["request"] | {"answered": "2001-01-01T00:00:00+00:00"}
        },
        "answered after it was logged": {
            "request": core["request"] | {"answered": "2999-01-01T00:00:00+00:00"}
        },
        "another's answer": {"request": core["request"] | {"together": ["req-0009"]}},
    }.items():
        yield name, core | changes


@pytest.mark.slow
def test_more_than_the_evidence_is_never_certified(case: Make, second: ModuleType) -> None:
    made = case()
    wishes = list(overclaiming(made))
    assert len(wishes) >= 50
    assert overclaims(core_of(made)) == []
    for name, core in wishes:
        # The issuer's own code refuses to sign it, but for what only the log can tell.
        assert overclaims(core) or name == "answered after it was logged", name
        # And where the issuer's code was changed, whoever verifies refuses to believe it.
        ours, theirs = believed(made, second, made.reissued(core))
        assert (ours, theirs) == (False, False), name
    # The same way of making them gives a certificate that holds where nothing was added.
    assert believed(made, second, made.reissued(core_of(made))) == (True, True)


EDITS: dict[str, tuple[str, Any]] = {
    "the method": ("attempts/0/method", "retrain"),
    "the guarantee": ("attempts/0/outcome/guarantee", "exact"),
    "the audit": ("attempts/0/audit", None),
    "recall": ("attempts/0/audit/findings/2/value", 0.0),
    "a probability": ("attempts/0/audit/findings/2/p", 0.9),
    "the level": ("attempts/0/audit/level", "thorough"),
    "a reference": ("attempts/0/audit/never_trained/0", str(Digest.of(b"another"))),
    "a count": ("records/forgotten", 4),
    "the answer": ("model/after", None),
    "a sentence": ("attempts/0/outcome/stopped", "when all was gone"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_report_that_was_edited_gives_no_certificate(case: Make, name: str) -> None:
    made = case()
    store, path, value = made.workspace.store, *EDITS[name]
    inside: Any = made.report
    *way, last = path.split("/")
    for step in way:
        inside = inside[int(step) if step.isdecimal() else step]
    inside[int(last) if last.isdecimal() else last] = value
    made.write()
    before = store.events()
    with pytest.raises(StateError, match="was changed since it was published"):
        issue(made.workspace, "req-0001")
    assert store.events() == before
    assert not made.workspace.settings.certificates.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE uses SET guarantee = 'exact' WHERE guarantee IS NOT NULL",
        "UPDATE models SET method = 'retrain' WHERE method IS NOT NULL",
        "UPDATE models SET seed = 9 WHERE method IS NOT NULL",
        "UPDATE requests SET received_at = '2020-01-01T00:00:00+00:00'",
        "UPDATE requests SET law = 'ccpa'",
        "UPDATE request_steps SET detail = replace(detail, '\"npo\"', '\"retrain\"')",
        "UPDATE log SET detail = replace(detail, 'empirical', 'exact') WHERE kind LIKE 'request-%'",
        "UPDATE records SET source = 'elsewhere'",
        "UPDATE records SET licence = 'none'",
        "UPDATE models SET path = 'another'",
        "DELETE FROM record_subjects",
    ],
)
def test_tables_that_were_edited_give_no_certificate(case: Make, edit: str) -> None:
    import sqlite3

    made = case()
    with sqlite3.connect(made.workspace.settings.ledger) as ledger:
        assert ledger.execute(edit).rowcount > 0
    ledger.close()
    with pytest.raises(StateError):
        issue(made.workspace, "req-0001")
    assert not made.workspace.settings.certificates.exists()


def test_what_is_published_agrees_with_itself(case: Make) -> None:
    """A worker's file says what is to be published: nothing is entered that claims two things."""
    made = case()
    store, model = made.workspace.store, made.report["model"]
    uses = store.uses(model["after"])
    document = made.report | {"request": "req-0001"}
    honest = Prepared(
        ("req-0001",),
        store.model(model["after"]),
        uses,
        "npo",
        (True,),
        {"req-0001": document},
        served=True,
    )
    outcome = made.report["attempts"][0]["outcome"] | {"guarantee": "exact"}
    before = store.events()
    for changes in (
        {"uses": tuple(replace(use, guarantee=Guarantee.EXACT) for use in uses)},
        {"model": replace(store.model(model["after"]), method="retrain")},
        {
            "documents": {
                "req-0001": document | {"attempts": [{"method": "npo", "outcome": outcome}]}
            }
        },
        {"documents": {"req-0001": document | {"digest": {"after": "sha256:0"}}}},
    ):
        with pytest.raises(StateError):
            publish(made.workspace, replace(honest, **changes))
        assert store.events() == before


def test_a_request_without_an_answer_gives_no_certificate(case: Make) -> None:
    made = case()
    store = made.workspace.store
    with pytest.raises(UnknownName):
        issue(made.workspace, "req-9999")
    request = store.add_request(RequestKind.ERASURE, subject=store.key.subject(PERSON))
    with pytest.raises(StateError, match="has no answer in the log"):
        issue(made.workspace, request.id)


def test_a_clock_that_went_back_is_told_and_not_signed(
    case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = case()
    module = importlib.import_module("olvido.requests.certificate.issue")
    wrong = CertificateCheck(("it was logged before the request was answered",), None, None)
    monkeypatch.setattr(module, "check", lambda *_: wrong)
    with pytest.raises(StateError, match="Set the clock"):
        issue(made.workspace, "req-0001")
    assert not made.workspace.settings.certificates.exists()
    monkeypatch.setattr(module, "check", check)
    path = issue(made.workspace, "req-0001")
    # One that does not hold is not given out again.
    for broken in (b'{"payload": ""}', path.read_bytes().replace(b'"sig": "', b'"sig": "AAAA')):
        whole = path.read_bytes()
        path.write_bytes(broken)
        assert issue(made.workspace, "req-0001") == path
        assert path.read_bytes() == whole


def test_no_person_is_named_in_a_certificate(case: Make) -> None:
    made = case()
    envelope = read_document(issue(made.workspace, "req-0001"))
    payload = base64.b64decode(envelope["payload"])
    subject = made.workspace.store.key.subject(PERSON)
    for text in (PERSON, PERSON.casefold(), MAIL, subject.mac, '"r0"', "people", "somebody"):
        for spelling in (text, json.dumps(text)[1:-1]):
            assert spelling.encode() not in payload, text


@pytest.mark.slow
def test_the_verifier_runs_alone(case: Make, tmp_path: Path) -> None:
    """In an interpreter that sees neither Olvido nor this folder."""
    assert len(VERIFIER.read_text("utf-8").splitlines()) < 600
    assert "olvido" not in {
        word
        for line in VERIFIER.read_text("utf-8").splitlines()
        if "import" in line
        for word in line.split()
    }
    made = case()
    path = issue(made.workspace, "req-0001")
    key = public_file(made.workspace.settings.signing_key)
    (tmp_path / "other.json").write_text(path.read_text().replace("keyid", "key"))
    after = made.report["digest"]["after"]
    for arguments, status, said in (
        ([path, key], 0, "to be believed\n"),
        ([path, key, after], 0, "to be believed\n"),
        ([path, key, "sha256:0"], 1, "not to be believed: it is about another model"),
        ([tmp_path / "other.json", key], 1, "not to be believed"),
        ([tmp_path / "none.json", key], 2, ""),
        ([], 2, ""),
    ):
        done = subprocess.run(
            [sys.executable, "-I", VERIFIER, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stdout.startswith(said)) == (status, True), done


def test_the_verifier_knows_what_olvido_knows(second: ModuleType) -> None:
    """Where this fails a method or an audit is new: add it to docs/verify_certificate.py."""
    told = {name: kind for kind, (names, *_) in second.CLAIMS.items() for name in names or ()}
    own = {name: METHODS[name].guarantee for name in METHODS.built_in}
    others = {DESTROY: "destroyed", PRIVATE: "certified"}
    assert told == {n: str(g) for n, g in own.items()} | others
    for name in own:
        taken = {o: k for o, k in METHODS.options(name).items() if o not in ("trials", "factors")}
        assert set(second.METHODS[name].split()) == taken.keys()
        for option, kind in taken.items():
            named = next((k for k, known in second.OPTIONS.items() if option in known), float)
            assert kind in (named, named | None), (name, option)
    for guarantee in Guarantee:
        _, meaning, limits = second.CLAIMS[guarantee.value]
        assert (meaning, limits + second.ALWAYS) == (MEANING[guarantee], list(LIMITS[guarantee]))
    assert tolerances() == second.TOLERANCES
    assert list(second.AUDITS) == list(AUDITS.built_in)
    for name, kind in AUDITS.items():
        level, needs, _ = second.AUDITS[name]
        assert (level, needs) == (kind.level, set(kind.needs))
    assert set(second.REQUIRED) == {name for name, kind in AUDITS.items() if kind.required}
    assert {EvidenceNeed(name): place for name, place in second.COUNTED.items()} == COUNTED
    assert second.WORDS == _OPTION_WORDS
    assert {level.name.lower(): level for level in Level} == second.LEVELS
    assert {*OUTSIDE} == second.OUTSIDE
    assert set(second.KINDS) == {kind for kind in RequestKind if kind.forgets}
    assert second.EXITS == EXITS
    assert second.ARTEFACTS.split("|") == [*KINDS, REST]
    assert second.UNSEEN == UNSEEN


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(value=json_values)
def test_both_canonical_forms_are_that_of_rfc_8785(second: ModuleType, value: Any) -> None:
    assert second.canonical(value).encode() == rfc8785.dumps(value)


def test_a_checked_certificate_without_a_statement_offers_no_replay() -> None:
    assert CertificateCheck(("forged",), None, None).replay is None
