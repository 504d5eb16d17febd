"""Remind the team of requests that are due soon: by e-mail or webhook, at most once a day each.

A message has the numbers and due days of all such requests, and never a name. E-mail is plain text,
sent by TLS. A webhook gets a signed POST: with the secret its receiver can verify that it comes
from Olvido and is new.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from olvido.files import LockedFile
from olvido.ledger.facts import RequestStatus
from olvido.requests.handlers import RequestContext
from olvido.requests.rights.deadlines import today
from olvido.requests.workflow.filters import Row, in_order, row_of
from olvido.requests.workflow.reminders import PATIENCE, Configuration, Failed, Mail, secret, tried


def message(mail: Mail, subject: str, text: str) -> EmailMessage:
    """The e-mail, with the headers that keep vacation notices from answering it (RFC 3834)."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = mail.sender, ", ".join(mail.to), subject
    made["Date"] = formatdate()
    made["Message-ID"] = make_msgid(domain=mail.sender.rpartition("@")[2])
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text)
    return made


def send(mail: Mail, made: EmailMessage, password: str | None) -> None:
    """Send an e-mail once.

    Raises:
        Failed: at least one recipient did not get it; the others are not written to again.
    """
    context = ssl.create_default_context()
    try:
        with _connected(mail, context) as server:
            if mail.security == "starttls":
                server.starttls(context=context)
            if mail.user is not None and password is not None:
                server.login(mail.user, password)
            refused = server.send_message(made)
    except smtplib.SMTPRecipientsRefused:
        raise Failed("the mail server takes mail for none of them", passing=False) from None
    except smtplib.SMTPResponseException as error:
        # The server's text may repeat addresses.
        raise Failed(
            f"the mail server answered {error.smtp_code}", passing=400 <= error.smtp_code < 500
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise Failed("the mail server offers no TLS, or no login", passing=False) from None
    except ssl.SSLCertVerificationError:
        raise Failed("the mail server's certificate is not to be trusted", passing=False) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Failed(
            f"the mail server did not answer ({type(error).__name__})", passing=True
        ) from None
    if refused:
        raise Failed(
            f"{len(refused)} of {len(mail.to)} addresses were refused",
            passing=False,
            partly=True,
        )


def _connected(mail: Mail, context: ssl.SSLContext) -> smtplib.SMTP:
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.port, timeout=PATIENCE, context=context)
    return smtplib.SMTP(mail.host, mail.port, timeout=PATIENCE)


TIMESTAMP, SIGNATURE = "Olvido-Timestamp", "Olvido-Signature"


def post(url: str, document: Mapping[str, Any], secret: str) -> None:
    """Send a document once; redirections are not followed.

    `Olvido-Signature` is `v1=` and the hexadecimal HMAC-SHA-256 of the secret over the timestamp
    (seconds since 1970, also in `Olvido-Timestamp`), a full stop and the body. Whoever receives it
    compares it in constant time, and refuses what is older than five minutes.

    Raises:
        Failed: the answer was not 2xx, or did not come in time.
    """
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
    at = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Olvido",
        TIMESTAMP: at,
        SIGNATURE: signature(secret, at, body),
    }
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(
            str(parts.hostname), parts.port, timeout=PATIENCE, context=context
        )
    else:
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError:
        raise Failed("the webhook's certificate is not to be trusted", passing=False) from None
    except (OSError, HTTPException) as error:
        raise Failed(f"the webhook did not answer ({type(error).__name__})", passing=True) from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        passing = status >= 500 or status in (408, 425, 429)
        raise Failed(f"the webhook answered {status}", passing=passing)


def signature(secret: str, at: str, body: bytes) -> str:
    """The signature of a body at a time."""
    mac = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


AGAIN = 3600.0
"""Seconds after a failure in which no further try is made."""
KEPT = ("id", "kind", "law", "due", "days_left")
"""The fields of a request in a reminder, beside a link."""


@dataclass(frozen=True, slots=True)
class Reminded:
    """The result of one way of reminding.

    Attributes:
        way: `mail` or `webhook`.
        requests: the ids in the message; none where all were sent today already, or none is due.
        failure: what went wrong; None where nothing did.
        delivered: whether a recipient got it, so that it is not sent again today.
    """

    way: str
    requests: tuple[str, ...]
    failure: str | None
    delivered: bool


