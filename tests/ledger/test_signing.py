"""Keys stay with their owner, and a checkpoint is its signer's word, to the letter."""

from __future__ import annotations

import base64
import hashlib
import stat
import subprocess
from pathlib import Path
from shutil import which

import pytest

from olvido.errors import InputError, StateError
from olvido.ledger.digests import Digest
from olvido.ledger.signing import LogCheckpoint, PublicKey, SigningKey, public_file


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.create(tmp_path / "a" / "signing.key")


def test_the_secret_half_is_its_owner_s_alone(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "a" / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).public == key.public == PublicKey.load(public_file(path))
    assert "secret" not in repr(key)
    assert b"PRIVATE" not in public_file(path).read_bytes()
    with pytest.raises(StateError, match="exists"):
        SigningKey.create(path)
    assert SigningKey.load(path).public == key.public


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.key").write_text("nothing")
    (tmp_path / "x.pub").write_text("nothing")
    for load, name, error in (
        (SigningKey.load, "x.key", StateError),
        (SigningKey.load, "none.key", StateError),
        (PublicKey.load, "x.pub", InputError),
        (PublicKey.load, "none.pub", InputError),
    ):
        with pytest.raises(error, match=name):
            load(tmp_path / name)
    with pytest.raises(InputError, match="ed25519:<64"):
        PublicKey.from_str("ed25519:00")


@pytest.mark.skipif(which("openssl") is None, reason="needs the openssl command")
def test_other_tools_read_the_keys(tmp_path: Path, key: SigningKey) -> None:
    message, signature = tmp_path / "m", tmp_path / "s"
    message.write_bytes(b"olvido")
    signature.write_bytes(key.sign(b"olvido"))
    public = public_file(tmp_path / "a" / "signing.key")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    done = subprocess.run(
        [*command, "-in", message, "-sigfile", signature], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_checkpoint_is_the_note_of_the_specification(key: SigningKey) -> None:
    signed = LogCheckpoint.sign(7, Digest.of(b"head"), key)
    origin, size, head, empty, line = signed.note.rstrip("\n").split("\n")
    assert (size, empty) == ("7", "")
    assert base64.b64decode(head) == Digest.of(b"head").raw
    mark, name, text = line.split(" ")
    raw = base64.b64decode(text)
    assert (mark, name) == ("—", origin)
    # The key's id is that of c2sp.org/signed-note, the signature that of RFC 8032 over the body.
    assert raw[:4] == hashlib.sha256(f"{name}\n\x01".encode() + key.public.raw).digest()[:4]
    assert key.public.verifies(f"{origin}\n{size}\n{head}\n".encode(), raw[4:])
    read = LogCheckpoint.read(signed.note)
    assert (read, read.note) == (signed, signed.note)
    assert read.signed_by(key.public)


def test_every_altered_checkpoint_is_refused(tmp_path: Path, key: SigningKey) -> None:
    signed = LogCheckpoint.sign(7, Digest.of(b"head"), key)
    assert not signed.signed_by(SigningKey.create(tmp_path / "other.key").public)
    for place, letter in enumerate(signed.note):
        for other in {"A", "8", "\n", ""} - {letter}:
            altered = signed.note[:place] + other + signed.note[place + 1 :]
            if altered == signed.note.rstrip("\n"):
                continue
            try:
                believed = LogCheckpoint.read(altered).signed_by(key.public)
            except InputError:
                believed = False
            assert not believed, (place, other)
