"""A workspace whose request was answered, made of facts alone: nothing is trained here."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.audits import EvidenceNeed, Finding, Report, Status
from olvido.audits.authentication import Authentication, OriginalStatus, Standing
from olvido.audits.tolerances import ADVISORY, tolerated
from olvido.audits.verdict import judge, settle
from olvido.data.importing import import_rows
from olvido.files import write_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model, Request, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import Store
from olvido.requests import receive
from olvido.requests.certificate.answer import ANSWER, answer
from olvido.requests.certificate.check import KIND, detail_of, seal
from olvido.requests.certificate.issue import _place, statement_about
from olvido.requests.certificate.limits import LIMITS
from olvido.requests.handlers import approve
from olvido.requests.not_learned import destroy, plan_destruction
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.settings import Settings
from olvido.workspace import Workspace

VERIFIER = Path(__file__).parents[3] / "docs" / "verify_certificate.py"
PERSON, MAIL = "Núria Puigdomènech", "nuria.puig@example.org"
ROWS = [
    {"id": f"r{i}", "text": f"row {i}", "subject": PERSON if i < 3 else f"person {i}"}
    for i in range(8)
]
LACKING = {
    "truth": EvidenceNeed.PERTURBED,
    "neighbours": EvidenceNeed.NEIGHBOURS,
    "general": EvidenceNeed.GENERAL,
}
NEVER = [Digest.of(name.encode()) for name in ("never 1", "never 2")]


def finding(audit: str, metric: str = "exact match", **changed: Any) -> Finding:
    expected = changed.get("expected", 0.06)
    allowed = tolerated(audit, metric, expected)
    assert allowed is not None, (audit, metric)
    values: dict[str, Any] = {
        "audit": audit,
        "metric": metric,
        "probe": "forgotten",
        "value": 0.08,
        "against": "never-trained",
        "expected": expected,
        "never_trained": (expected - 0.01, expected + 0.01),
        "before": 0.97,
        "interval": (-0.02, 0.06),
        "p": 1.0,
        "n": 30,
        "clusters": 6,
        "tolerance": (allowed.low, allowed.high),
        "votes": (audit, metric) not in ADVISORY,
        "status": changed.get("prior", Status.PASS),
        "says": "8% against 6%",
    }
    return Finding(**values | changed)


def audit_of(
    candidate: str, before: str, *changed: Finding, lacking: Mapping[str, EvidenceNeed] = LACKING
) -> dict[str, Any]:
    """A report of level standard, about words, whose verdict follows from its findings.

    What is required and lacks something was not examined, and leaves it undecided.
    """
    whole: dict[str, Any] = {"interval": None, "p": None, "before": None, "n": 1, "clusters": 1}
    findings = settle(
        [
            finding("change", "weights changed", value=1.0, expected=1.0, **whole),
            finding("filter", "things around the weights", value=0.0, expected=0.0, **whole),
            finding("recall"),
            finding("paraphrase"),
            finding("probes", "alias: probability"),
            finding("extraction", "exact memorisation"),
            finding("likelihood", "loss", value=2.1, expected=2.0, before=0.1),
            finding("membership", "AUC of the loss attack"),
            finding("difference", "AUC of the loss gained", p=None, interval=None),
            finding("quantization", "probability in int4"),
            finding("relearning", "probability after 40 steps"),
            finding("lens", "probability at the best layer"),
            finding("retention", value=0.95, expected=0.96, before=0.96),
            finding("fluency", "repetition"),
            finding("refusal", "refused or all alike", before=None),
            *changed,
        ]
    )
    missing = {name: (need,) for name, need in lacking.items()}
    findings = tuple(f for f in findings if f.audit not in missing)
    required = ["filter", "recall", "paraphrase", "likelihood", "retention", "fluency"]
    verdict, grounds = judge(findings, missing, required, {})
    report = Report(
        verdict=verdict,
        grounds=grounds,
        findings=findings,
        not_examined=missing,
        candidate=candidate,
        original=before,
        never_trained=tuple(map(str, NEVER)),
        level="standard",
        records=dict.fromkeys(("neighbours", "general"), 0)
        | {
            "forget": 3,
            "paraphrased": 0 if "paraphrase" in lacking else 3,
            "retain": 5,
            "controls": 6,
        },
        not_possible={"adapter": "there is nothing of the kind in these models or records"},
        references=tuple(
            Authentication(
                digest=str(one),
                standing=Standing.WITNESSED,
                witnessed=True,
                tests={},
                adjusted=None,
                control=None,
                beside=None,
                answers=0,
                facts=0,
                knowing=None,
            )
            for one in NEVER
        ),
        original_status=OriginalStatus.KNOWS,
    )
    return report.to_dict(texts=False)


@dataclass
class Case:
    """A workspace in which req-0001 was answered."""

    workspace: Workspace
    report: dict[str, Any]

    @cached_property
    def key(self) -> SigningKey:
        return self.workspace.store.signer(self.workspace.settings.signing_key)

    def write(self) -> None:
        """Put the report, changed or not, where it lies."""
        write_document(self.report, self.workspace.settings.reports / "req-0001.json")

    def reissued(self, core: dict[str, Any]) -> dict[str, Any]:
        """An envelope of what was never to be certified: a dishonest issuer's, log and all."""
        number = self.workspace.store.note(KIND, detail_of(core))
        log = _place(self.workspace, number, self.key)
        return seal(statement_about(core, log), self.key)


