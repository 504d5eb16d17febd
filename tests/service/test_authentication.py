"""Every role against every route, and nobody's token in somebody else's house."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.service.conftest import send, sign_in, workspace

from olvido.accounts import RIGHTS, Accounts, Right, Role
from olvido.service import api, pages, request_page, sessions
from olvido.service import pages as lists
from olvido.service import request_page as entering
from olvido.service.app import application
from olvido.service.authentication import address, form_token_of
from olvido.service.server import right_of
from olvido.settings import Settings

STATUS = {"/status/{identifier}/{secret}", "/status/{sealed}"}
OPEN = {"/login", "/logout", "/style.css", *STATUS}
"""Routes that ask for no token; the address of a status page is a secret itself."""
BROKEN = (b"{", b"\xff\xfe", b"", b"[" * 10_000, b"a=1&b", b"\0" * 2**21)


def _routes() -> Iterator[tuple[str, str, Right | None]]:
    routers = (api, lists, pages, entering, request_page)
    for route in [route for one in routers for route in one.router.routes]:
        assert isinstance(route, APIRoute)
        for method in route.methods:
            yield method, route.path, right_of(route)


ROUTES = sorted(_routes(), key=str)


def _at(path: str) -> str:
    for name, value in (("ref", "serving"), ("identifier", "req-0001"), ("act", "identify")):
        path = path.replace(f"{{{name}}}", value)
    return path


def test_every_route_asks_for_a_right_but_those_that_are_open() -> None:
    assert {path for _, path, right in ROUTES if right is None} == OPEN


@pytest.mark.slow
def test_every_role_is_held_to_its_rights(
    settings: Settings, headers: dict[Role, dict[str, str]]
) -> None:
    asked = [route for route in ROUTES if route[2] is not None]
    assert len(asked) > 40
    unhurried = application([settings], asks=(10**6, 0.001), guesses=(10**6, 0.001))
    with TestClient(unhurried, follow_redirects=False) as client:
        for method, path, right in asked:
            for role, header in headers.items():
                status = client.request(method, _at(path), headers=header).status_code
                assert (status == 403) == (right not in RIGHTS[role]), (path, role, status)
                assert status < 500
            for wrong in (
                {},
                {"Authorization": "Bearer olvido_nobody"},
                {"Authorization": "Basic x"},
            ):
                status = client.request(method, _at(path), headers=wrong).status_code
                assert status == (401 if path.startswith("/api") else 303), path


def test_another_tenants_token_reads_nothing(settings: Settings, tmp_path: Path) -> None:
    theirs = workspace(tmp_path / "theirs", "Laia Roca")
    _, secret = Accounts.of(theirs).new("privacy", "theirs")
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
    made, secret = Accounts.of(settings).new("auditor", "a")
    header = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/models", headers=header).status_code == 200
    Accounts.of(settings).revoke(made.id)
    assert client.get("/api/models", headers=header).status_code == 401


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "right"), ROUTES)
def test_nobody_is_told_what_is_wrong_with_a_body_that_they_may_not_send(
    client: TestClient, headers: dict[Role, dict[str, str]], method: str, path: str, right: Any
) -> None:
    if right is None or method == "GET":
        return
    types = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    for body in BROKEN:
        for kind in types:
            typed = {"Content-Type": kind}
            answer = client.request(method, _at(path), content=body, headers=typed)
            assert answer.status_code == (401 if path.startswith("/api") else 303)
            for role in set(Role) - {r for r in Role if right in RIGHTS[r]}:
                typed |= headers[role]
                answer = client.request(method, _at(path), content=body, headers=typed)
                assert answer.status_code == 403


def test_signing_in_and_out(client: TestClient, settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("auditor", "Iu Serra")
    answer = sign_in(client, f" {secret} ")
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert secret.lower() not in cookie
    assert "Iu Serra, auditor" in client.get("/models").text
    stolen = {"Cookie": f"olvido={client.cookies['olvido']}"}
    # A session is no token, and a token is no session.
    as_token = {"Authorization": f"Bearer {client.cookies['olvido']}"}
    assert client.get("/api/models", headers=as_token).status_code == 401
    with TestClient(client.app, follow_redirects=False) as other:
        assert other.get("/models", headers=stolen).status_code == 200
        assert other.get("/models", headers={"Cookie": f"olvido={secret}"}).status_code == 303
        assert send(client, "/logout").status_code == 303
        # Whoever else has the cookie is out, too.
        assert other.get("/models", headers=stolen).status_code == 303
    assert client.get("/models").status_code == 303
    assert secret not in settings.key.with_name("sessions.json").read_text()


def test_a_session_ends_with_its_token_by_idleness_and_by_age(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [1e9]
    (tenant,) = client.app.state.authenticator.tenants
    monkeypatch.setattr(tenant.sessions, "_clock", lambda: at[0])

    def status() -> int:
        return client.get("/models").status_code

    made, secret = Accounts.of(settings).new("auditor", "Iu")
    for seconds in (sessions.IDLE + 1, -5.0):
        sign_in(client, secret)
        assert status() == 200
        at[0] += seconds
        assert status() == 303
    sign_in(client, secret)
    began = at[0]
    while at[0] + sessions.IDLE / 2 < began + sessions.LASTS:
        at[0] += sessions.IDLE / 2
        assert status() == 200
    at[0] = began + sessions.LASTS
    assert status() == 303
    sign_in(client, secret)
    Accounts.of(settings).revoke(made.id)
    assert status() == 303


def test_a_session_before_another_sign_in_is_over_and_they_do_not_pile_up(
    client: TestClient, settings: Settings
) -> None:
    _, secret = Accounts.of(settings).new("auditor", "Iu")
    cookies = []
    for _ in range(3 * sessions.AT_ONCE):
        with TestClient(client.app, follow_redirects=False) as one:
            sign_in(one, secret)
            cookies.append(one.cookies["olvido"])
    file = settings.key.with_name("sessions.json")
    assert file.read_text().count("digest") == sessions.AT_ONCE
    last = {"Cookie": f"olvido={cookies[-1]}"}
    assert client.get("/models", headers=last).status_code == 200
    assert client.get("/models", headers={"Cookie": f"olvido={cookies[0]}"}).status_code == 303


def test_a_wrong_token_is_told_and_not_repeated(client: TestClient) -> None:
    answer = sign_in(client, "olvido_secret-of-another-house")
    assert answer.status_code == 401
    assert "not known" in answer.text
    assert "another-house" not in answer.text


FOREIGN = (
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    # The same house by another door.
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver:81"},
    {"Origin": "http://testserver.example"},
    {"Referer": "http://elsewhere.example/testserver"},
    {"Referer": "http://testserver@elsewhere.example/"},
    {"Referer": "nonsense["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_form_of_another_site_is_refused(
    client: TestClient, settings: Settings, foreign: dict[str, str]
) -> None:
    _, secret = Accounts.of(settings).new("privacy", "Marta")
    client.get("/login")
    own = form_token_of(client.cookies["olvido-form"])
    data = {"token": secret, "form": own}
    assert client.post("/login", data=data, headers=foreign).status_code == 403
    assert "olvido" not in client.cookies
    sign_in(client, secret)
    own = form_token_of(client.cookies["olvido"])
    for path in ("/requests", "/requests/req-0001/identify", "/logout"):
        sent = client.post(path, data={"subject": "Pau Vila", "form": own}, headers=foreign)
        assert sent.status_code == 403, path
    # The same form from here.
    here = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    sent = client.post("/requests", data={"subject": "Pau Vila", "form": own}, headers=here)
    assert sent.status_code == 201
    assert client.get("/models").status_code == 200


def test_without_its_own_form_nothing_is_changed_through_a_cookie(
    client: TestClient, settings: Settings
) -> None:
    _, secret = Accounts.of(settings).new("privacy", "Marta")
    for form in ({}, {"form": ""}, {"form": "0" * 64}, {"form": form_token_of("another")}):
        assert client.post("/login", data={"token": secret, **form}).status_code == 403
    sign_in(client, secret)
    before = form_token_of(client.cookies["olvido"])
    sign_in(client, secret)
    for form in ({}, {"form": ""}, {"form": "é"}, {"form": before}):
        for path in ("/requests", "/requests/req-0001/identify", "/logout"):
            sent = client.post(path, data={"subject": "Pau Vila", **form})
            assert sent.status_code == 403, (path, form)
    assert client.post("/api/requests", json={"subject": "Pau Vila"}).status_code == 403
    assert client.get("/api/requests").json()["total"] == 1


def test_no_number_of_guesses_slows_down_who_is_known(settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("privacy", "a")
    header = {"Authorization": f"Bearer {secret}"}
    wrong = {"Authorization": "Bearer olvido_guess"}
    app = application([settings], guesses=(2, 60.0), visits=(2, 60.0))
    with TestClient(app, follow_redirects=False) as client:
        made = client.post("/api/requests", json={"subject": "Pau Vila"}, headers=header).json()
        sign_in(client, secret)
        with TestClient(app, follow_redirects=False) as guesser:
            for number in range(5):
                expected = 401 if number < 2 else 429
                assert guesser.get("/api/models", headers=wrong).status_code == expected
            for way in (
                lambda: guesser.get("/models", headers={"Cookie": "olvido=guess"}),
                lambda: sign_in(guesser, "olvido_guess"),
            ):
                assert way().status_code == 429
            for number in range(5):
                for page in (f"/status/req-0001/{'a' * 32}", f"/status/{'A' * 60}"):
                    expected = 404 if number < 1 else 429
                    assert guesser.get(page).status_code == expected
        for _ in range(3):
            assert client.get("/api/models", headers=header).status_code == 200
            assert client.get("/models").status_code == 200
            assert client.get(made["follow"]).status_code == 200
        with TestClient(app, follow_redirects=False) as late:
            assert sign_in(late, secret).status_code == 303


def test_whoever_asks_too_much_is_slowed_down(settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("auditor", "a")
    header = {"Authorization": f"Bearer {secret}"}
    app = application([settings], asks=(3, 60.0))
    with TestClient(app, follow_redirects=False) as client:
        asked = [client.get("/api/models", headers=header) for _ in range(4)]
        assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
        assert 1 <= int(asked[3].headers["Retry-After"]) <= 61


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.7", "198.51.100.7:40001", True),
        ("198.51.100.7", "::ffff:198.51.100.7", True),
        ("198.51.100.7", "64:ff9b::198.51.100.7", True),
        ("[2001:db8::7]:40001", "2001:db8::8", True),
        ("[2001:db8::7]", "2001:db8:0:0:1::", True),
        ("::ffff:198.51.100.7", "::ffff:203.0.113.5", False),
        ("64:ff9b::198.51.100.7", "64:ff9b::203.0.113.5", False),
        ("2001:db8::7", "2001:db8:0:1::7", False),
    ],
)
def test_who_asks_is_counted_by_one_address(one: str, other: str, same: bool) -> None:
    first, second = (
        address(Request({"type": "http", "client": (host, 0)})) for host in (one, other)
    )
    assert (first == second) == same


def test_only_who_came_by_tls_is_told_to_come_by_it(settings: Settings) -> None:
    _, secret = Accounts.of(settings).new("auditor", "a")
    app = application([settings])
    with TestClient(app, base_url="https://testserver", follow_redirects=False) as client:
        answer = sign_in(client, secret)
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "max-age" in answer.headers["strict-transport-security"]
    with TestClient(app, follow_redirects=False) as client:
        answer = sign_in(client, secret)
        assert "secure" not in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("text", ["", "{}x", '{"tokens": 1}', '{"accounts": [], "tokens": [{}]}'])
def test_where_no_token_can_be_looked_up_nobody_is_let_in(
    client: TestClient, settings: Settings, bearer: Any, text: str
) -> None:
    header = bearer("auditor")
    (file := Accounts.of(settings).path).write_text(text)
    for method, path in (("GET", "/api/models"), ("POST", "/api/requests"), ("GET", "/")):
        answer = client.request(method, path, headers=header)
        assert answer.status_code == 503
        assert str(file) not in answer.text


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
