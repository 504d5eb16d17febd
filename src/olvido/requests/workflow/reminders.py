"""The settings of `[reminders]` in `olvido.toml`, and the place of their secrets.

Also what e-mail and webhook have in common: few tries, and whether a host is this machine.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from olvido.errors import InputError, StateError, UnknownName
from olvido.settings import FILE, Settings

SECURITY = {"starttls": 587, "tls": 465, "none": 25}
"""Ways to secure mail, with the usual port; unsecured mail is only sent on this machine."""
_KNOWN: Mapping[str, type] = {
    "days": int,
    "pages": str,
    "webhook": str,
    "smtp": str,
    "port": int,
    "security": str,
    "user": str,
    "sender": str,
    "to": list,
}


@dataclass(frozen=True, slots=True)
class Mail:
    """The recipients of e-mail and the server; a password is needed only with a `user`."""

    host: str
    port: int
    security: str
    user: str | None
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of a workspace's reminders.

    Attributes:
        days: how many days before the due day reminders begin.
        pages: the address of the service's pages, for links; None for no links.
        webhook: the URL that is called; None for none.
        mail: how e-mail is sent; None for none.
        secrets: the folder with the secrets' files.
    """

    days: int
    pages: str | None
    webhook: str | None
    mail: Mail | None
    secrets: Path


def configuration(settings: Settings) -> Configuration | None:
    """Read the settings of reminders; None where there are none.

    Raises:
        InputError: they are invalid, or would send in clear to another machine.
    """
    said = settings.reminders
    if not said:
        return None
    for name, value in said.items():
        if name not in _KNOWN:
            raise UnknownName(f"setting in [reminders] of {FILE}", name, _KNOWN)
        if type(value) is not _KNOWN[name]:
            raise InputError(f"expected {name} in [reminders] as {_WORDS[_KNOWN[name]]}")
    days = said.get("days", 7)
    if not 0 <= days <= 366:
        raise InputError(f"expected days in [reminders] from 0 to 366, got {days}")
    if "webhook" not in said and "smtp" not in said:
        raise InputError("say in [reminders] whom to tell: a webhook, or smtp, sender and to")
    return Configuration(
        days=days,
        pages=_url("pages", said["pages"]).rstrip("/") if "pages" in said else None,
        webhook=_url("webhook", said["webhook"]) if "webhook" in said else None,
        mail=_mail(said) if "smtp" in said else None,
        secrets=settings.key.parent,
    )


_WORDS = {int: "a whole number", str: "text", list: "a list of texts"}


def _url(name: str, text: str) -> str:
    wrong = f"expected {name} in [reminders] as a URL like https://example.org/path"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InputError(wrong) from None
    plain = text.isascii() and text.isprintable() and " " not in text
    if not plain or not _is_host(parts.hostname) or parts.username or parts.fragment or port == 0:
        raise InputError(wrong)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here(parts.hostname)):
        raise InputError(
            f"expected {name} in [reminders] as https://: what says who is late is not sent in "
            "clear (http:// to this machine alone)"
        )
    return text


def _is_host(name: str | None) -> bool:
    """Whether a name can be looked up at all: any other would fail with each message."""
    try:
        return bool(name) and len(str(name).encode("idna")) < 254
    except UnicodeError:
        return False


def _mail(said: Mapping[str, Any]) -> Mail:
    host, security = said["smtp"], said.get("security", "starttls")
    if security not in SECURITY:
        raise UnknownName("security in [reminders]", security, SECURITY)
    if not _is_host(host):
        raise InputError(
            "expected smtp in [reminders] as the name of a host, like mail.example.org"
        )
    if security == "none" and not is_here(host):
        raise InputError(
            "mail is sent to another machine by TLS alone: say security = 'starttls' or 'tls' in "
            "[reminders]"
        )
    to, sender = said.get("to", []), said.get("sender", "")
    if not to or not all(type(one) is str and _is_address(one) for one in (*to, sender)):
        raise InputError(
            "expected sender in [reminders] as an e-mail address, and to as a list of them"
        )
    port = said.get("port", SECURITY[security])
    if not 0 < port < 2**16:
        raise InputError(f"expected port in [reminders] from 1 to 65535, got {port}")
    return Mail(host, port, security, said.get("user"), sender, tuple(to))


def _is_address(text: str) -> bool:
    plain = parseaddr(text)[1]
    return plain == text and text.count("@") == 1 and not set(text) & set("\r\n ,;")


def secret(name: str, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Read a secret from OLVIDO_NAME in the environment or a file of this name beside the key.

    Args:
        name: `webhook-secret` or `smtp-password`.
        folder: the folder of the file, which its owner alone may read.
        environment: the environment of the process.

    Raises:
        StateError: there is none, or others may read it.
    """
    variable = f"OLVIDO_{name.replace('-', '_').upper()}"
    if value := environment.get(variable):
        return value
    file = folder / name
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise StateError(
            f"there is no {name}: set {variable}, or write it into {file}, for its owner alone "
            "(chmod 600)"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise StateError(f"others may read {file}: say 'chmod 600 {file}'")
    if not text:
        raise StateError(f"{file} is empty: write the {name} into it")
    return text


PATIENCE = 10.0
"""Seconds that a connection may take."""
PAUSES = (1.0, 4.0)
"""Seconds between tries."""
_HERE = ("localhost", "127.0.0.1", "::1")


class Failed(Exception):
    """Raised where a message did not reach all its recipients.

    Args:
        why: the reason in a few words, without addresses, texts or secrets.
        passing: whether another try may succeed.
        partly: whether some recipients got it, so that no other try is made.
    """

    def __init__(self, why: str, *, passing: bool, partly: bool = False) -> None:
        super().__init__(why)
        self.passing, self.partly = passing, partly


def is_here(host: str | None) -> bool:
    """Whether a host is this machine, so that no encryption is needed."""
    return host in _HERE


def tried(deliver: Callable[[], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Deliver, with further tries where that may help. Raises Failed after the last try."""
    for pause in (*PAUSES, None):
        try:
            deliver()
            return
        except Failed as error:
            if pause is None or not error.passing:
                raise
            sleep(pause)
