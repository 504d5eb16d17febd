"""What is kept of an item is what its certificate can say: whatever else would leave it without."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.requests.closure.towns import HERS, Town

from olvido.accounts import Accounts
from olvido.errors import InputError
from olvido.ledger.facts import Exit, RequestStatus
from olvido.requests.certificate.answer import closure_of
from olvido.requests.closure import close, settle
from olvido.requests.closure.closing import state_exit
from olvido.schemas.certificate import Closure

Say = Callable[[Town, str], object]
WAYS: dict[str, Say] = {
    "done": lambda town, why: settle(town.front, "req-0001", done={"backups": why}),
    "cannot": lambda town, why: settle(town.front, "req-0001", cannot={"backups": why}),
    "unrelated": lambda town, why: settle(
        town.front, "req-0001", unrelated={"unread:scan.pdf": why}, by="Eva"
    ),
    "stated, unrelated": lambda town, why: state_exit(
        town.front, "req-0001", "unread:scan.pdf", Exit.UNRELATED, why, by="Eva"
    ),
    "stated, erased": lambda town, why: state_exit(
        town.front, "req-0001", "backups", Exit.ERASED, why, by=""
    ),
    "stated, cannot": lambda town, why: state_exit(
        town.front, "req-0001", "backups", Exit.CANNOT, why, by=""
    ),
}
UNSAYABLE = ["x " * 501, "kept\nfor tax law", "kept\tfor law", "a bell\x07", "half \ud800 one"]


@pytest.mark.slow
def test_a_reason_that_no_certificate_can_say_is_refused_and_changes_nothing(town: Town) -> None:
    Accounts.of(town.front.settings).new("privacy", "Eva")
    (town.folder / "scan.pdf").write_bytes(b"%PDF-1.7 " + bytes(range(256)))
    close(town.front, "req-0001")
    before = town.front.store.closure("req-0001")
    for say in WAYS.values():
        for why in UNSAYABLE:
            with pytest.raises(InputError):
                say(town, why)
        assert town.front.store.closure("req-0001") == before
    for name in ("done", "unrelated", "stated, erased"):
        with pytest.raises(InputError, match="say it shorter"):
            WAYS[name](town, "x" * 1001)
    WAYS["done"](town, "x" * 1000)
    assert sayable(town)


def test_what_stays_is_said_in_one_line_that_names_no_file(town: Town) -> None:
    folder = town.folder / "models" / "old"
    for name in ("n" * 250, "two\nlines.txt", "bell\x07.txt", "Ana Soler.txt"):
        (folder / name).write_text("Mine.")
    close(town.front, "req-0001")
    item = f"model:{town.models['old'].id}"
    settle(town.front, "req-0001", erased=[item])
    kept = {i.item: i for i in town.front.store.closure("req-0001")}[item]
    assert kept.exit is Exit.ERASED
    assert str(kept.detail).endswith("what Olvido did not write stays: 4 files")
    assert sayable(town)


@pytest.mark.slow
def test_where_erased_things_lay_is_kept_as_keyed_digests(town: Town, tmp_path: Path) -> None:
    front, store, away = town.front, town.front.store, tmp_path / "away"
    text = "".join(
        f"{row.get('prompt', '')} {row.get('completion', row.get('text'))}\n" for row in HERS
    )
    number = "196408233234"
    mine = town.folder / "models" / "old" / "Ana Soler, letter.txt"
    made = [
        *(town.folder / "Ana Soler.txt", town.folder / number, town.folder / "Ana Soler" / "a.txt"),
        *(away / "Ana Soler.txt", away / "ana-soler" / "b.txt"),
    ]
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    os.link(made[0], tmp_path / "another name")
    mine.write_text("Mine.")

    def names(said: str) -> bool:
        return "soler" in said.casefold() or number in said

    # What is open has to be found; the log keeps no place at all.
    close(front, "req-0001", search=[away])
    open_ = {item.item for item in store.closure("req-0001") if names(item.item)}
    assert len(open_) == len(made) + 2
    named = [f"file:{path}" for path in made if path.is_relative_to(away)]
    foreign = f"mention:{mine.relative_to(town.folder)}"
    settle(front, "req-0001", erased=["all", *named], cannot={foreign: "not theirs"}, search=[away])
    # A folder called after her that is empty now is one more mention, until it goes too.
    assert "mention:Ana Soler" in close(front, "req-0001")[1]
    for path in (made[2], made[4]):
        path.parent.rmdir()
    left = close(front, "req-0001")[1]
    assert set(left) == {"backups", "recipients", f"hardlink:file:{made[0].name}"}
    settle(front, "req-0001", done=dict.fromkeys(left, "none"))
    mine.unlink()
    settle(front, "req-0001", done={foreign: "not there"})
    request = close(front, "req-0001")[0]
    assert request.status is RequestStatus.CLOSED
    assert not any(path.exists() for path in made)
    assert not any(names(str((item.item, item.detail))) for item in store.closure("req-0001"))
    assert not any(names(json.dumps(dict(entry.detail))) for entry in store.events())
    assert not names(json.dumps(closure_of(store, request)))
    assert sayable(town)
    ledger = Path(front.settings.ledger)
    assert ledger.is_file()
    for path in ledger.parent.glob(f"{ledger.name}*"):
        assert not names(path.read_bytes().decode(errors="replace"))
    # It is known when it comes back, under another key too.
    assert close(front, "req-0001", search=[away])[1] == ()
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert close(front, "req-0001", search=[away])[1] == (f"file:{shown(town, path)}",)
        path.unlink()
        if path in (made[2], made[4]):
            path.parent.rmdir()
        if path == made[0]:
            store.rotate(store.key.next(), store.signer(front.settings.signing_key))
    assert store.verify_log().sound


def shown(town: Town, path: Path) -> Path:
    return path.relative_to(town.folder) if path.is_relative_to(town.folder) else path


def sayable(town: Town) -> bool:
    store = town.front.store
    return not Closure.misfits(closure_of(store, store.request("req-0001")))
