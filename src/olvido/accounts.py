"""Who may do what: accounts of people and programs, and their tokens, each with one role.

They lie in a file beside the ledger's key. Tokens are kept as SHA-256 digests: 32 random bytes
cannot be guessed, so nothing slower is needed, and whoever reads the file learns no token.

An account is one person, however often they were given a token and however their label was spelled:
where two people have to agree, it is two accounts that do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from olvido.errors import InputError, StateError, UnknownName
from olvido.files import locked, write
from olvido.folding import words
from olvido.settings import Settings

T = TypeVar("T")
LOOKS_ALIKE = 1.0
"""Seconds after which a file is read again even where it looks as it did."""


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
class Account:
    """One person or program.

    Attributes:
        id: random and for good; what the ledger keeps of who decided.
        label: who it is, as the team first wrote it.
    """

    id: str
    label: str

    @property
    def folded(self) -> tuple[str, ...]:
        """The words of the label in their one form: labels that agree in it are one account."""
        return tuple(words(self.label))


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token: never the token itself.

    Attributes:
        id: its name, for revoking it.
        role: what it may do; see `RIGHTS`.
        account: the id of whose it is.
        label: who that is.
        digest: SHA-256 of the token, hexadecimal.
        created_at: when it was made, in UTC.
    """

    id: str
    role: Role
    account: str
    label: str
    digest: str
    created_at: str


