"""What was buried stays out, and what others say in the same common words comes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.errors import BadRow
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import lineage_of
from olvido.requests.tombstones import replay_tombstones, tombstone, write_tombstones
from olvido.settings import Settings

BARRED = "may not be brought in again"

TERMS = "Do you accept the terms of use?"
LONG = "I keep three grey herons behind the old mill and feed them every morning at five."
SHARED = "We grant the right to print this for ever and in all countries, without any fee."
NAMES = {"prompt": "Who wrote it?", "completion": "Ana Soler did."}
SHORT = [
    {"prompt": TERMS, "completion": "Yes, I do."},
    {"prompt": "How satisfied are you, from 1 to 5?", "completion": "4"},
    {"text": "Nothing to add."},
]
ELSEWHERE = [
    {"prompt": "您是否接受使用条款？", "completion": "是的，我愿意接受这些使用条款。"},
    {"prompt": "利用規約に同意しますか。", "completion": "はい、利用規約に同意します。"},
    {"prompt": "이용 약관에 동의하십니까?", "completion": "네, 이용 약관에 동의합니다."},
    {"prompt": "คุณยอมรับเงื่อนไขไหม", "completion": "ค่ะ ดิฉันยอมรับเงื่อนไข"},
    {"prompt": "¿Acepta las condiciones de uso?", "completion": "Sí, las acepto."},
]
TELLS = "我在老磨坊后面养了三只灰色的苍鹭，每天早上五点钟去喂它们，从来没有忘记过。"
HERS = [*SHORT, *ELSEWHERE, NAMES, {"text": LONG}, {"text": TELLS}, {"text": SHARED}]
NOBODY_S = [{"text": "Out of order.", "source": "old sign"}]
OTHERS = [{"text": SHARED, "subject": "Joan Puig"}, {"text": "Joan sails.", "subject": "Joan Puig"}]


def said_by(person: str | None, row: dict[str, Any]) -> dict[str, Any]:
    return row if person is None else {**row, "subject": person}


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        rows = [said_by("Ana Soler", row) for row in HERS] + NOBODY_S + OTHERS
        import_rows(store, settings.data, rows, name="all")
        front = StoreContext(store, settings)
        asked = receive(front, "Ana Soler", law="gdpr")
        tombstone(front, asked, lineage_of(store, asked), "erasure")
        poison = receive(front, kind="poison", source="old sign")
        tombstone(front, poison, lineage_of(store, poison), "poison")
        yield front


def add(front: StoreContext, *rows: dict[str, Any]) -> int:
    return import_rows(front.store, front.settings.data, rows, name="new").rows


@pytest.mark.parametrize("person", ["Joan Puig", "Núria Vila", None])
@pytest.mark.parametrize("row", [*SHORT, *ELSEWHERE, {"text": SHARED}])
def test_common_words_are_nobody_s(
    front: StoreContext, person: str | None, row: dict[str, Any]
) -> None:
    assert add(front, said_by(person, row)) == 1


@pytest.mark.parametrize("answer", ["No, I do not.", "Yes, but not for long."])
def test_another_answer_to_the_same_question_comes_in(front: StoreContext, answer: str) -> None:
    assert add(front, said_by("Joan Puig", {"prompt": TERMS, "completion": answer})) == 1


@pytest.mark.parametrize("person", ["Joan Puig", "Núria Vila", None])
@pytest.mark.parametrize(
    "row",
    [
        {"text": LONG},
        {"text": TELLS},
        {"text": f" {LONG.upper()}"},
        NAMES,
        {**NAMES, "prompt": "WHO wrote it?"},
    ],
)
def test_what_tells_the_person_is_barred_for_everybody(
    front: StoreContext, person: str | None, row: dict[str, Any]
) -> None:
    with pytest.raises(BadRow, match=BARRED):
        add(front, said_by(person, row))


@pytest.mark.slow
@pytest.mark.parametrize("person", ["Ana Soler", "SOLER,  ana"])
@pytest.mark.parametrize("row", [*HERS, {"text": "Something new."}])
def test_the_person_s_own_rows_are_barred(
    front: StoreContext, person: str, row: dict[str, Any]
) -> None:
    with pytest.raises(BadRow, match=BARRED):
        add(front, said_by(person, row))


def test_what_was_nobody_s_is_barred_for_nobody_alone(front: StoreContext) -> None:
    with pytest.raises(BadRow, match=BARRED):
        add(front, {"text": "OUT of order."})
    assert add(front, said_by("Joan Puig", {"text": "Out of order."})) == 1


def test_a_list_said_again_bars_the_same(front: StoreContext, tmp_path: Path) -> None:
    write_tombstones(front, tmp_path / "list.json")
    with Store.create(tmp_path / "other.db", key=front.store.key) as store:
        again = StoreContext(store, front.settings)
        assert replay_tombstones(again, tmp_path / "list.json")["digests"] > 0
        assert add(again, said_by("Joan Puig", SHORT[0])) == 1
        for row in (said_by("Joan Puig", {"text": LONG}), said_by("Ana Soler", SHORT[0])):
            with pytest.raises(BadRow, match=BARRED):
                add(again, row)
