"""The service over a workspace in which a request was answered."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.service.conftest import sign_in

from olvido.accounts import Accounts
from olvido.service.app import application
from olvido.settings import Settings


def test_an_answered_request_is_shown_with_its_evidence(
    answered: tuple[Path, dict[str, Any]], tmp_path: Path, city_of_twelve: Any
) -> None:
    shutil.copytree(answered[0], tmp_path / "workspace")
    settings = Settings.load(tmp_path / "workspace", environment={})
    _, secret = Accounts.of(settings).new("auditor", "Iu")
    with TestClient(application([settings])) as client:
        sign_in(client, secret)
        one = client.get("/requests/req-0001").text
        assert "Verdict" in one
        assert "retrain" in one
        audit = client.get("/requests/req-0001/audit")
        assert audit.status_code == 200
        assert "'unsafe-inline'" in audit.headers["content-security-policy"]
        certificate = client.get("/requests/req-0001/certificate").text
        assert "Signed by this workspace" in certificate
        assert "exact" in certificate
        told = client.get("/api/requests/req-0001/certificate").json()
        assert told["holds"]
        assert told["envelope"]["signatures"]
        pages = (one, audit.text, certificate, client.get("/").text, client.get("/log").text)
        assert not any(city_of_twelve.data_subject.name in page for page in pages)
