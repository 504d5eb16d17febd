"""Reminders name nobody, come once a day, are signed, and never storm whoever does not answer."""

from __future__ import annotations

import asyncio
import base64
import email
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.requests.workflow.conftest import (
    SECRET,
    Certified,
    Hook,
    Postbox,
    hooked,
    posted,
    told_to,
)

from olvido.cli import run
from olvido.errors import InputError, StateError
from olvido.requests.handlers import StoreContext
from olvido.requests.rights import deadlines as calendar
from olvido.requests.workflow import reminding
from olvido.requests.workflow.reminders import configuration, secret
from olvido.requests.workflow.reminding import Reminded, remind
from olvido.service import app as daily
from olvido.service.app import application

Sleep = Callable[[float], None]
PAGES = "https://olvido.example.org/"


def _remind(front: StoreContext, sleep: Sleep, clock: float | None = None) -> tuple[Reminded, ...]:
    configured = configuration(front.settings)
    assert configured is not None
    return remind(front, configured, sleep=sleep, clock=lambda: clock or time.time())


def _mail(postbox: Postbox, **more: Any) -> dict[str, Any]:
    said = {"smtp": "127.0.0.1", "port": postbox.port, "security": "none", "pages": PAGES}
    return said | {"sender": "olvido@example.org", "to": ["a@example.org", "b@example.org"]} | more


