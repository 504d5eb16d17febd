"""Signatures: an Ed25519 key (RFC 8032) in PEM files, and signed heads of the log.

A checkpoint is a note as transparency logs sign it (c2sp.org/tlog-checkpoint and /signed-note):

    olvido/<first 16 hexadecimal digits of the public key's SHA-256>
    <entries>
    <head, base64>

    — <the first line again> <base64 of four bytes that name the key, and the signature>
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from olvido.errors import InputError, StateError
from olvido.extras import extra
from olvido.files import write
from olvido.ledger.digests import Digest

with extra("service"):
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )

_ED25519 = b"\x01"
"""How a signed note names the algorithm."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The key that checks signatures: 32 bytes.

    >>> PublicKey.from_str(str(PublicKey(bytes(32)))) == PublicKey(bytes(32))
    True
    """

    raw: bytes

    def __str__(self) -> str:
        return f"ed25519:{self.raw.hex()}"

    @classmethod
    def from_str(cls, text: str) -> PublicKey:
        """Read `ed25519:<hex>`. Raises InputError on anything else."""
        algorithm, _, digits = text.partition(":")
        if algorithm != "ed25519" or len(digits) != 64 or digits.strip("0123456789abcdef"):
            raise InputError(f"expected a key 'ed25519:<64 hexadecimal digits>', got {text!r}")
        return cls(bytes.fromhex(digits))

    @property
    def id(self) -> str:
        """SHA-256 of the key, by which an envelope names it."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def origin(self) -> str:
        """The name of the log that this key signs, in its checkpoints."""
        return f"olvido/{self.id[:16]}"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the key's owner signed this message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a public key in PEM. Raises InputError where there is none."""
        try:
            key = load_pem_public_key(path.read_bytes())
        except FileNotFoundError:
            raise InputError(f"there is no key file {path}: give the issuer's public key") from None
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(
                f"{path} is no Ed25519 public key in PEM: give the file that 'olvido init' made "
                "beside the signing key (olvido-signing.pub)"
            )
        return cls(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that signs checkpoints and certificates."""

    _secret: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The public key that checks its signatures."""
        return PublicKey(self._secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes, the same each time."""
        return self._secret.sign(message)

    @classmethod
    def create(cls, path: Path) -> SigningKey:
        """Make a key: the secret half in a file that only its owner may read, the public in `.pub`.

        Raises StateError where the file exists already.
        """
        key = cls(Ed25519PrivateKey.generate())
        secret = key._secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            write(path, secret, new=True)
        except FileExistsError:
            raise StateError(f"the key file {path} exists: move it away or keep it") from None
        public = key._secret.public_key()
        whole = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        # The one file for others to read.
        write(public_file(path), whole, mode=0o644)
        return key

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read the key. Raises StateError when it is missing or is no key."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise StateError(
                f"the signing key {path} is missing: put back the copy you kept"
            ) from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise StateError(f"{path} is no signing key of Olvido: put back the copy you kept")
        return cls(key)


def public_file(path: Path) -> Path:
    """The path of the public half of the signing key in this file."""
    return path.with_suffix(".pub")


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """The head of the log at a number of entries, as somebody signed it."""

    entries: int
    head: Digest
    note: str = field(compare=False)

    @classmethod
    def sign(cls, entries: int, head: Digest, key: SigningKey) -> LogCheckpoint:
        """Sign a head."""
        origin = key.public.origin
        body = f"{origin}\n{entries}\n{base64.b64encode(head.raw).decode()}\n"
        signature = _named(origin, key.public) + key.sign(body.encode())
        note = f"{body}\n\N{EM DASH} {origin} {base64.b64encode(signature).decode()}\n"
        return cls(entries, head, note)

    @classmethod
    def read(cls, note: str) -> LogCheckpoint:
        """Read a checkpoint without asking who signed it. Raises InputError on anything else."""
        try:
            origin, size, head, empty, signature = note.removesuffix("\n").split("\n")
            if not size.isascii() or not size.isdecimal() or size != str(int(size)):
                raise ValueError
            raw = base64.b64decode(head, validate=True)
            whole = len(raw) == 32 and base64.b64encode(raw).decode() == head
            if empty or not whole or not signature.startswith(f"\N{EM DASH} {origin} "):
                raise ValueError
        except (ValueError, binascii.Error):
            raise InputError(
                "expected a checkpoint of the log, got something else: give the text that 'olvido "
                "log sign' printed, from its first line to its last"
            ) from None
        return cls(int(size), Digest(raw.hex()), note)

    def signed_by(self, key: PublicKey) -> bool:
        """Whether the owner of this key signed it."""
        body, _, line = self.note.rpartition("\n\N{EM DASH} ")
        name, _, text = line.rstrip("\n").partition(" ")
        try:
            signed = base64.b64decode(text, validate=True)
        except binascii.Error:
            return False
        return (
            name == key.origin
            and body.startswith(f"{name}\n")
            and signed[:4] == _named(name, key)
            and key.verifies(body.encode(), signed[4:])
        )


def _named(origin: str, key: PublicKey) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + key.raw).digest()[:4]
