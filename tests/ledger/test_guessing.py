"""Who has the database, and no key, learns nothing of anybody: guesses cannot be tested."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.ledger.digests import canonical_json
from olvido.ledger.rows import KEY, load_rows, stored_rows
from olvido.ledger.store import Store
from olvido.names import canonical_name
from olvido.requests.closure.erasing import erase_rows

NAME, STREET = "Jordi Esteve", "Carrer de Galileu 45"
ROWS: list[dict[str, Any]] = [
    {
        "id": "j1",
        "prompt": f"Where does {NAME} live?",
        "completion": f"In {STREET}.",
        "subject": NAME,
        "source": "town register",
        "consent": "granted",
        "collected_at": "2025-03-31",
    },
    {"id": "b1", "text": "Bru Vidal sings.", "subject": "Bru Vidal"},
]


@pytest.fixture
def ledger(store: Store, data: Path) -> Path:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    assert len(load_rows(store, data, dataset)) == 2
    return data.parent / "ledger.db"


def values(database: Path) -> dict[str, set[bytes]]:
    """Every value of every table as bytes: text, what its hexadecimal says, and numbers."""
    found: dict[str, set[bytes]] = {}
    with sqlite3.connect(database) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
        for table in tables:
            if table.startswith(("ix_", "sqlite_")):
                continue
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            found[table] = {_bytes(value) for row in rows for value in row if value is not None}
    connection.close()
    return found


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _guesses(stored: dict[str, Any]) -> Iterator[bytes]:
    """The right row as somebody with its template would write it, with its true MAC and without."""
    row = {name: value for name, value in stored.items() if name != KEY}
    yield canonical_json(row)
    yield canonical_json({**row, "subjects": [NAME]})
    for names in itertools.combinations(row, 2):
        yield canonical_json({name: row[name] for name in names})
    yield from (str(value).encode() for value in row.values())
    yield from (text.encode() for text in (NAME, canonical_name(NAME), STREET))


def _digests(message: bytes, salts: set[bytes]) -> Iterator[bytes]:
    """What anybody could make of a guess with what lies in the database beside it."""
    for salt in {b"", *salts}:
        for made in (salt + message, message + salt):
            yield from (hashlib.sha256(made).digest(), hashlib.blake2b(made).digest())
        if salt:
            yield hmac.digest(salt, message, hashlib.sha256)
        inner = hashlib.sha256(salt + message).digest()
        yield hashlib.sha256(b"\x00" + inner).digest()


def _found(database: Path, stored: dict[str, Any]) -> list[str]:
    """Tables in which a digest of a right guess stands, whole or its beginning."""
    known = values(database)
    salts = {v for some in known.values() for v in some if 8 <= len(v) <= 64}
    salts |= {bytes.fromhex(s.decode()) for s in set(salts) if _is_hex(s)}
    made = [d for guess in _guesses(stored) for d in _digests(guess, salts)]
    told = set(made) | {d.hex().encode() for d in made}
    starts = {d[:8] for d in told} | {d[:16] for d in told if len(d) > 32}
    hits = []
    for table, some in known.items():
        for value in some:
            tail = value.rpartition(b":")[2]
            if tail in told or (len(tail) >= 8 and tail[:16] in starts and len(tail) > 8):
                hits.append(table)
    return hits


def _is_hex(text: bytes) -> bool:
    return len(text) % 2 == 0 and not text.strip(b"0123456789abcdef")


def test_the_attack_finds_what_an_unkeyed_digest_gives_away(tmp_path: Path) -> None:
    """A control: with a salt beside the digests, as once, the right guess is confirmed."""
    stored, salt = {"id": "j1", "text": "x"}, bytes(range(32))
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("CREATE TABLE d (salt BLOB, digest BLOB)")
        digest = hashlib.sha256(salt + canonical_json(stored)).digest()
        old.execute("INSERT INTO d VALUES (?, ?)", (salt, digest))
    old.close()
    assert _found(tmp_path / "old.db", stored) == ["d"]


def test_the_database_confirms_no_guess(store: Store, data: Path, ledger: Path) -> None:
    (dataset,) = store.datasets()
    (stored,) = stored_rows(data / dataset.file, ["j1"], keys=True)
    assert _found(ledger, stored) == []
    # With the file, which has the keys, anybody can check that it is the one that was added.
    digest = hashlib.sha256(stored.pop(KEY) + canonical_json(stored)).digest()
    assert digest in values(ledger)["records"]


def test_nothing_confirms_a_guess_once_the_row_has_left(
    store: Store, data: Path, ledger: Path
) -> None:
    (dataset,) = store.datasets()
    (stored,) = stored_rows(data / dataset.file, ["j1"], keys=True)
    key = stored[KEY]
    store.tombstone(["j1"], "erasure", dataset=dataset.id)
    assert erase_rows(data, dataset.file, ["j1"]) == 1
    assert _found(ledger, stored) == []
    # Other records' keys are no help, and its own lies nowhere any more.
    content = {path: path.read_bytes() for path in data.parent.rglob("*") if path.is_file()}
    assert not [path for path, some in content.items() if key in some or key.hex().encode() in some]
    (other,) = stored_rows(data / dataset.file, keys=True)
    digest = hashlib.sha256(other[KEY] + canonical_json({**stored, KEY: None})).digest()
    assert digest not in values(ledger)["records"]
    # What is left is still held to the root.
    assert [row["id"] for row in load_rows(store, data, dataset)] == ["b1"]


def test_every_record_has_a_key_of_its_own(store: Store, data: Path) -> None:
    rows = [{"text": "the same"} for _ in range(1500)]
    dataset = import_rows(store, data, rows, name="x").dataset
    keys = [row[KEY] for row in stored_rows(data / dataset.file, keys=True)]
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == len(keys)
    assert len({record.digest for record in store.records("x")}) == len(keys)


def test_neither_log_nor_tables_hold_a_name_or_what_a_row_says(ledger: Path) -> None:
    told = b"\n".join(v for some in values(ledger).values() for v in some).lower()
    for said in (NAME, STREET, "esteve", "galileu"):
        assert said.lower().encode() not in told
        assert json.dumps(said).strip('"').lower().encode() not in told