@cache
def _begun(exact: bool, law: str | None) -> Path:
    """A workspace with a request up to its audit: to copy takes a tenth of the time."""
    folder = Path(mkdtemp(prefix="olvido-answered-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    with Workspace(settings) as workspace:
        store = workspace.store
        dataset = import_rows(store, settings.data, ROWS, name="people").dataset
        environment = {"torch": "2.13.0", "cpu": "a processor®"}
        made = Model(
            digest=Digest.of(b"before"),
            function=Digest.of(b"function"),
            path="before",
            learner="monolith",
            recipe={"base": "/home/somebody/model", "lr": 1e-3, "epochs": 3},
            environment=environment,
        )
        before = store.add_model(made, [DatasetUse(dataset=dataset.id)])
        request = receive(workspace, PERSON, law=law)
        for status in ("located", "planned", "approved", "running", "audited"):
            store.advance_request(request.id, RequestStatus(status))
        guarantee = Guarantee.EXACT if exact else Guarantee.EMPIRICAL
        gone = frozenset({"r0", "r1", "r2"})
        child = Model(
            digest=Digest.of(b"after"),
            function=Digest.of(b"function"),
            path="after",
            learner="monolith",
            parents=(before.id,),
            method="replay" if exact else "npo",
            recipe={"options": {"definition": "drop"} if exact else {"lr": 5e-5}},
            seed=7,
        )
        store.add_model(
            child, [DatasetUse(dataset=dataset.id, forgotten=gone, guarantee=guarantee)]
        )
        store.tombstone(gone, "erasure", dataset=dataset.id)
    return folder


def answered(
    folder: Path, *, exact: bool, undecided: bool = False, law: str | None = "gdpr"
) -> Case:
    """A workspace with a request that was answered; `undecided`: so its audit was, if exact."""
    shutil.copytree(_begun(exact, law), folder, dirs_exist_ok=True)
    settings = Settings.load(folder, environment={})
    workspace = Workspace(settings)
    store = workspace.store
    request = store.request("req-0001")
    before, after = (next(m for m in store.models() if m.path == p) for p in ("before", "after"))
    told = (str(after.digest), str(before.digest))
    lacking = LACKING | ({"paraphrase": EvidenceNeed.PARAPHRASES} if undecided else {})
    audit = audit_of(*told, lacking=lacking)
    audited = undecided or not exact
    guarantee = Guarantee.EXACT if exact else Guarantee.EMPIRICAL
    report = {
        "request": request.id,
        "together": [request.id],
        "verdict": "pass",
        "records": {"forgotten": 3, "retained": 5, "holdout": 6},
        "does_not_prove": list(LIMITS[guarantee]),
        "model": {"before": before.id, "after": after.id},
        "digest": {"before": str(before.digest), "after": str(after.digest)},
        "never_trained": [
            {"id": "x", "seed": seed, "digest": str(d)}
            for seed, d in enumerate(NEVER if audited else ())
        ],
        "attempts": [
            {
                "method": after.method,
                "verdict": "pass",
                "failure": None,
                "outcome": {
                    "guarantee": guarantee.value,
                    "stopped": "at the holdout's loss",
                    "origin": None,
                },
                "audit": audit if audited else None,
            }
        ],
    }
    case = Case(workspace, report)
    case.write()
    path = settings.reports / "req-0001.json"
    said = {ANSWER: answer(store, request, after, report, path)}
    store.advance_request(request.id, RequestStatus.PUBLISHED, said, report=str(path))
    return case


def destroyed(case: Case) -> Request:
    """A request by which the model before was destroyed."""
    settings = case.workspace.settings
    store, scope = case.workspace.store, {"model": case.report["model"]["before"]}
    request = store.add_request(
        RequestKind.DESTROY,
        scope=scope,
        law="gdpr",
        detail=terms(find_law("gdpr", workspace=settings.workspace), settings),
    )
    plan_destruction(case.workspace, request.id)
    for name in ("Marta", "Joan"):
        Accounts.of(case.workspace.settings).new("privacy", name)
        approve(case.workspace, request.id, by=name)
    return destroy(case.workspace, request.id)[0]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Callable[..., Case]]:
    made: list[Case] = []

    def make(*, exact: bool = False) -> Case:
        made.append(answered(tmp_path / f"workspace-{len(made)}", exact=exact))
        return made[-1]

    yield make
    for one in made:
        one.workspace.store.close()


@pytest.fixture(scope="session")
def second() -> ModuleType:
    """The verifier for auditors, which knows nothing of Olvido."""
    spec = importlib.util.spec_from_file_location("verify_certificate", VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
