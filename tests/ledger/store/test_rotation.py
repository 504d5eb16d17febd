"""After its key was rotated a ledger finds whom it found, nobody else, and holds no old digest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from tests.ledger.store.conftest import Bare

from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError
from olvido.ledger.facts import Ending, Exit, Request, RequestKind, RequestStatus
from olvido.ledger.identity import Key, Named
from olvido.ledger.rows import load_rows
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import Store, engine, log, schema

PEOPLE = ("Ana Soler", "Núria Puig i Mas", "Jordi Esteve", "Ana Sola")
OTHERS = ("Pau Casals", "Anna Soler")
_LETTERS = st.characters(codec="utf-8", categories=["L", "Zs"])


def _fill(store: Store, data: Path) -> None:
    rows = [
        {"id": f"r{n}-{i}", "text": f"{name} bakes bread number {i}", "subject": name}
        for n, name in enumerate(PEOPLE)
        for i in range(n + 1)
    ]
    import_rows(store, data, rows, name="people")
    ana, key = PEOPLE[0], store.key
    asked = store.add_request(RequestKind.ERASURE, subject=key.subject(ana), law="gdpr")
    near = sorted(form.hex() for form in key.near(ana))
    store.advance_request(asked.id, RequestStatus.LOCATED, {"names": key.names(ana), "near": near})
    store.note("prints", {"id": asked.id, "texts": [key.name(["ana", "soler"])]})
    said = "Ana Soler bakes bread number 0"
    bound = key.content(None, None, said, about=[str(key.subject(p)) for p in PEOPLE[:2]])
    store.suppress([str(key.subject(ana)), key.content(None, None, said), bound])
    store.tombstone(["r0-0"], "erased", dataset="people")


def _found(store: Store, data: Path) -> dict[str, Any]:
    """All that is found by name, whatever the key."""
    key, request = store.key, store.request("req-0001")
    names = frozenset(n for step in request.history for n in step.detail.get("names", ()))
    near = [bytes.fromhex(f) for step in request.history for f in step.detail.get("near", ())]
    said, everybody = "Ana Soler bakes bread number 0", (*PEOPLE, *OTHERS)
    rows = load_rows(store, data, store.dataset("people"), tombstoned=True)
    bound = [str(key.subject(p)) for p in PEOPLE[:2]]
    (prints,) = store.events("prints")
    return {
        "records": {p: {r.id for r in store.records_of(key.subject(p))} for p in everybody},
        "asked": {p: _asks(request, key, p) for p in everybody},
        "near": {p: len(store.near(key.near(p))) for p in everybody},
        "asked near": len(store.near(near)),
        "rows": {
            p: {r["id"] for r in rows if str(key.subject(p)) in r["subjects"]} for p in everybody
        },
        "barred": {p: str(key.subject(p)) in store.suppressed() for p in everybody},
        "said": key.content(None, None, said) in store.suppressed(),
        "bound": key.content(None, None, said, about=bound) in store.suppressed(),
        "named": {p: Named(key, names).in_text(f"Ask {p}.") for p in everybody},
        "prints": prints.detail["texts"] == [key.name(["ana", "soler"])],
        "ids": [row["id"] for row in rows],
        "lineage": {p: len(store.lineage(key.subject(p)).records) for p in everybody},
    }


def _about(rows: list[dict[str, Any]], subject: str) -> set[str]:
    return {row["id"] for row in rows if subject in row["subjects"]}


def _asks(request: Request, key: Key, name: str) -> bool:
    return request.subject == key.subject(name)


def _leftovers(bare: Bare, version: int) -> list[str]:
    """Digests of an earlier version that stand in any table."""
    old = re.compile(rf"(?:hmac-sha256|content|name):v{version}:")
    found = []
    with engine.transaction(bare.database, writing=False) as connection:
        for table in schema.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                found += [
                    table.name for value in row if isinstance(value, str) and old.search(value)
                ]
    return found


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    _fill(store, tmp_path / "data")
    return store


@pytest.fixture
def signer(store: Store, tmp_path: Path) -> SigningKey:
    return store.signer(tmp_path / "signing.key")


@pytest.mark.slow
def test_who_was_found_is_found_and_nobody_else(
    filled: Store, bare: Bare, ledger: Path | str, tmp_path: Path, signer: SigningKey
) -> None:
    head = filled.sign_log(signer)
    before, was = _found(filled, tmp_path / "data"), filled.key
    assert before["records"]["Ana Soler"] == {"r0-0"}
    assert before["records"]["Pau Casals"] == set()
    assert [before[what] for what in ("said", "bound", "prints")] == [True] * 3
    with engine.transaction(bare.database, writing=False) as connection:
        forms = set(connection.execute(select(schema.subject_forms.c.form)).scalars())
    for version in (1, 2):
        assert _leftovers(bare, version)
        filled.rotate(filled.key.next(), signer)
        assert _leftovers(bare, version) == []
        if isinstance(ledger, Path):
            # Nor in what SQLite leaves of rows that are gone.
            raw = b"".join(file.read_bytes() for file in ledger.parent.glob("ledger.db*"))
            assert not re.search(rb"(?:hmac-sha256|content|name):v%d:" % version, raw)
        assert _found(filled, tmp_path / "data") == before
        assert filled.verify_log(known=[head]).sound
        assert filled.differences() == ()
    with engine.transaction(bare.database, writing=False) as connection:
        now = set(connection.execute(select(schema.subject_forms.c.form)).scalars())
    assert len(now) == len(forms)
    assert not now & forms
    # What was said is said again, and nothing that was not.
    assert [e.detail["id"] for e in filled.events("request-received")] == ["req-0001"]
    assert len(filled.events("suppressed")) == 1
    with pytest.raises(StateError, match="does not belong"):
        Store.open(ledger, key=was)
    with Store.open(ledger, key=filled.key) as again:
        assert _found(again, tmp_path / "data") == before
    # A digest of before means whom it meant.
    old = was.subject("Jordi Esteve")
    assert filled.records_of(old) == filled.records_of(filled.key.subject("Jordi Esteve")) != ()
    # And the ledger goes on.
    import_rows(filled, tmp_path / "data", [{"text": "Hello", "subject": PEOPLE[1]}], name="more")
    assert len(filled.records_of(filled.key.subject(PEOPLE[1]))) == 3
    assert filled.differences() == ()


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    people=st.lists(st.text(_LETTERS, min_size=1), max_size=5),
    rotations=st.integers(1, 3),
)
def test_every_name_means_whom_it_meant(
    tmp_path_factory: pytest.TempPathFactory, people: list[str], rotations: int
) -> None:
    folder = tmp_path_factory.mktemp("names")
    key = Key.create(folder / "key")
    named = [name for name in people if name.strip()]
    with Store.create(folder / "ledger.db", key=key) as store:
        rows = [{"text": f"text {i}", "subject": name} for i, name in enumerate([*named, "Ana"])]
        import_rows(store, folder / "data", rows, name="people")
        signer = store.signer(folder / "signing.key")

        def found() -> list[Any]:
            return [
                (
                    len(store.near(store.key.near(name))),
                    sorted(record.id for record in store.records_of(store.key.subject(name))),
                )
                for name in [*named, "Ana", "nobody at all"]
            ]

        before = found()
        for _ in range(rotations):
            store.rotate(store.key.next(), signer)
        assert found() == before
        assert store.differences() == ()


def test_no_text_that_somebody_wrote_keeps_a_key_from_being_rotated(
    filled: Store, signer: SigningKey, tmp_path: Path
) -> None:
    """Wherever people write: what looks like a digest or a form of ours is theirs, and stays."""
    theirs = [
        'see "near": the other one',
        '{"near":["zz", 1]}',
        '{"near":["é",{"near":["xyz"]}]}',
        f"as in hmac-sha256:v9:{'0' * 64}",
        f"content:v{'9' * 5000}:{'0' * 64}",
        f"name:v3:2:{'f' * 64}",
        "name:v1: ask @zoe,ana",
    ]
    ours = str(filled.key.subject("Ana Soler"))
    asked = filled.add_request(RequestKind.POISON)
    for number, text in enumerate([*theirs, f"about {ours}"]):
        rows = [{"id": f"t{number}", "text": f"line {number}", "source": "s"}]
        import_rows(filled, tmp_path / "data", rows, name=f"more{number}")
        filled.tombstone([f"t{number}"], text, dataset=f"more{number}")
        filled.note_request(asked.id, by="acct-1", text=text)
        filled.put_closure(asked.id, {f"item {number}": Ending(Exit.UNRELATED, text)})
        filled.note("said", {"text": text, "near": [text]})
    before = _found(filled, tmp_path / "data")
    for _ in range(2):
        filled.rotate(filled.key.next(), signer)
    now = str(filled.key.subject("Ana Soler"))
    kept = [*theirs, f"about {now}"]
    assert [one.text for one in filled.request(asked.id).notes] == kept
    assert [one.detail for one in filled.closure(asked.id)] == kept
    assert [entry.detail["text"] for entry in filled.events("said")] == kept
    assert _found(filled, tmp_path / "data") == before
    assert filled.differences() == ()
    assert filled.verify_log().sound


@pytest.mark.parametrize("at", [1, 5, 17, 40, 80])
def test_a_rotation_that_is_cut_off_leaves_the_old_ledger(
    filled: Store, ledger: Path | str, tmp_path: Path, signer: SigningKey, at: int
) -> None:
    before, events = _found(filled, tmp_path / "data"), filled.events()
    new = filled.key.next()
    statements = 0

    def fail(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == at:
            raise OSError("the power went")

    event.listen(filled._engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="power"):
        filled.rotate(new, signer)
    event.remove(filled._engine, "before_cursor_execute", fail)
    # The key file holds the new secret already.
    with Store.open(ledger, key=new) as again:
        assert again.key == new.at(1)
        assert again.events() == events
        assert _found(again, tmp_path / "data") == before
        again.rotate(new, signer)
        assert _found(again, tmp_path / "data") == before


_KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from olvido.ledger.identity import Key
from olvido.ledger.store import Store, engine
folder, at = Path(sys.argv[1]), int(sys.argv[2])
store = Store.open(folder / "ledger.db", key=Key.load(folder / "olvido.key"))
new = store.key.next()
new.save(folder / "olvido.key")
seen = 0
def kill(*_):
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(store._engine, "before_cursor_execute", kill)
if at == 0:
    engine.wipe = lambda _: os.kill(os.getpid(), signal.SIGKILL)
store.rotate(new, store.signer(folder / "signing.key"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 3, 60])
def test_killed_at_any_moment_it_is_the_old_ledger_or_the_new(tmp_path: Path, at: int) -> None:
    """0: after the transaction, before what it left on the disk is wiped."""
    key = Key.create(tmp_path / "olvido.key")
    with Store.create(tmp_path / "ledger.db", key=key) as store:
        _fill(store, tmp_path / "data")
        store.sign_log(store.signer(tmp_path / "signing.key"))
        before = _found(store, tmp_path / "data")
    command = [sys.executable, "-c", _KILLED, str(tmp_path), str(at)]
    ended = subprocess.run(command, env=os.environ, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with Store.open(tmp_path / "ledger.db", key=Key.load(tmp_path / "olvido.key")) as store:
        assert store.key.version == (2 if at == 0 else 1)
        assert _found(store, tmp_path / "data") == before
        assert store.verify_log().sound
        assert store.differences() == ()


def test_whoever_works_with_the_old_key_is_stopped(
    filled: Store, ledger: Path | str, signer: SigningKey
) -> None:
    """A service that was not stopped would say of everybody that nothing is held."""
    with Store.open(ledger, key=filled.key) as service:
        filled.rotate(filled.key.next(), signer)
        for use in (
            lambda: service.records_of(service.key.subject("Ana Soler")),
            lambda: service.note("x", {}),
            service.suppressed,
        ):
            with pytest.raises(StateError, match="start it again"):
                use()


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE log SET state = 'sha256:" + "0" * 64 + "' WHERE seq = {last}",
        "UPDATE log SET state = NULL WHERE seq = {rotation}",
        "UPDATE log SET kind = 'key-rotated' WHERE seq = 2",
        "DELETE FROM log WHERE seq >= {rotation}",
        "UPDATE requests SET law = 'x'",
        "UPDATE ledger SET key_version = key_version - 1",
        "DELETE FROM tombstones",
    ],
)
def test_edits_are_found_after_a_rotation_too(
    filled: Store, bare: Bare, signer: SigningKey, edit: str
) -> None:
    filled.rotate(filled.key.next(), signer)
    filled.add_request(RequestKind.POISON)
    (rotation,) = filled.events(log.ROTATION)
    bare.execute(edit.format(last=filled.events_count(), rotation=rotation.seq))
    assert not filled.verify_log().sound or filled.differences()


@pytest.mark.parametrize("written", ["x", "that of before"])
def test_a_ledger_that_names_another_key_is_not_worked_with(
    filled: Store, bare: Bare, ledger: Path | str, signer: SigningKey, written: str
) -> None:
    old = filled.key
    new = old.next()
    filled.rotate(new, signer)
    fingerprint = written if written == "x" else old.fingerprint
    bare.execute(f"UPDATE ledger SET key_fingerprint = '{fingerprint}'")
    for use in (filled.verify_log, filled.datasets, lambda: filled.note("notice-written", {})):
        with pytest.raises(StateError, match="start it again"):
            use()
    if written == "x":
        with pytest.raises(StateError, match="does not belong"):
            Store.open(ledger, key=new)
    else:
        with Store.open(ledger, key=new) as again:
            assert not again.verify_log().sound


def test_the_old_key_writes_no_history(filled: Store, bare: Bare, signer: SigningKey) -> None:
    """Who has the secret of before can make its codes: what came before is bound all the same."""
    old = filled.key
    filled.rotate(old.next(), signer)
    assert filled.verify_log().sound
    with engine.transaction(bare.database, writing=True) as connection:
        before = None
        for row in log.rows_of(connection):
            if row.kind == log.ROTATION:
                break
            forged = {"detail": '{"forged":true}'} if row.kind == "records-tombstoned" else {}
            text = forged.get("detail", row.detail)
            leaf = row.commitment
            if row.salt is not None:
                leaf = str(log.commit(row.salt, row.seq, row.at, row.kind, text, row.state))
            before = log.code(old, before, row.seq, leaf)
            update = schema.log.update().where(schema.log.c.seq == row.seq)
            connection.execute(update.values(commitment=leaf, mac=before, **forged))
    assert not filled.verify_log().sound


@pytest.mark.parametrize(
    "make",
    [lambda k: k, lambda k: k.next().next(), lambda k: Key(version=1, secret=bytes(32)).next()],
)
def test_only_the_next_version_is_taken(
    filled: Store, signer: SigningKey, make: Callable[[Key], Key]
) -> None:
    before = filled.events()
    with pytest.raises(InputError, match="next version"):
        filled.rotate(make(filled.key), signer)
    assert filled.events() == before


def test_nothing_is_rotated_on_a_ledger_that_was_edited(
    filled: Store, bare: Bare, signer: SigningKey
) -> None:
    bare.execute("DELETE FROM tombstones")
    before = filled.events()
    with pytest.raises(StateError, match="not what its log says"):
        filled.rotate(filled.key.next(), signer)
    assert filled.events() == before
