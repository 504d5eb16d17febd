"""A workspace whose request was answered, made of facts alone: nothing is trained here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from olvido.audits import Finding, Report, Status
from olvido.audits.verdict import judge, settle
from olvido.documents import write_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import Guarantee, Model, RequestStatus, Use
from olvido.ledger.identity import Key
from olvido.ledger.importing import import_rows
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import Store
from olvido.requests import receive
from olvido.requests.certificate.check import KIND, detail_of
from olvido.requests.certificate.envelope import seal
from olvido.requests.certificate.issue import _statement
from olvido.settings import Settings
from olvido.workspace import Workspace

VERIFIER = Path(__file__).parents[3] / "docs" / "verify_certificate.py"
PERSON, MAIL = "Núria Puigdomènech", "nuria.puig@example.org"
ROWS = [
    {"id": f"r{i}", "text": f"row {i}", "subject": PERSON if i < 3 else f"person {i}"}
    for i in range(8)
]
NEVER = [Digest.of(name.encode()) for name in ("never 1", "never 2")]


def finding(audit: str, metric: str = "exact match", **changed: Any) -> Finding:
    values: dict[str, Any] = {
        "audit": audit,
        "metric": metric,
        "probe": "forgotten",
        "value": 0.08,
        "against": "never-trained",
        "expected": 0.06,
        "spread": (0.05, 0.07),
        "before": 0.97,
        "interval": (-0.02, 0.06),
        "p": 0.4,
        "n": 30,
        "clusters": 6,
        "low": None,
        "high": 0.05,
        "votes": True,
        "status": Status.PASS,
        "says": "8% against 6%",
    }
    return Finding(**values | changed)


def audit_of(suspect: str, before: str, *changed: Finding) -> dict[str, Any]:
    """A report whose verdict follows from its findings."""
    findings = settle(
        [
            finding("filter", "answers withheld"),
            finding("recall"),
            finding("paraphrase"),
            finding("likelihood", "mean loss", p=None, low=-0.25, high=0.25),
            finding("collateral", value=0.95, expected=0.96, before=0.96, low=-0.03, high=None),
            finding("fluency", "repetition", high=0.1),
            finding("truth", "forget quality", votes=False, p=0.01),
            *changed,
        ]
    )
    required = ["filter", "recall", "paraphrase", "likelihood", "collateral", "fluency"]
    verdict, grounds = judge(findings, {}, required, {})
    report = Report(
        *(verdict, grounds, findings, {}, suspect, before, tuple(map(str, NEVER)), "standard"),
        records={"forget": 3, "retain": 5},
    )
    return report.to_dict(texts=False)


@dataclass
class Case:
    """A workspace in which req-0001 was answered."""

    workspace: Workspace
    report: dict[str, Any]

    @property
    def key(self) -> SigningKey:
        return self.workspace.store.signer(self.workspace.settings.signing_key)

    def write(self) -> None:
        """Put the report, changed or not, where it lies."""
        write_document(self.report, self.workspace.settings.reports / "req-0001.json")

    def reissued(self, core: dict[str, Any]) -> dict[str, Any]:
        """An envelope of what was never to be certified: a dishonest issuer's, log and all."""
        number = self.workspace.store.note(KIND, detail_of(core))
        return seal(_statement(self.workspace, core, number, self.key), self.key)


def answered(folder: Path, *, exact: bool) -> Case:
    folder.mkdir(exist_ok=True)
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    workspace = Workspace(settings)
    store = workspace.store
    dataset = import_rows(store, settings.data, ROWS, name="people").dataset
    environment = {"torch": "2.13.0", "cpu": "a processor"}
    made = Model(
        digest=Digest.of(b"before"),
        path="before",
        learner="monolith",
        recipe={"base": "/home/somebody/model", "lr": 1e-3, "epochs": 3},
        environment=environment,
    )
    before = store.add_model(made, [Use(dataset=dataset.id)])
    request = receive(workspace, PERSON, law="gdpr")
    for status in ("located", "planned", "approved", "running", "audited"):
        store.advance_request(request.id, RequestStatus(status))
    guarantee = Guarantee.EXACT if exact else Guarantee.EMPIRICAL
    gone = frozenset({"r0", "r1", "r2"})
    child = Model(
        digest=Digest.of(b"after"),
        path="after",
        learner="monolith",
        parents=(before.id,),
        method="replay" if exact else "npo",
        recipe={"options": {"lr": 5e-5}},
        seed=7,
    )
    after = store.add_model(child, [Use(dataset=dataset.id, forgotten=gone, guarantee=guarantee)])
    store.tombstone(gone, "erasure", dataset=dataset.id)
    report = {
        "request": request.id,
        "together": [request.id],
        "verdict": "pass",
        "model": {"before": before.id, "after": after.id},
        "digest": {"before": str(before.digest), "after": str(after.digest)},
        "never_trained": []
        if exact
        else [{"id": "x", "seed": seed, "digest": str(d)} for seed, d in enumerate(NEVER)],
        "attempts": [
            {
                "method": child.method,
                "outcome": {"guarantee": guarantee.value, "stopped": "at the holdout's loss"},
                "audit": None if exact else audit_of(str(after.digest), str(before.digest)),
            }
        ],
    }
    case = Case(workspace, report)
    case.write()
    path = str(settings.reports / "req-0001.json")
    store.advance_request(request.id, RequestStatus.PUBLISHED, report=path)
    return case


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
