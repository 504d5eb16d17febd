"""Who a record is about, without saying who: a keyed digest of a canonical identifier.

The key lies in a file of its own. Whoever has only the database can neither read a subject nor
test a guess at one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from olvido.errors import InputError, StateError
from olvido.files import write
from olvido.folding import fold, words
from olvido.ledger.digests import Digest, canonical_json
from olvido.names import canonical_name, loose_forms, name_forms

_SUBJECT = re.compile(r"hmac-sha256:v([1-9][0-9]*):([0-9a-f]{64})")
_REMEMBERED = 500_000
_KEY = re.compile(r"olvido-key:v([1-9][0-9]*):([0-9a-f]{64})\n?")


@dataclass(frozen=True, order=True, slots=True)
class SubjectId:
    """A person (or artist, client, source) as HMAC-SHA-256 under one version of the key.

    >>> s = SubjectId(version=1, mac="0" * 64)
    >>> SubjectId.from_str(str(s)) == s
    True
    """

    version: int
    mac: str

    def __str__(self) -> str:
        return f"hmac-sha256:v{self.version}:{self.mac}"

    @classmethod
    def from_str(cls, text: str) -> SubjectId:
        """Read `hmac-sha256:v<version>:<hex>`; the error never repeats the text, maybe a name."""
        match = _SUBJECT.fullmatch(text)
        if match is None:
            raise InputError(
                "expected a subject 'hmac-sha256:v1:<64 hexadecimal digits>', got something else "
                f"of {len(text)} characters. Turn a name into a subject with Key.subject(name)"
            )
        return cls(int(match[1]), match[2])

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether this text is already the string form of a subject."""
        return _SUBJECT.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Key:
    """The secret under which subjects are digested, and its version.

    >>> key = Key(version=1, secret=bytes(32))
    >>> key.subject("Ana Soler") == key.subject("SOLER,  ana")
    True
    """

    version: int
    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> Digest:
        """What the ledger keeps to know its key again; tells nothing about the secret."""
        return Digest(self._mac(b"fingerprint", b"").hex())

    def subject(self, name: str) -> SubjectId:
        """The subject of this name, however it is spelt (see `canonical_name`).

        Raises InputError when nothing of the name is left, or when it is no Unicode.
        """
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError("invalid UTF-8 in the name of a subject") from None
        canonical = canonical_name(name)
        if not canonical:
            raise InputError("expected the name of a subject, got an empty one")
        return SubjectId(self.version, self._mac(b"subject", canonical.encode()).hex())

    def kept(self, name: str) -> frozenset[bytes]:
        """16 bytes for each loose form of a name that is kept beside its subject."""
        return self._forms(loose_forms(name)[0])

    def near(self, name: str) -> frozenset[bytes]:
        """16 bytes for each loose form by which names near this one are looked for."""
        return self._forms(loose_forms(name)[1])

    def _forms(self, forms: Iterable[str]) -> frozenset[bytes]:
        return frozenset(self._mac(b"form", form.encode())[:16] for form in forms)

    def name(self, said: Sequence[str]) -> str:
        """A run of folded words (`olvido.folding.words`) that may name somebody, as a digest.

        It tells how many words to look at: `name:v1:2:<hex>`.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.name(["ana", "soler"]).startswith("name:v1:2:")
        True
        """
        mac = self._mac(b"name", " ".join(said).encode())
        return f"name:v{self.version}:{len(said)}:{mac.hex()}"

    def names(self, name: str) -> list[str]:
        """The digests of the runs of words under which a text names this person, sorted."""
        return sorted(map(self.name, name_forms(name)))

    def record_id(self, content: bytes) -> str:
        """An id for a record that came without one: the same for the same content and key."""
        return "r-" + self._mac(b"record", content).hex()[:16]

    def content(self, *texts: str | None, about: Iterable[str] | None = None) -> str:
        """What a row says, as a digest that survives another spelling of letters and spaces.

        Args:
            texts: of the row.
            about: subjects of the row, to whom the digest is bound; None for whoever says it.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.content("Who is Ana?", "A  baker") == key.content("who is ana?", "a baker", None)
        True
        >>> key.content("Yes.", about=["one"]) == key.content("Yes.", about=["other"])
        False
        """
        said: list[object] = [fold(text) for text in texts if text is not None]
        if about is not None:
            said = [said, sorted(about)]
        return f"content:v{self.version}:{self._mac(b'content', canonical_json(said)).hex()}"

    def derived(self, purpose: bytes, message: bytes) -> bytes:
        """32 bytes that whoever has no key can neither find nor test, for one purpose alone."""
        return self._mac(b"derived\x00" + purpose, message)

    def _mac(self, purpose: bytes, message: bytes) -> bytes:
        return hmac.digest(self.secret, purpose + b"\x00" + message, hashlib.sha256)

    @classmethod
    def create(cls, path: Path) -> Key:
        """A new random key, written to a file that only its owner may read.

        Raises StateError where the file exists already: a lost key cannot be made again.
        """
        key = cls(version=1, secret=secrets.token_bytes(32))
        try:
            write(path, f"olvido-key:v{key.version}:{key.secret.hex()}\n", new=True)
        except FileExistsError:
            raise StateError(f"the key file {path} exists: move it away or keep it") from None
        return key

    @classmethod
    def load(cls, path: Path) -> Key:
        """Read the key. Raises StateError when it is missing or is no key."""
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            raise StateError(
                f"the key file {path} is missing: put back the copy you kept; without it no "
                "subject can be found again"
            ) from None
        match = _KEY.fullmatch(text)
        if match is None:
            raise StateError(f"{path} is not a key file of Olvido: put back the copy you kept")
        return cls(int(match[1]), bytes.fromhex(match[2]))


class Named:
    """Tells whether a text names somebody of whom only digests are known.

    Args:
        key: of the ledger.
        names: from `Key.names`, of one person or of several.

    >>> key = Key(version=1, secret=bytes(32))
    >>> named = Named(key, key.names("Núria Puig"))
    >>> named.in_text("Ask PUIG, NURIA."), named.in_text("Núria knows Pau Puig.")
    (True, False)
    """

    def __init__(self, key: Key, names: Iterable[str]) -> None:
        self._key, self._names = key, frozenset(names)
        self._lengths = sorted({int(name.split(":")[2]) for name in self._names})
        self._known: dict[tuple[str, ...], bool] = {}

    def in_text(self, text: str) -> bool:
        """Whether any run of its words is one of the names."""
        said = words(text) if self._names else []
        return any(
            self._is_name(tuple(said[at : at + length]))
            for length in self._lengths
            for at in range(len(said) - length + 1)
        )

    def _is_name(self, run: tuple[str, ...]) -> bool:
        found = self._known.get(run)
        if found is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            found = self._known[run] = self._key.name(run) in self._names
        return found
