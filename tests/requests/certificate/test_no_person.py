"""Nobody is named: not in the database, its log, certificates, reports, keys or error messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.data.parsing import Fields
from olvido.errors import OlvidoError
from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import SubjectId
from olvido.requests import locate, receive
from olvido.requests.certificate import issue

from .conftest import MAIL, PERSON, Case

SPELLINGS = [
    form.encode()
    for text in (PERSON, MAIL)
    for case in (text, text.casefold(), text.upper())
    for form in (case, json.dumps(case)[1:-1], base64.b64encode(case.encode()).decode().rstrip("="))
]


def named(content: bytes) -> bool:
    return any(spelling in content for spelling in SPELLINGS)


def test_the_scan_would_find_a_name() -> None:
    assert named(f"by {PERSON}.".encode())
    assert named(json.dumps({"mail": MAIL.upper()}).encode())


def test_nobody_is_named_in_what_lies_in_a_workspace(case: Callable[..., Case]) -> None:
    made = case()
    store = made.workspace.store
    certificate = issue(made.workspace, "req-0001")
    rows = [{"id": "m1", "text": "a letter", "subject": [MAIL, PERSON]}]
    import_rows(store, made.workspace.settings.data, rows, name="letters")
    request = receive(made.workspace, MAIL)
    locate(made.workspace, request.id)
    store.sign_log(made.key)
    root = made.workspace.settings.workspace
    scanned = [path for path in root.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in scanned}
    assert {".db", ".key", ".pub", ".json", ".parquet"} <= kinds
    for path in scanned:
        content = path.read_bytes()
        # A row's own text may name whom it likes; whom it is about is digested even there.
        assert not named(content), path
    payload = json.loads(certificate.read_text("utf-8"))["payload"]
    assert not named(base64.b64decode(payload))
    for event in store.events():
        assert not named(repr(event).encode())


def test_nobody_is_named_in_an_error(case: Callable[..., Case], tmp_path: Path) -> None:
    made = case()
    workspace, data = made.workspace, made.workspace.settings.data
    row = {"id": "x", "text": "a letter", "subject": PERSON}
    mails = Fields(subject="mail")
    for wrong in (
        lambda: receive(workspace, f"{PERSON} the second"),
        lambda: receive(workspace, f"x{MAIL}"),
        lambda: SubjectId.from_str(PERSON),
        lambda: import_rows(workspace.store, data, [row | {"consent": "perhaps"}], name="n"),
        lambda: import_rows(workspace.store, data, [row | {"text": None}], name="n"),
        lambda: import_rows(workspace.store, data, [row, row], name="n"),
        lambda: import_rows(workspace.store, data, [row | {"subject": {"name": PERSON}}], name="n"),
        lambda: import_rows(workspace.store, data, [row], name="n", fields=mails),
        lambda: import_rows(workspace.store, data, [row | {"collected_at": "x"}], name="n"),
        lambda: workspace.store.add_request(
            RequestKind.ERASURE, subject=workspace.store.key.subject(PERSON), received_at=_naive()
        ),
    ):
        with pytest.raises(OlvidoError) as caught:
            wrong()
        assert not named(str(caught.value).encode()), caught.value
        assert not named(repr(caught.value).encode())


def _naive() -> object:
    from datetime import datetime

    return datetime(2026, 1, 1)
