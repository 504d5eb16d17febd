"""Accounts of people and programs, their passwords and tokens, each with one role.

They are in a file beside the ledger's key. Tokens are kept as SHA-256 digests: 32 random bytes
cannot be guessed, so no slower hash is needed, and the file reveals no token. Passwords can be
guessed, and are hashed by `olvido.passwords`.

An account is one person, with any number of tokens and in any spelling of their label: where two
people have to agree, two accounts have to.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from olvido.errors import InputError, UnknownName
from olvido.files import LockedFile
from olvido.names import words
from olvido.passwords import hashed
from olvido.settings import Settings

_LONGEST_LABEL = 200


class Role(StrEnum):
    """The roles of accounts."""

    REQUESTER = "requester"
    PRIVACY = "privacy"
    ENGINEER = "engineer"
    AUDITOR = "auditor"


class Right(StrEnum):
    """The rights that routes need."""

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
"""The rights of each role. A requester files requests and sees only their status pages."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person or program.

    Attributes:
        id: random and permanent; the ledger names deciders by it.
        label: the name of the person or program, as the team first wrote it.
    """

    id: str
    label: str

    @property
    def folded(self) -> tuple[str, ...]:
        """The label's words in canonical form: labels that agree in it are one account."""
        return tuple(words(self.label))


@dataclass(frozen=True, slots=True)
class Token:
    """The record of a token, without the token itself.

    Attributes:
        id: its name, for revoking it.
        role: its role; see `RIGHTS`.
        account: the id of its account.
        label: the label of its account.
        digest: SHA-256 of the token, hexadecimal.
        created_at: when it was made, in UTC.
    """

    id: str
    role: Role
    account: str
    label: str
    digest: str
    created_at: str


PASSWORD = "password"
"""The id of the token that represents a password in sessions."""


@dataclass(frozen=True, slots=True)
class Password:
    """The record of an account's password.

    Attributes:
        account: the id of its account.
        role: its role.
        phc: its hash.
        created_at: when it was set, in UTC.
    """

    account: str
    role: Role
    phc: str = field(repr=False)
    created_at: str

    def token(self, label: str) -> Token:
        """The token that represents the password in sessions; it changes with the password."""
        digest = digest_of(f"{PASSWORD}\0{self.phc}")
        return Token(PASSWORD, self.role, self.account, label, digest, self.created_at)


@dataclass(frozen=True)
class _Known:
    """The content of the file: accounts by id, tokens by digest, and passwords by account."""

    accounts: Mapping[str, Account]
    tokens: Mapping[str, Token]
    passwords: Mapping[str, Password] = field(default_factory=dict)

    def named(self, name: str) -> Account | None:
        """The account with this id or label."""
        folded = tuple(words(name))
        same = (a for a in self.accounts.values() if folded and a.folded == folded)
        return self.accounts.get(name) or next(same, None)

    def valid(self) -> list[Token]:
        """Every token, and for every password the token that represents it."""
        signed = [p.token(self.accounts[p.account].label) for p in self.passwords.values()]
        return [*self.tokens.values(), *signed]

    def to_dict(self) -> dict[str, Any]:
        kept = ("id", "role", "account", "digest", "created_at")
        rows = [{k: v for k, v in asdict(t).items() if k in kept} for t in self.tokens.values()]
        return {
            "accounts": [asdict(one) for one in self.accounts.values()],
            "tokens": rows,
            "passwords": [asdict(one) for one in self.passwords.values()],
        }


def _parse(document: Mapping[str, Any] | None) -> _Known:
    if document is None:
        return _Known({}, {})
    accounts = {row["id"]: Account(**row) for row in document["accounts"]}
    tokens = [
        Token(**row | {"role": Role(row["role"]), "label": accounts[row["account"]].label})
        for row in document["tokens"]
    ]
    passwords = [
        Password(**row | {"role": Role(row["role"])}) for row in document.get("passwords", [])
    ]
    if any(one.account not in accounts for one in passwords):
        raise KeyError("a password of no account")
    by_account = {one.account: one for one in passwords}
    return _Known(accounts, {token.digest: token for token in tokens}, by_account)