def due_rows(context: RequestContext, configured: Configuration) -> list[Row]:
    """The requests to remind of, the most urgent first: late, or due within the configured days."""
    pending = [status for status in RequestStatus if status.pending]
    rows = [row_of(one, context.settings) for one in context.store.requests(pending)]
    soon = [r for r in rows if r["days_left"] is not None and r["days_left"] <= configured.days]
    return in_order(soon)


def remind(
    context: RequestContext,
    configured: Configuration,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Reminded, ...]:
    """Send reminders of the requests that are due, each at most once a day by each way.

    Sent reminders are noted in `reminders.json` beside the key, under its lock, so that two
    programs at once send only one. The ledger's log has deliveries and failures.

    Raises:
        StateError: a secret is missing, or may be read by others; that file cannot be read.
    """
    ways = _ways(configured)
    file = LockedFile(
        context.settings.key.with_name("reminders.json"),
        _parse,
        advice="remove it, and say it again",
    )
    day, rows = today(context.settings).isoformat(), due_rows(context, configured)
    done = []
    with file.changing() as put:
        known = file.read()
        for way, deliver in ways.items():
            memory = known.get(way, {})
            fresh = [row for row in rows if memory.get("days", {}).get(row["id"]) != day]
            wait = memory.get("failed", 0.0) + AGAIN - clock()
            if fresh and 0 < wait <= AGAIN:
                why = f"it failed before: it is tried again in {int(wait // 60) + 1} minutes"
                done.append(Reminded(way, tuple(row["id"] for row in fresh), why, False))
                continue
            done.append(_delivered(context, way, fresh, deliver, sleep))
            if fresh:
                known = {**known, way: _kept(done[-1], memory, day, clock())}
                put(known)
    return tuple(done)


def _delivered(
    context: RequestContext,
    way: str,
    rows: Sequence[Row],
    deliver: Callable[[Sequence[Row]], None],
    sleep: Callable[[float], None],
) -> Reminded:
    ids = tuple(row["id"] for row in rows)
    if not ids:
        return Reminded(way, (), None, False)
    try:
        tried(lambda: deliver(rows), sleep)
    except Failed as error:
        context.store.note(
            "reminder-failed", {"way": way, "requests": list(ids), "why": str(error)}
        )
        return Reminded(way, ids, str(error), error.partly)
    context.store.note("reminder-sent", {"way": way, "requests": list(ids)})
    return Reminded(way, ids, None, True)


def _kept(done: Reminded, memory: Mapping[str, Any], day: str, at: float) -> dict[str, Any]:
    """The memory of a way: the days of today's requests, and its last failure."""
    if not done.delivered:
        return {**memory, "failed": at}
    today_only = {one: when for one, when in memory.get("days", {}).items() if when == day}
    return {"days": {**today_only, **dict.fromkeys(done.requests, day)}}


def _parse(document: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if document is None else {str(k): dict(v) for k, v in document.items()}


def _ways(configured: Configuration) -> dict[str, Callable[[Sequence[Row]], None]]:
    """The deliverer of each way; its secrets are read before anything is sent."""
    found: dict[str, Callable[[Sequence[Row]], None]] = {}
    mail, url, pages = configured.mail, configured.webhook, configured.pages
    if mail is not None:
        password = secret("smtp-password", configured.secrets) if mail.user else None
        found["mail"] = lambda rows: send(
            mail, message(mail, _subject(rows), _text(rows, pages)), password
        )
    if url is not None:
        shared = secret("webhook-secret", configured.secrets)
        found["webhook"] = lambda rows: post(url, _document(rows, pages), shared)
    return found


def _document(rows: Sequence[Row], pages: str | None) -> dict[str, Any]:
    return {
        "event": "requests-due",
        "requests": [
            {name: row[name] for name in KEPT} | {"link": _link(row, pages)} for row in rows
        ],
    }


def _link(row: Row, pages: str | None) -> str | None:
    return pages and f"{pages}/requests/{row['id']}"


def _subject(rows: Sequence[Row]) -> str:
    late = sum(row["days_left"] < 0 for row in rows)
    return f"Olvido: {len(rows)} due soon" + (f", {late} late" if late else "")


def _text(rows: Sequence[Row], pages: str | None) -> str:
    lines = ["These requests wait for their answer, the most urgent first.", ""]
    for row in rows:
        left = row["days_left"]
        when = f"{-left} days late" if left < 0 else f"{left} days left"
        lines += [f"{row['id']}  {row['kind']}, {row['law']}: due {row['due']}, {when}"]
        if link := _link(row, pages):
            lines += [f"          {link}"]
    return "\n".join([*lines, "", "Olvido sends this once a day for as long as they wait.", ""])
