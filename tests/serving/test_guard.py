"""Every role against every route, and nobody's token in somebody else's house."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.serving.conftest import workspace

from olvido.serving import api, pages
from olvido.serving.app import application
from olvido.serving.tokens import RIGHTS, Right, Role, Tokens
from olvido.settings import Settings

OPEN = {"/login", "/logout", "/style.css", "/status/{identifier}/{secret}"}
"""Routes that ask for no token; the address of a status page is a secret itself."""


def _routes() -> Iterator[tuple[str, str, Right | None]]:
    for route in [*api.router.routes, *pages.router.routes]:
        assert isinstance(route, APIRoute)
        rights = [d.call.right for d in route.dependant.dependencies if hasattr(d.call, "right")]
        for method in route.methods:
            yield method, route.path, rights[0] if rights else None


ROUTES = sorted(_routes(), key=str)


def _at(path: str) -> str:
    for name, value in (("ref", "serving"), ("identifier", "req-0001"), ("act", "identify")):
        path = path.replace(f"{{{name}}}", value)
    return path


def test_every_route_asks_for_a_right_but_those_that_are_open() -> None:
    assert {path for _, path, right in ROUTES if right is None} == OPEN


@pytest.mark.parametrize(("method", "path", "right"), ROUTES)
def test_every_role_is_held_to_its_rights(
    client: TestClient, headers: dict[Role, dict[str, str]], method: str, path: str, right: Any
) -> None:
    if right is None:
        return
    for role, header in headers.items():
        status = client.request(method, _at(path), headers=header).status_code
        assert (status == 403) == (right not in RIGHTS[role]), (role, status)
        assert status < 500
    for wrong in ({}, {"Authorization": "Bearer olvido_nobody"}, {"Authorization": "Basic x"}):
        answer = client.request(method, _at(path), headers=wrong)
        assert answer.status_code == (401 if path.startswith("/api") else 303)


def test_another_tenants_token_reads_nothing(settings: Settings, tmp_path: Path) -> None:
    theirs = workspace(tmp_path / "theirs", "Laia Roca")
    _, secret = Tokens.of(theirs).new("privacy", "theirs")
    with TestClient(application([settings, theirs]), follow_redirects=False) as client:
        header = {"Authorization": f"Bearer {secret}"}
        seen = client.get("/api/datasets", headers=header).json()["datasets"]
        assert client.get("/api/models", headers=header).status_code == 200
    with TestClient(application([theirs]), follow_redirects=False) as alone:
        assert seen == alone.get("/api/datasets", headers=header).json()["datasets"]
    with TestClient(application([settings]), follow_redirects=False) as ours:
        assert ours.get("/api/datasets", headers=header).status_code == 401
        assert ours.get("/models", headers={"Cookie": f"olvido={secret}"}).status_code == 303


def test_a_revoked_token_is_out_at_once(client: TestClient, settings: Settings) -> None:
    made, secret = Tokens.of(settings).new("auditor", "a")
    header = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/models", headers=header).status_code == 200
    Tokens.of(settings).revoke(made.id)
    assert client.get("/api/models", headers=header).status_code == 401


def test_signing_in_and_out(client: TestClient, settings: Settings) -> None:
    _, secret = Tokens.of(settings).new("auditor", "Iu Serra")
    answer = client.post("/login", data={"token": f" {secret} "})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Iu Serra, auditor" in client.get("/models").text
    client.post("/logout")
    assert client.get("/models").status_code == 303


def test_a_wrong_token_is_told_and_not_repeated(client: TestClient) -> None:
    answer = client.post("/login", data={"token": "olvido_secret-of-another-house"})
    assert answer.status_code == 401
    assert "not known" in answer.text
    assert "another-house" not in answer.text


def test_a_form_of_another_site_is_refused(client: TestClient, settings: Settings) -> None:
    _, secret = Tokens.of(settings).new("privacy", "Marta")
    client.post("/login", data={"token": secret})
    sent = client.post(
        "/requests", data={"subject": "Pau Vila"}, headers={"Origin": "https://elsewhere.example"}
    )
    assert sent.status_code == 403


def test_whoever_asks_too_much_or_guesses_is_slowed_down(settings: Settings) -> None:
    _, secret = Tokens.of(settings).new("auditor", "a")
    header = {"Authorization": f"Bearer {secret}"}
    app = application([settings], asks=(3, 60.0), guesses=(2, 60.0))
    with TestClient(app, follow_redirects=False) as client:
        asked = [client.get("/api/models", headers=header) for _ in range(4)]
        assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
        assert 1 <= int(asked[3].headers["Retry-After"]) <= 61
        wrong = {"Authorization": "Bearer olvido_guess"}
        assert [client.get("/api/models", headers=wrong).status_code for _ in range(3)] == [
            401,
            401,
            429,
        ]


def test_every_answer_says_that_nothing_comes_from_elsewhere(
    client: TestClient, bearer: Callable[[str], dict[str, str]]
) -> None:
    header = bearer("privacy")
    for path in (
        "/login",
        "/models",
        "/data",
        "/log",
        "/api/models",
        "/nowhere",
        "/",
        "/laws",
        "/requests/new",
        "/requests/req-0001",
    ):
        answer = client.get(path, headers=header)
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(
            r"""(src|href|action|url)\s*[=(]\s*["']?(https?:)?//""", answer.text
        ), path
