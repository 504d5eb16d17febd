"""Pseudonymous subjects of records: keyed digests of canonical identifiers.

The key has a file of its own. With the database alone nobody can read a subject's name or test a
guess at it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from olvido.errors import InputError, StateError
from olvido.files import write
from olvido.ledger.digests import Digest, canonical_json, keyed
from olvido.ledger.personal import canonical_id
from olvido.names import canonical_name, fold, loose_forms, name_forms, whole_forms, words

_SUBJECT = re.compile(r"hmac-sha256:v([1-9][0-9]{0,8}):([0-9a-f]{64})")
_PSEUDONYM = re.compile("pseudonym-[0-9a-f]{16}")
_REMEMBERED = 500_000
_KEY = re.compile(r"olvido-key:v([1-9][0-9]*):([0-9a-f]{64})")
_MAC = re.compile(
    r"(hmac-sha256|content|name|place):v([1-9][0-9]{0,8}):((?:[0-9]+:)?)([0-9a-f]{64})"
)
_PURPOSES = {"hmac-sha256": b"subject", "content": b"content", "name": b"name", "place": b"place"}
_BOUND = re.compile('(content:v[0-9]+:[0-9a-f]{64}@)([^@",\\s]+(?:,[^@",\\s]+)+)')


_keyed = lru_cache(maxsize=64)(keyed)


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
        """Read `hmac-sha256:v<version>:<hex>`; the error never repeats the text: maybe a name."""
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
    """The secret that digests subjects, its version, and the earlier secrets.

    A rotated key digests the earlier key's digests: so a forgotten name is still found under a new
    secret, and an earlier key alone finds nothing.

    >>> key = Key(version=1, secret=bytes(32))
    >>> key.subject("Ana Soler") == key.subject("SOLER,  ana")
    True
    """

    version: int
    secret: bytes = field(repr=False)
    earlier: tuple[bytes, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.version != len(self.earlier) + 1:
            raise InputError(
                f"version {self.version} of a key comes after {self.version - 1} secrets, got "
                f"{len(self.earlier)}"
            )

    @property
    def fingerprint(self) -> Digest:
        """The digest by which the ledger recognises its key; it reveals nothing of the secret."""
        return Digest(self._mac(b"fingerprint", b"").hex())

    def subject(self, name: str) -> SubjectId:
        """The subject of this name, in any spelling (see `canonical_name`).

        Raises InputError when the canonical name is empty, or the name is no Unicode.
        """
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError("invalid UTF-8 in the name of a subject") from None
        canonical = canonical_name(name)
        if not canonical:
            raise InputError("expected the name of a subject, got an empty one")
        return SubjectId(self.version, self._chained(b"subject", canonical.encode()).hex())

    def kept(self, name: str) -> frozenset[bytes]:
        """16 bytes for each loose form of a name, to be kept beside its subject."""
        return self._forms(loose_forms(name)[0])

    def near(self, name: str) -> frozenset[bytes]:
        """16 bytes for each loose form by which names near this one are searched."""
        return self._forms(loose_forms(name)[1])

    def _forms(self, forms: Iterable[str]) -> frozenset[bytes]:
        return frozenset(self._made_forms([form.encode() for form in forms], 0))

    def name(self, said: Sequence[str]) -> str:
        """The digest of a run of folded words (`olvido.names.words`) that may name somebody.

        It contains the number of words: `name:v1:2:<hex>`.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.name(["ana", "soler"]).startswith("name:v1:2:")
        True
        """
        mac = self._chained(b"name", " ".join(said).encode())
        return f"name:v{self.version}:{len(said)}:{mac.hex()}"

    def names(self, name: str) -> list[str]:
        """The digests of the runs of words by which texts name this person, sorted."""
        return sorted(map(self.name, name_forms(name)))

    def whole_names(self, name: str) -> list[str]:
        """The digests among `names` that cover the whole name, sorted."""
        return sorted(map(self.name, whole_forms(name)))

    def place(self, text: str) -> str:
        """The digest of a place: names of files may be those of people.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.next().current(key.place("Ana.txt")).startswith("place:v2:")
        True
        """
        return f"place:v{self.version}:{self._chained(b'place', text.encode()).hex()}"

    def record_id(self, content: bytes) -> str:
        """An id for a record without one, determined by its content and the first secret.

        Rotation never changes ids, since rows, traces and models contain them.
        """
        return "r-" + self.at(1)._mac(b"record", content).hex()[:16]

    def pseudonym(self, text: str) -> str:
        """The pseudonym of an id or a source that looks personal, in any spelling.

        Like `record_id` it is made with the first secret, and rotation never changes it. The
        pseudonym of a pseudonym is itself.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.pseudonym("Ana@Example.org") == key.next().pseudonym("ana@example.org")
        True
        """
        if _PSEUDONYM.fullmatch(text):
            return text
        mac = self.at(1)._mac(b"pseudonym", canonical_id(text).encode())
        return f"pseudonym-{mac.hex()[:16]}"

    def content(self, *texts: str | None, about: Iterable[str] | None = None) -> str:
        """The digest of a row's content, equal for other spellings of letters and spaces.

        Args:
            texts: the texts of the row.
            about: subjects of the row, to whom the digest is bound; None for anybody.

        >>> key = Key(version=1, secret=bytes(32))
        >>> key.content("Who is Ana?", "A  baker") == key.content("who is ana?", "a baker", None)
        True
        >>> key.content("Yes.", about=["one"]) == key.content("Yes.", about=["other"])
        False
        """
        said = [fold(text) for text in texts if text is not None]
        mac = self._chained(b"content", canonical_json(said)).hex()
        # Beside the digest and not in it: each is rotated by itself.
        bound = "" if about is None else "@" + ",".join(sorted(about))
        return f"content:v{self.version}:{mac}{bound}"

    def current(self, text: str) -> str:
        """A text with every digest of an earlier version replaced by this version's.

        Raises InputError for a digest of a later version.

        >>> old = Key(version=1, secret=bytes(32))
        >>> new = old.next()
        >>> new.current(f"about {old.subject('Ana')}") == f"about {new.subject('Ana')}"
        True
        """
        for found in _MAC.finditer(text):
            if int(found[2]) > self.version:
                raise InputError(
                    f"a digest was made with version {found[2]} of the key, and this is version "
                    f"{self.version}: use the newest key file"
                )
        return self.renewed(text)

    def renewed(self, text: str) -> str:
        """Like `current`, for a text that anybody may have written.

        A seeming digest of a later version was not made in this ledger, and stays.
        """
        made = _MAC.sub(self._renewed, text)
        return _BOUND.sub(lambda one: one[1] + ",".join(sorted(one[2].split(","))), made)

    def current_form(self, form: bytes, since: int) -> bytes:
        """Turn a form of `near` or `kept` of version `since` into this version's."""
        return self._made_forms([form], since)[0]

    def _renewed(self, found: re.Match[str]) -> str:
        kind, version, words_, mac = found.groups()
        if int(version) > self.version:
            return found[0]
        renewed = self._chained(_PURPOSES[kind], bytes.fromhex(mac), int(version))
        return f"{kind}:v{self.version}:{words_}{renewed.hex()}"

    def at(self, version: int) -> Key:
        """The key of an earlier version."""
        secrets_ = (*self.earlier, self.secret)
        return Key(version, secrets_[version - 1], secrets_[: version - 1])

    def next(self) -> Key:
        """The next version, under a new random secret."""
        return Key(self.version + 1, secrets.token_bytes(32), (*self.earlier, self.secret))

    def derived(self, purpose: bytes, message: bytes) -> bytes:
        """32 bytes for one purpose that nobody can compute or test without the key."""
        return self._mac(b"derived\x00" + purpose, message)

    def ever_derived(self, purpose: bytes, message: bytes) -> tuple[bytes, ...]:
        """The values of `derived` under each version of the key, the present one last."""
        secrets_ = (*self.earlier, self.secret)
        return tuple(_keyed(one, b"derived\x00" + purpose + b"\x00")(message) for one in secrets_)

    def _chained(self, purpose: bytes, message: bytes, since: int = 0) -> bytes:
        """Digest under each secret after version `since` in turn."""
        for secret in (*self.earlier, self.secret)[since:]:
            message = _keyed(secret, purpose + b"\x00")(message)
        return message

    def _made_forms(self, messages: list[bytes], since: int) -> list[bytes]:
        for secret in (*self.earlier, self.secret)[since:]:
            messages = [made[:16] for made in map(_keyed(secret, b"form\x00"), messages)]
        return messages

    def _mac(self, purpose: bytes, message: bytes) -> bytes:
        return _keyed(self.secret, purpose + b"\x00")(message)

    @classmethod
    def create(cls, path: Path) -> Key:
        """A new random key, written to a file that only its owner may read.

        Raises StateError where the file exists already: a lost key cannot be made again.
        """
        key = cls(version=1, secret=secrets.token_bytes(32))
        try:
            write(path, key._lines(), new=True)
        except FileExistsError:
            raise StateError(f"the key file {path} exists: move it away or keep it") from None
        return key

    def save(self, path: Path) -> None:
        """Replace the file of the version before by this one, atomically."""
        write(path, self._lines())

    def _lines(self) -> str:
        """The newest secret first, one a line."""
        numbered = enumerate((*self.earlier, self.secret), 1)
        return "".join(reversed([f"olvido-key:v{n}:{secret.hex()}\n" for n, secret in numbered]))

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
        found = [_KEY.fullmatch(line) for line in text.splitlines()]
        numbered = [(int(one[1]), bytes.fromhex(one[2])) for one in found if one is not None]
        versions = [version for version, _ in numbered]
        if not numbered or None in found or versions != list(range(len(numbered), 0, -1)):
            raise StateError(f"{path} is not a key file of Olvido: put back the copy you kept")
        (version, secret), *earlier = numbered
        return cls(version, secret, tuple(one for _, one in reversed(earlier)))


class Named:
    """Detects names in texts by digests alone.

    Args:
        key: the ledger's key.
        names: digests from `Key.names`, for one person or several.

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