def test_a_webhook_is_told_once_a_day_what_is_due_and_can_tell_who_says_it(
    front: StoreContext, hook: Hook, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = told_to(front, webhook=hook.url, pages=PAGES, days=5)
    (done,) = _remind(front, sleep)
    assert (done.way, done.requests, done.failure) == ("webhook", ("req-0001", "req-0002"), None)
    ((headers, body),) = hook.got
    at = headers["Olvido-Timestamp"]
    assert abs(time.time() - int(at)) < 60
    expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["Olvido-Signature"] == f"v1={expected}"
    told = json.loads(body)["requests"]
    assert [one["id"] for one in told] == ["req-0001", "req-0002"]
    assert set(told[0]) == {"id", "kind", "law", "due", "days_left", "link"}
    assert told[0]["days_left"] < 0 < told[1]["days_left"] <= 5
    assert told[1]["link"] == "https://olvido.example.org/requests/req-0002"
    # Not again today, whoever asks; tomorrow again.
    for _ in range(3):
        assert _remind(front, sleep)[0].requests == ()
    assert len(hook.got) == 1
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr(reminding, "today", lambda s: calendar.today(s, tomorrow))
    assert _remind(front, sleep)[0].requests == ("req-0001", "req-0002")
    assert len(hook.got) == 2
    sent = [dict(entry.detail) for entry in front.store.events("reminder-sent")]
    assert sent == 2 * [{"way": "webhook", "requests": ["req-0001", "req-0002"]}]


def test_a_mail_says_numbers_and_days_and_no_name(
    front: StoreContext, postbox: Postbox, sleep: Sleep
) -> None:
    front = told_to(front, **_mail(postbox, days=40))
    (done,) = _remind(front, sleep)
    assert (done.way, len(done.requests), done.failure) == ("mail", 3, None)
    (raw,) = postbox.mails
    mail = email.message_from_string(raw)
    assert (mail["From"], mail["To"]) == ("olvido@example.org", "a@example.org, b@example.org")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "1 late" in mail["Subject"]
    assert "hmac" not in raw
    text = mail.get_payload()
    for number in (1, 2, 3):
        assert f"https://olvido.example.org/requests/req-000{number}" in text
    assert "req-0004" not in text
    for kept in (raw, str(front.store.events())):
        assert not any(name in kept for name in ("Soler", "Puig", "Vila"))
    assert _remind(front, sleep)[0].requests == ()
    assert len(postbox.mails) == 1


@pytest.mark.parametrize(
    ("answers", "calls", "failure"),
    [
        ([503], 2, None),
        ([429, 500], 3, None),
        ([503, 502, 500, 200], 3, "answered 500"),
        ([404], 1, "answered 404"),
        ([302], 1, "answered 302"),
        ([401, 200], 1, "answered 401"),
    ],
)
def test_tries_are_few_and_what_failed_is_told_logged_and_left_alone(
    front: StoreContext,
    hook: Hook,
    sleep: Sleep,
    naps: list[float],
    answers: list[int],
    calls: int,
    failure: str | None,
) -> None:
    hook.answers = list(answers)
    front = told_to(front, webhook=hook.url)
    began = time.time()
    (done,) = _remind(front, sleep)
    assert len(hook.got) == calls
    assert len(naps) == calls - 1
    if failure is None:
        assert done.failure is None
        return
    assert failure in str(done.failure)
    (entry,) = front.store.events("reminder-failed")
    assert failure in entry.detail["why"]
    # Who asks every minute asks in vain, until an hour has gone.
    for minute in range(1, 59, 10):
        (again,) = _remind(front, sleep, began + 60 * minute)
        assert "tried again in" in str(again.failure)
    assert len(hook.got) == calls
    assert len(front.store.events("reminder-failed")) == 1
    hook.answers = []
    (later,) = _remind(front, sleep, began + 3700)
    assert (later.failure, later.requests) == (None, ("req-0001", "req-0002"))


def test_who_does_not_answer_and_who_refuses_is_told(
    front: StoreContext, postbox: Postbox, nowhere: int, sleep: Sleep, naps: list[float]
) -> None:
    (done,) = _remind(told_to(front, webhook=f"http://127.0.0.1:{nowhere}/"), sleep)
    assert "did not answer" in str(done.failure)
    assert len(naps) == 2
    # One way that fails leaves the other alone.
    both = told_to(front, **_mail(postbox), webhook=f"http://127.0.0.1:{nowhere}/")
    postbox.refused = {"b@example.org"}
    mail, hook = _remind(both, sleep)
    assert (mail.delivered, hook.delivered) == (True, False)
    assert "1 of 2 addresses" in str(mail.failure)
    assert "nobody@here" not in str(front.store.events())
    assert _remind(both, sleep)[0].requests == ()
    assert len(postbox.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_by_tls_and_the_password_by_nothing_else(
    front: StoreContext,
    certified: Callable[[str], Certified],
    sleep: Sleep,
    monkeypatch: pytest.MonkeyPatch,
    security: str,
) -> None:
    mine = certified("127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(mine.authority))
    monkeypatch.setenv("OLVIDO_SMTP_PASSWORD", "open sesame")
    with posted(mine.context, security) as box:
        said = _mail(box, security=security, user="olvido")
        (done,) = _remind(told_to(front, **said), sleep)
    assert (done.failure, len(box.mails)) == (None, 1)
    ((_, word),) = (login.split() for login in box.logins)
    assert base64.b64decode(word) == b"\0olvido\0open sesame"
    # Before TLS nothing is said but that it is wanted.
    assert {line.split()[0].upper() for line in box.clear} <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(("host", "trusted"), [("127.0.0.1", False), ("mail.example.org", True)])
def test_nothing_is_told_to_a_mail_server_that_cannot_be_trusted(
    front: StoreContext,
    certified: Callable[[str], Certified],
    sleep: Sleep,
    naps: list[float],
    monkeypatch: pytest.MonkeyPatch,
    security: str,
    host: str,
    trusted: bool,
) -> None:
    theirs = certified(host)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(theirs.authority))
    monkeypatch.setenv("OLVIDO_SMTP_PASSWORD", "open sesame")
    with posted(theirs.context, security) as box:
        said = _mail(box, security=security, user="olvido")
        (done,) = _remind(told_to(front, **said), sleep)
    assert "not to be trusted" in str(done.failure)
    assert (box.mails, box.logins, naps) == ([], [], [])


def test_a_mail_server_without_tls_is_not_spoken_to_in_clear(
    front: StoreContext, postbox: Postbox, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLVIDO_SMTP_PASSWORD", "open sesame")
    said = _mail(postbox, security="starttls", user="olvido")
    (done,) = _remind(told_to(front, **said), sleep)
    assert "no TLS" in str(done.failure)
    assert (postbox.mails, postbox.logins) == ([], [])


@pytest.mark.parametrize(
    ("host", "trusted", "failure"),
    [
        ("127.0.0.1", True, None),
        ("127.0.0.1", False, "not to be trusted"),
        ("hooks.example.org", True, "not to be trusted"),
    ],
)
def test_a_webhook_by_https_is_told_only_where_its_certificate_is_good(
    front: StoreContext,
    certified: Callable[[str], Certified],
    sleep: Sleep,
    naps: list[float],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    trusted: bool,
    failure: str | None,
) -> None:
    theirs = certified(host)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(theirs.authority))
    with hooked(theirs.context) as hook:
        (done,) = _remind(told_to(front, webhook=hook.url), sleep)
    if failure is None:
        assert done.failure is None
    else:
        assert failure in str(done.failure)
    # Another try would find the same certificate.
    assert (len(hook.got), naps) == (int(failure is None), [])


@pytest.mark.parametrize(("codes", "mails"), [([451], 1), ([451, 421, 450], 0), ([550], 0)])
def test_a_mail_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    front: StoreContext, postbox: Postbox, sleep: Sleep, codes: list[int], mails: int
) -> None:
    postbox.codes = list(codes)
    (done,) = _remind(told_to(front, **_mail(postbox)), sleep)
    assert len(postbox.mails) == mails
    assert (done.failure is None) == bool(mails)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"webhook": "http://hooks.example.org/x"}, "https"),
        ({"webhook": "ftp://hooks.example.org/x"}, "https"),
        ({"webhook": "https://user:pass@hooks.example.org/"}, "URL"),
        ({"webhook": "hooks.example.org"}, "URL"),
        ({"webhook": "https://h.example.org:99999/x"}, "URL"),
        ({"webhook": "https://h.example.org:0/x"}, "URL"),
        ({"webhook": "https://h.example.org:port/x"}, "URL"),
        ({"webhook": f"https://{'a' * 64}.example/x"}, "URL"),
        ({"webhook": f"https://{'a.' * 140}example/x"}, "URL"),
        ({"webhook": "https://h..example.org/x"}, "URL"),
        ({"webhook": "https://[::1/x"}, "URL"),
        ({"webhook": "https://h.example.org/a b"}, "URL"),
        ({"webhook": "https://h.example.org/a\nb"}, "URL"),
        ({"pages": "https://h.example.org:99999", "webhook": "https://h.example.org"}, "URL"),
        ({"smtp": f"{'a' * 64}.example"}, "host"),
        ({"smtp": ""}, "host"),
        ({"webhook": 3}, "text"),
        ({"hook": "https://hooks.example.org"}, "hook"),
        ({"days": 3}, "whom to tell"),
        ({"days": -1, "webhook": "https://h.example.org"}, "days"),
        ({"days": True, "webhook": "https://h.example.org"}, "whole number"),
        ({"pages": "http://olvido.example.org", "webhook": "https://h.example.org"}, "https"),
        ({"smtp": "m.example.org", "security": "none"}, "TLS"),
        ({"smtp": "m.example.org", "security": "ssl"}, "security"),
        ({"smtp": "m.example.org", "sender": "a@b.example"}, "e-mail"),
        ({"smtp": "m.example.org", "sender": "a@b.example", "to": ["a@b.c\nBcc: x@y.z"]}, "e-mail"),
        ({"smtp": "m.example.org", "sender": "a@b.example", "to": ["a@b.c"], "port": 0}, "port"),
    ],
)
def test_what_is_set_wrong_or_would_go_in_clear_is_refused(
    front: StoreContext, said: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputError) as refused:
        configuration(told_to(front, **said).settings)
    assert why in str(refused.value)
    assert "pass@" not in str(refused.value)


