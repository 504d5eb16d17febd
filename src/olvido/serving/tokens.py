"""Who may do what: tokens of a workspace, each with one role.

Tokens lie in a file beside the ledger's key, as SHA-256 digests: 32 random bytes cannot be guessed,
so nothing slower is needed, and whoever reads the file learns no token.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from olvido.errors import InputError, StateError, UnknownName
from olvido.files import write
from olvido.ledger.facts import now
from olvido.settings import Settings


class Role(StrEnum):
    """What somebody is to the service."""

    REQUESTER = "requester"
    PRIVACY = "privacy"
    ENGINEER = "engineer"
    AUDITOR = "auditor"


class Right(StrEnum):
    """What a route asks for."""

    FILE = "file requests"
    FOLLOW = "see requests"
    DECIDE = "decide on requests"
    WORK = "plan and run"
    LINEAGE = "see data and models"
    EVIDENCE = "see audits, certificates and the log"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.REQUESTER: frozenset({Right.FILE}),
    Role.PRIVACY: frozenset(Right),
    Role.ENGINEER: frozenset({Right.FOLLOW, Right.WORK, Right.LINEAGE, Right.EVIDENCE}),
    Role.AUDITOR: frozenset({Right.FOLLOW, Right.LINEAGE, Right.EVIDENCE}),
}
"""What each role may do. Whoever files requests for people sees none: each has a status page."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token: never the token itself.

    Attributes:
        id: its name, for revoking it.
        role: what it may do; see `RIGHTS`.
        label: whose it is, as the team writes it.
        digest: SHA-256 of the token, hexadecimal.
        created_at: when it was made, in UTC.
    """

    id: str
    role: Role
    label: str
    digest: str
    created_at: str


class Tokens:
    """The tokens of one workspace.

    Args:
        path: their file; no file is no token.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._known: dict[str, Token] = {}

    @classmethod
    def of(cls, settings: Settings) -> Tokens:
        """Those of this workspace, in `tokens.json` beside its key."""
        return cls(settings.key.with_name("tokens.json"))

    def all(self) -> tuple[Token, ...]:
        """Every token that is valid, the oldest first.

        Raises:
            StateError: the file is no list of tokens.
        """
        return tuple(self._fresh().values())

    def find(self, secret: str) -> Token | None:
        """The token of this secret; None where there is none."""
        return self._fresh().get(hashlib.sha256(secret.encode()).hexdigest())

    def new(self, role: str, label: str) -> tuple[Token, str]:
        """Make a token; its secret is returned here and kept nowhere.

        Raises:
            UnknownName: no such role.
            InputError: the label is empty.
        """
        if role not in list(Role):
            raise UnknownName("role", role, list(Role))
        if not label.strip():
            raise InputError("expected a label that says whose token it is, got an empty one")
        secret = f"olvido_{secrets.token_urlsafe(32)}"
        known = self.all()
        number = 1 + max((int(token.id.removeprefix("t")) for token in known), default=0)
        made = Token(
            f"t{number}",
            Role(role),
            label.strip(),
            hashlib.sha256(secret.encode()).hexdigest(),
            now().isoformat(),
        )
        self._write([*known, made])
        return made, secret

    def revoke(self, identifier: str) -> Token:
        """Make a token invalid, at once and for good.

        Raises:
            UnknownName: no such token.
        """
        known = {token.id: token for token in self.all()}
        if identifier not in known:
            raise UnknownName("token", identifier, known)
        gone = known.pop(identifier)
        self._write(list(known.values()))
        return gone

    def _fresh(self) -> dict[str, Token]:
        """By digest; read again only where the file has changed, for every request asks."""
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            self._read_at, self._known = None, {}
            return {}
        at = (seen.st_mtime_ns, seen.st_ino)
        if at != self._read_at:
            try:
                rows = json.loads(self.path.read_text(encoding="utf-8"))["tokens"]
                tokens = [Token(**row | {"role": Role(row["role"])}) for row in rows]
            except (ValueError, KeyError, TypeError) as error:
                raise StateError(
                    f"{self.path} is no list of tokens ({type(error).__name__}): put back the copy "
                    "you kept, or remove it and make new tokens with 'olvido token new'"
                ) from error
            self._known = {token.digest: token for token in tokens}
            self._read_at = at
        return self._known

    def _write(self, tokens: Sequence[Token]) -> None:
        text = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1)
        write(self.path, text)