class LockedFile(Generic[T]):
    """A small JSON file that several processes read and change, one change at a time.

    Args:
        path: of the file.
        parse: gives what a document says, or what None, no file yet, stands for. It raises
            ValueError, KeyError or TypeError for a document that says nothing that is known.
        advice: what to do about a file that cannot be read so.
    """

    def __init__(
        self, path: Path, parse: Callable[[Mapping[str, Any] | None], T], *, advice: str
    ) -> None:
        self.path, self._parse, self._advice = path, parse, advice
        self._kept: tuple[tuple[int, int, int], float, T] | None = None

    def read(self) -> T:
        """What the file says; read again only where it has changed, for every request asks."""
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            return self._parse(None)
        at, clock = (seen.st_mtime_ns, seen.st_ino, seen.st_size), time.monotonic()
        kept = self._kept
        # Two files written within one tick of the clock may look alike: not for long.
        if kept is None or kept[0] != at or clock - kept[1] > LOOKS_ALIKE:
            kept = at, clock, self._parsed()
            self._kept = kept
        return kept[2]

    @contextmanager
    def changing(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Hold the lock; gives what puts another document into the file's place.

        What is read inside the block is what the change begins from.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            self._kept = None
            yield lambda document: write(self.path, json.dumps(document, indent=1))
            self._kept = None

    def _parsed(self) -> T:
        try:
            return self._parse(json.loads(self.path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"{self.path} cannot be read ({type(error).__name__}): {self._advice}"
            ) from error


@dataclass(frozen=True)
class _Known:
    """What the file says: accounts by id, and tokens by digest."""

    accounts: Mapping[str, Account]
    tokens: Mapping[str, Token]

    def to_dict(self) -> dict[str, Any]:
        kept = ("id", "role", "account", "digest", "created_at")
        rows = [{k: v for k, v in asdict(t).items() if k in kept} for t in self.tokens.values()]
        return {"accounts": [asdict(one) for one in self.accounts.values()], "tokens": rows}


def _parse(document: Mapping[str, Any] | None) -> _Known:
    if document is None:
        return _Known({}, {})
    accounts = {row["id"]: Account(**row) for row in document["accounts"]}
    tokens = [
        Token(**row | {"role": Role(row["role"]), "label": accounts[row["account"]].label})
        for row in document["tokens"]
    ]
    return _Known(accounts, {token.digest: token for token in tokens})


class Accounts:
    """The accounts and tokens of one workspace.

    Args:
        path: their file; no file is no account.
    """

    def __init__(self, path: Path) -> None:
        self._file = LockedFile(
            path,
            _parse,
            advice="put back the copy you kept, or remove it and make new tokens with 'olvido "
            "token new'",
        )

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self._file.path

    @classmethod
    def of(cls, settings: Settings) -> Accounts:
        """Those of this workspace, in `tokens.json` beside its key."""
        return cls(settings.key.with_name("tokens.json"))

    def tokens(self) -> tuple[Token, ...]:
        """Every token that is valid, the oldest first.

        Raises:
            StateError: the file is no list of tokens; nobody is let in.
        """
        return tuple(self._file.read().tokens.values())

    def find(self, secret: str) -> Token | None:
        """The valid token that this is, if any. Raises StateError as `tokens`."""
        return self.with_digest(digest_of(secret))

    def with_digest(self, digest: str) -> Token | None:
        """The valid token of this digest, if any. Raises StateError as `tokens`."""
        found = self._file.read().tokens.get(digest)
        # What is looked up is a digest: how long that takes tells nothing about a token.
        return found if found and hmac.compare_digest(found.digest, digest) else None

    def new(self, role: str, label: str) -> tuple[Token, str]:
        """Make a token, for whoever has this label: an account that is there, or a new one.

        Returns:
            What is kept of it, and the token itself, which is kept nowhere.

        Raises:
            UnknownName: no such role.
            InputError: the label has no word in it.
            StateError: the file cannot be read.
        """
        if role not in list(Role):
            raise UnknownName("role", role, Role)
        folded = tuple(words(label))
        if not folded:
            raise InputError(
                f"expected a label that says in words whose the token is, got {label[:50]!r}"
            )
        secret = f"olvido_{secrets.token_urlsafe(32)}"
        with self._file.changing() as put:
            known = self._file.read()
            account = next((a for a in known.accounts.values() if a.folded == folded), None)
            account = account or Account(f"acct-{secrets.token_hex(8)}", " ".join(label.split()))
            number = 1 + max(
                (int(t.id.removeprefix("t")) for t in known.tokens.values()), default=0
            )
            made = Token(
                f"t{number}",
                Role(role),
                account.id,
                account.label,
                digest_of(secret),
                datetime.now(UTC).isoformat(),
            )
            put(
                _Known(
                    {**known.accounts, account.id: account}, {**known.tokens, made.digest: made}
                ).to_dict()
            )
        return made, secret

    def revoke(self, identifier: str) -> Token:
        """Make a token invalid, at once and for good; whoever signed in with it is signed out.

        Raises:
            UnknownName: no such token.
        """
        with self._file.changing() as put:
            known = self._file.read()
            by_id = {token.id: token for token in known.tokens.values()}
            if identifier not in by_id:
                raise UnknownName("token", identifier, by_id)
            gone = by_id[identifier]
            left = {d: token for d, token in known.tokens.items() if d != gone.digest}
            put(_Known(known.accounts, left).to_dict())
        return gone

    def labels(self) -> dict[str, str]:
        """Who each account is, by its id. Raises StateError as `tokens`."""
        return {one.id: one.label for one in self._file.read().accounts.values()}

    def who_may(self, right: Right) -> tuple[Account, ...]:
        """The accounts that may do this by a token that is valid. Raises StateError as `tokens`."""
        known = self._file.read()
        able = {token.account for token in known.tokens.values() if right in RIGHTS[token.role]}
        return tuple(one for one in known.accounts.values() if one.id in able)

    def named(self, name: str, right: Right) -> Account:
        """The account of this id or label, if it may do this by a token that is valid.

        Raises:
            UnknownName: there is no such account.
            InputError: none of its tokens has that right.
        """
        known = self._file.read()
        folded = tuple(words(name))
        found = known.accounts.get(name) or next(
            (a for a in known.accounts.values() if a.folded == folded), None
        )
        if found is None:
            raise UnknownName("account", name, [a.label for a in known.accounts.values()])
        if found not in self.who_may(right):
            raise InputError(
                f"the account {found.label!r} may not {right}: give it a token of a role that may "
                f"('olvido token new --role privacy --label {found.label!r}')"
            )
        return found


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