def test_secrets_are_for_their_owner_alone(front: StoreContext, hook: Hook, sleep: Sleep) -> None:
    folder = front.settings.key.parent
    file = folder / "webhook-secret"
    assert secret("webhook-secret", folder, {}) == SECRET
    assert secret("webhook-secret", folder, {"OLVIDO_WEBHOOK_SECRET": "x"}) == "x"
    before = front.store.events_count()
    for break_it in (
        lambda: file.chmod(0o640),
        lambda: file.chmod(0o604),
        lambda: (file.chmod(0o600), file.write_text("\n")),
        file.unlink,
    ):
        break_it()
        with pytest.raises(StateError) as refused:
            _remind(told_to(front, webhook=hook.url), sleep)
        assert SECRET not in str(refused.value)
    assert hook.got == []
    assert front.store.events_count() == before


def test_the_command_says_who_was_told_of_what(
    front: StoreContext, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = front.settings.workspace
    command = ["--workspace", str(workspace), "remind", "--json"]
    (workspace / "olvido.toml").write_text("")
    assert run(command) == 2
    assert "[reminders]" in capsys.readouterr().err
    (workspace / "olvido.toml").write_text(f'[reminders]\nwebhook = "{hook.url}"\ndays = 5\n')
    assert run([*command, "--dry-run"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["due"]] == [
        *("req-0001", "req-0002")
    ]
    assert hook.got == []
    assert run(command) == 0
    (told,) = json.loads(capsys.readouterr().out)["reminded"]
    assert told == {"way": "webhook", "requests": ["req-0001", "req-0002"], "failure": None}
    (workspace / "reminders.json").unlink()
    hook.answers = [404]
    assert run(command) == 1


def test_nothing_is_told_where_nothing_is_due(
    front: StoreContext, hook: Hook, sleep: Sleep
) -> None:
    for request in ("req-0001", "req-0002"):
        front.store.advance_request(request, "refused", {"why": "x"})
    (done,) = _remind(told_to(front, webhook=hook.url), sleep)
    assert (done.requests, done.failure, hook.got) == ((), None, [])


def test_the_service_reminds_by_itself_and_lasts_though_it_cannot(
    front: StoreContext, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = told_to(front, webhook=hook.url).settings
    with TestClient(application([settings])):
        _until(lambda: len(hook.got) == 1)
    with TestClient(application([settings])) as client:
        time.sleep(0.2)
        assert client.get("/login").status_code == 200
    assert len(hook.got) == 1
    # A file that cannot be read is told in its log, and it goes on.
    (settings.workspace / "reminders.json").write_text("no JSON")
    monkeypatch.setattr(daily, "EVERY", 0.05)
    with TestClient(application([settings])) as client:
        time.sleep(0.2)
        assert client.get("/login").status_code == 200
        (settings.workspace / "reminders.json").unlink()
        _until(lambda: len(hook.got) == 2)


@pytest.mark.parametrize("error", [ValueError("port"), UnicodeError("label"), KeyError("days")])
def test_the_service_goes_on_reminding_whatever_went_wrong(
    front: StoreContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    configured = configuration(told_to(front, webhook="https://h.example.org").settings)
    looks: list[int] = []

    def fails_once(*_: object) -> tuple[Reminded, ...]:
        looks.append(1)
        if len(looks) == 1:
            raise error
        raise asyncio.CancelledError

    monkeypatch.setattr(daily, "remind", fails_once)
    monkeypatch.setattr(daily, "EVERY", 0.0)
    assert configured is not None
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(daily.keep_reminding(front, configured))
    assert len(looks) == 2
    assert type(error).__name__ in caplog.text


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)