class Accounts:
    """The accounts and tokens of one workspace.

    Args:
        path: the accounts' file; a missing file means no account.
    """

    def __init__(self, path: Path) -> None:
        self._file = LockedFile(
            path,
            _parse,
            advice="put back the copy you kept. Where there is none, move it away and make new "
            "tokens with 'olvido token new': the ledger then speaks of accounts that nobody knows",
        )

    @property
    def path(self) -> Path:
        """The accounts' file."""
        return self._file.path

    @classmethod
    def of(cls, settings: Settings) -> Accounts:
        """The accounts of this workspace, in `tokens.json` beside its key."""
        return cls(settings.key.with_name("tokens.json"))

    def tokens(self) -> tuple[Token, ...]:
        """Every valid token, the oldest first.

        Raises:
            StateError: the file is no list of tokens; nobody is let in.
        """
        return tuple(self._file.read().tokens.values())

    def find(self, secret: str) -> Token | None:
        """The valid token with this secret, if any. Raises StateError as `tokens`."""
        digest = digest_of(secret)
        found = self._file.read().tokens.get(digest)
        # A digest is looked up: the time that takes reveals nothing about a token.
        return found if found and hmac.compare_digest(found.digest, digest) else None

    def with_digest(self, digest: str) -> Token | None:
        """The valid token, or the token of a password, with this digest: what began a session.

        Raises StateError as `tokens`.
        """
        return next((one for one in self._file.read().valid() if one.digest == digest), None)

    def password_of(self, name: str) -> Password | None:
        """The password's record for the account with this id or label, if it has one."""
        known = self._file.read()
        found = known.named(name)
        return None if found is None else known.passwords.get(found.id)

    def set_password(self, name: str, password: str, *, role: str | None = None) -> Token:
        """Set an account's password; sessions with the old one end.

        Args:
            name: the account's label; without a role, its label or id.
            password: the password; see `olvido.passwords.hashed`.
            role: the role of a first password, for which a new account is made if needed; None to
                change an existing password.

        Raises:
            UnknownName: no such role, or no such account with a password.
            InputError: the password is too weak, the label has no word in it, or there is a
                password already.
        """
        if role is not None and role not in list(Role):
            raise UnknownName("role", role, Role)
        named = self._file.read().named(name)
        label = _label(name) if named is None else named.label
        phc = hashed(password, label)
        with self._file.changing() as put:
            known = self._file.read()
            account = known.named(name)
            before = known.passwords.get(account.id) if account else None
            if role is None:
                if account is None or before is None:
                    able = [known.accounts[one].label for one in known.passwords]
                    raise UnknownName("account with a password", name, able)
                role = before.role
            elif before is not None:
                raise InputError(
                    "this account has a password: change it ('olvido account password')"
                )
            account = account or Account(f"acct-{secrets.token_hex(8)}", label)
            at = datetime.now(UTC).isoformat()
            made = Password(account.id, Role(role), phc, at)
            put(
                replace(
                    known,
                    accounts={**known.accounts, account.id: account},
                    passwords={**known.passwords, account.id: made},
                ).to_dict()
            )
        return made.token(account.label)

    def close(self, name: str) -> Account:
        """Remove an account's password and tokens; its sessions end.

        Raises UnknownName where there is no such account.
        """
        with self._file.changing() as put:
            known = self._file.read()
            found = known.named(name)
            if found is None:
                raise UnknownName("account", name, [a.label for a in known.accounts.values()])
            tokens = {d: one for d, one in known.tokens.items() if one.account != found.id}
            remaining = {one: kept for one, kept in known.passwords.items() if one != found.id}
            put(_Known(known.accounts, tokens, remaining).to_dict())
        return found

    def overview(self) -> list[dict[str, Any]]:
        """Every account with the role of its password and the number of its tokens."""
        known = self._file.read()
        roles = {one.account: one.role.value for one in known.passwords.values()}
        return [
            {
                "id": one.id,
                "label": one.label,
                "password": roles.get(one.id),
                "tokens": sum(token.account == one.id for token in known.tokens.values()),
            }
            for one in known.accounts.values()
        ]

    def new(self, role: str, label: str) -> tuple[Token, str]:
        """Make a token for the account with this label, which is made if needed.

        Returns:
            The token's record, and the token itself, which is kept nowhere.

        Raises:
            UnknownName: no such role.
            InputError: the label has no word in it.
            StateError: the file cannot be read.
        """
        if role not in list(Role):
            raise UnknownName("role", role, Role)
        label = _label(label)
        secret = f"olvido_{secrets.token_urlsafe(32)}"
        with self._file.changing() as put:
            known = self._file.read()
            folded = tuple(words(label))
            account = next((a for a in known.accounts.values() if a.folded == folded), None)
            account = account or Account(f"acct-{secrets.token_hex(8)}", label)
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
                replace(
                    known,
                    accounts={**known.accounts, account.id: account},
                    tokens={**known.tokens, made.digest: made},
                ).to_dict()
            )
        return made, secret

    def revoke(self, identifier: str) -> Token:
        """Make a token invalid, at once and for good; its sessions end.

        Raises:
            UnknownName: no such token.
        """
        with self._file.changing() as put:
            known = self._file.read()
            by_id = {token.id: token for token in known.tokens.values()}
            if identifier not in by_id:
                raise UnknownName("token", identifier, by_id)
            revoked = by_id[identifier]
            remaining = {d: token for d, token in known.tokens.items() if d != revoked.digest}
            put(replace(known, tokens=remaining).to_dict())
        return revoked

    def labels(self) -> dict[str, str]:
        """The label of each account, by its id. Raises StateError as `tokens`."""
        return {one.id: one.label for one in self._file.read().accounts.values()}

    def who_may(self, right: Right) -> tuple[Account, ...]:
        """The accounts with this right by a token or a password. Raises StateError as `tokens`."""
        known = self._file.read()
        able = {token.account for token in known.valid() if right in RIGHTS[token.role]}
        return tuple(one for one in known.accounts.values() if one.id in able)

    def named(self, name: str, right: Right) -> Account:
        """The account with this id or label, if it has this right by a valid token or password.

        Raises:
            UnknownName: there is no such account.
            InputError: none of its tokens has that right.
        """
        known = self._file.read()
        found = known.named(name)
        able = self.who_may(right)
        if found is None:
            raise UnknownName("account", name, [one.label for one in able])
        if found not in able:
            raise InputError(
                f"this account may not {right}: give it a token of a role that may ('olvido token "
                "new --role privacy' with its label)"
            )
        return found


def _label(text: str) -> str:
    """Clean an account's label.

    Raises:
        InputError: it has no word in it, is too long for a form, or has control characters.
    """
    label = " ".join(text.split())
    commands = any(unicodedata.category(sign) in ("Cc", "Cs") for sign in label)
    if not words(label) or len(label) > _LONGEST_LABEL or commands:
        raise InputError(
            f"expected a label of up to {_LONGEST_LABEL} characters, none for controlling a "
            f"terminal, that says in words who it is, got {label[:50]!r}"
        )
    return label


def digest_of(secret: str) -> str:
    """The digest by which a secret is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
