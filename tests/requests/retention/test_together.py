"""A rule's request goes along with a person's: one new model, and a certificate for each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.lineage import Holding
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.certificate.check import statement_of
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import lineage_of
from olvido.requests.workflow.worker import Worker
from olvido.schemas.options import RunOptions
from olvido.settings import Settings

S = RequestStatus
RULE = """threads = 1
[[retention]]
name = "one"
field = "id"
value = "RECORD"
keep = "1 day"
from = "collected_at"
within = "30000 days"
"""


@pytest.mark.slow
def test_it_waits_for_a_run_that_happens_anyway_and_one_model_answers_both(
    brief: Any, tmp_path: Path
) -> None:
    shutil.copytree(brief.folder, tmp_path / "workspace")
    other = next(one for one in brief.town.residents if one != brief.town.data_subject)
    record = brief.town.rows_of(other)[0]["id"]
    (tmp_path / "workspace" / "olvido.toml").write_text(RULE.replace("RECORD", record))
    settings = Settings.load(tmp_path / "workspace", environment={})
    Accounts.of(settings).new("privacy", "Eva")
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        front, before = StoreContext(store, settings), store.model("serving").id
        order = RunOptions(model=before, method="retrain")
        with Worker(settings) as worker:
            ((asked, why),) = [(one.request, one.why) for one in worker.ask()]
            assert (asked.status, why) == (S.PLANNED, None)
            handlers.approve(front, asked.id, by="Eva", order=order)
            # It may wait, and nothing else is to be done: no model is trained for it alone.
            assert (worker.ask(), worker.work()) == ((), ())
            person = receive(front, brief.town.data_subject.name, law="gdpr")
            for status in (S.LOCATED, S.PLANNED):
                store.advance_request(person.id, status)
            handlers.approve(front, person.id, by="Eva", order=order)
            done = {request.id: request.status for request in worker.work()}
        assert done == {asked.id: S.PUBLISHED, person.id: S.PUBLISHED}
        assert len(store.models()) == 2
        for request in (asked, person):
            states = lineage_of(store, request).models
            assert {s.model.id: s.holding for s in states} == {
                before: Holding.HOLDS,
                store.model("serving").id: Holding.WITHOUT,
            }
        gone = lineage_of(store, asked).records
        assert [(r.id, r.tombstone and r.tombstone.reason) for r in gone] == [
            (record, "erasure; retention")
        ]
    kinds = {
        statement_of(json.loads(path.read_text()))["predicate"]["request"]["kind"]  # type: ignore[index]
        for path in settings.certificates.iterdir()
    }
    assert kinds == {"erasure", "retention"}
