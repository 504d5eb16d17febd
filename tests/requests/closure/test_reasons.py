"""What is kept of an item is what its certificate can say: whatever else would leave it without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.requests.closure.towns import Town

from olvido.accounts import Accounts
from olvido.errors import InputError
from olvido.ledger.facts import Exit
from olvido.requests.certificate.closing import closure_of
from olvido.requests.certificate.shape import CORE, misfits
from olvido.requests.closure import close, settle
from olvido.requests.closure.stating import state_exit

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
    # As stated it would have eight characters more.
    for name in ("done", "unrelated", "stated, erased"):
        with pytest.raises(InputError, match="say it shorter"):
            WAYS[name](town, "x" * 995)
    WAYS["done"](town, "x" * 980)
    assert sayable(town)


@pytest.mark.parametrize("name", ["n" * 250, "two\nlines.txt", "bell\x07.txt", "tab\tbed.txt"])
def test_names_of_what_stays_are_said_in_one_line(town: Town, name: str) -> None:
    folder = town.folder / "models" / "old"
    for number in range(6):
        (folder / f"{number}{name}").write_text("Mine.")
    close(town.front, "req-0001")
    item = f"model:{town.models['old'].id}"
    settle(town.front, "req-0001", erased=[item])
    kept = {i.item: i for i in town.front.store.closure("req-0001")}[item]
    assert kept.exit is Exit.ERASED
    assert "what Olvido did not write stays" in str(kept.detail)
    assert sayable(town)


def sayable(town: Town) -> bool:
    store = town.front.store
    return not list(misfits(closure_of(store, store.request("req-0001")), CORE["closure"]))
