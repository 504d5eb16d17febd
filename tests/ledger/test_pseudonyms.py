"""An id or a source that tells of a person stands nowhere raw, and is found as it was given."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from olvido.data.importing import import_file, import_rows
from olvido.data.parsing import ClearParser
from olvido.errors import InputError
from olvido.ledger import personal
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Model, RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.personal import Naming, looks_personal
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.tombstones import write_tombstones
from olvido.settings import Settings

PERSONAL = [
    *("ana@example.org", "mailto:Ana@Example.co.uk", "ana%40example.org", "x/ana@example.org/3"),
    *("ａｎａ＠example.org", "ana\u200b@example.org"),
    *("+34 600 123 456", "+14155550123", "600-123-456", "(415) 555-0123", "0034 600 123 456"),
    *("123-45-6789", "12345678Z", "X1234567L", "RSSMRA85T10A562S", "AB123456C", "131052-308T"),
    *("11010519491231002X", "811228-9874", "DE89 3704 0044 0532 0130 00", "crm 12345678Z"),
    *("X-1234567-L", "u/X-1234567-L", "AB-123456-C", "ABCPE-1234-F", "RSSMRA-85T10-A562-S"),
    *("NO9386011117947", "NO-9386011117947", "BE68.5390.0754.7034", "crm/BE68-5390-0754-7034"),
    *("600--123--456", "(415).555.0123", "mails_of_Jane_Roe", "e-mails/from-Jane/Roe"),
    *(
        "60\x000-123-456",
        "mails of Jane Roe",
        "E-Mails von Jörg Müller",
        "correos de Ana Soler",
        "Dr. Jane Roe",
    ),
]
INNOCENT = [
    *("42", "0012345678", "123456789012345678", "r-000017", "resident-000/dish/0", "tofu-12-3"),
    *("2025-03-31", "2025-03-31-001", "2025-03-31T12:00:00", "batch-100-200-300", "001-002-003"),
    *(str(uuid.UUID(int=2**100 + 7)), "sha256:" + "0a" * 32, "978-3-16-148410-0", "v1.10.200"),
    *(
        "id0000000000123",
        "ab12345678901234",
        "out-of-domain-set",
        "part-00001-of-00100",
        "a-b_c-d-9",
    ),
    *("Common Crawl", "https://example.org/a?x=1&y=2", "pkg@1.2.3", "notes of the meeting", "web"),
]


@pytest.mark.parametrize("text", PERSONAL)
def test_what_looks_personal_is_told(text: str) -> None:
    assert looks_personal(text)


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_innocent_is_left_alone(store: Store, data: Path, text: str) -> None:
    result = import_rows(store, data, [{"id": text, "text": "x", "source": text}], name="x")
    (record,) = store.records("x")
    assert (record.id, record.source) == (text, text)
    assert (result.pseudonymous_ids, result.pseudonymous_sources) == (0, 0)


def _spelt(said: st.SearchStrategy[str], between: str) -> st.SearchStrategy[str]:
    """The same with signs put between its own, in any case, alone or behind something."""
    marks = st.lists(st.sampled_from(["", "", "", *between]), min_size=40, max_size=40)
    spread = st.builds(lambda s, m: "".join(map("".join, zip(s, m, strict=False))), said, marks)
    cased = st.builds(lambda s, how: how(s), spread, st.sampled_from([str.lower, str.upper]))
    return st.builds("".join, st.tuples(st.sampled_from(["", "u/", "crm:7_", "x|"]), cased))


_FORMS = [st.from_regex(form, fullmatch=True) for form in personal._NATIONAL]
_LIKE = [st.from_regex(form) for form in (personal._EMAIL, personal._INTERNATIONAL)]
_LIKE.append(st.from_regex(personal._GROUPED, fullmatch=True))
_OWNERS = st.from_regex(
    re.compile(
        r"(mails|diary|lettres)[-_/ :]{1,2}(of|from|von|de)[-_/ ][a-z]{1,5}[-_/]{1,3}[a-z.']+"
    ),
    fullmatch=True,
)


@given(st.one_of(*_FORMS, *_LIKE, _OWNERS, *(_spelt(form, ".-") for form in _FORMS)))
@example("ab12345678901234")
@example("aa11a1a1a1a1a1a1a1a")
def test_no_quick_look_lets_pass_what_has_the_form_of_something_personal(text: str) -> None:
    """Whatever its check digits: a quick look sees none, and one look serves a whole shape."""
    personal._shapes.clear()
    quick = personal._shape(text)[2]
    assert quick or not personal._is_one(text)
    # Signs that a form has at its ends may be cut off a word; forms themselves are always told.
    assert quick or not any(form.fullmatch(text) for form in personal._NATIONAL)


@given(st.integers(0, 10**14) | st.uuids() | st.binary(min_size=16, max_size=32).map(bytes.hex))
def test_counters_and_digests_are_innocent(identifier: object) -> None:
    assert not looks_personal(str(identifier))


@given(st.integers(0, 2**64 - 1), st.integers(2, 99))
@example(0xB294FB8EE505477D, 2)
def test_the_ids_that_the_ledger_gives_are_innocent(digest: int, copy: int) -> None:
    """Written in one word, the example has the check digits of an account."""
    given = f"r-{digest:016x}"
    naming = Naming(["Ana Soler"])
    assert not any(naming.personal(text) for text in (given, f"{given}-{copy}"))


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("Jane Roe", ["jane-roe-3", "ROE_Jane/1", "janeroe42", "photos/Roe, Jane"]),
        ("Núria Puig i Ferrer", ["nuria.ferrer.1", "FERRER núria", "npuig nuriapuigiferrer"]),
        ("Ana", ["ana-1", "ANA"]),
        ("member-7741", ["member-7741/2"]),
        ("王伟", ["王伟-1"]),
    ],
)
def test_an_id_with_the_name_of_its_own_subject_is_told(name: str, named: list[str]) -> None:
    naming = Naming([name])
    assert [text for text in named if not naming.in_text(text)] == []
    for text in ("banana-3", "r-000017", "roebuck-1", "Common Crawl", "member-77412", "7741"):
        assert not naming.in_text(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ana@Example.org", "mailto:ana@example.org"),
        ("+34 600 123 456", "tel:+34600123456"),
        ("600 123 456", "600-123-456"),
        ("12345678-Z", "12345678z"),
        ("Dr. Jane Roe", "ROE, Jane"),
    ],
)
def test_spellings_of_one_id_are_one(store: Store, data: Path, one: str, other: str) -> None:
    rows = [{"id": i, "text": f"text {i}", "subject": "Jane Roe"} for i in (one, "another")]
    import_rows(store, data, rows, name="x")
    twice = [*rows, {"id": other, "text": "again", "subject": "Jane Roe"}]
    with pytest.raises(InputError, match="used before, in line 1"):
        import_rows(store, data, twice, name="y")
    assert store.stored_ids("x", [other]) == store.stored_ids("x", [one])
    assert store.stored_ids("x", [one])[0].startswith("pseudonym-")


ROWS: list[dict[str, Any]] = [
    {"id": "jane@example.org", "text": "Bread is baked.", "subject": "Jane Roe"},
    {"id": "+34 600 123 456", "text": "Rain falls.", "subject": "Pau Sala", "source": "phone 7"},
    {"id": "Jane Roe 2", "text": "Snow falls.", "subject": "Roe, Jane", "source": "jroe.jane-roe"},
    {"id": 12, "text": "Wind blows.", "subject": "Pau Sala", "source": "mails of Jane Roe"},
    {"id": "w-1", "text": "Sun shines.", "source": "web"},
]
RAW = ["jane@example.org", "600 123 456", "600123456", "Jane Roe", "jane-roe", "Roe, Jane", "Pau"]


def _settings(home: Path) -> tuple[Path, Settings]:
    home.mkdir(parents=True)
    (home / "olvido.toml").touch()
    return home, Settings.load(home, environment={})


def _told(folder: Path) -> Iterator[tuple[Path, str]]:
    """Where any of the raw texts stands, in which file, whatever its case."""
    for path in folder.rglob("*"):
        content = path.read_bytes().lower() if path.is_file() else b""
        if path.suffix == ".parquet":
            # Packed: what it says but for its content.
            rows = pq.read_table(path, columns=["id", "source", "subjects", "extras"]).to_pylist()
            content = json.dumps(rows, ensure_ascii=False).lower().encode()
        yield from ((path, raw) for raw in RAW if raw.lower().encode() in content)


def test_nothing_raw_is_anywhere_in_the_workspace(tmp_path: Path) -> None:
    home, settings = _settings(tmp_path / "home")
    key = Key.create(settings.key)
    aside, bad = home / "bad.jsonl", [{"id": "jane@example.org", "subject": "Jane Roe"}]
    bad += [{"id": "pau sala", "text": 7, "subject": ["Pau Sala"], "source": "notes of Pau Sala"}]
    bad += [{"id": "jane roe", "text": "x", "subject": "['Jane Roe', 7.5]"}, dict(ROWS[0])]
    with Store.create(home / "ledger.db", key=key) as store:
        result = import_rows(store, settings.data, [*ROWS, *bad], name="x", skip_bad=aside)
        assert (result.pseudonymous_ids, result.pseudonymous_sources) == (3, 2)
        assert (result.rows, result.rejected) == (5, 4)
        front = StoreContext(store, settings)
        request = receive(
            front, kind="outdated", dataset="x", records=["JANE@example.org", "12", "jane roe 2"]
        )
        poison = receive(front, kind="poison", source="Mails of Jane  Roe")
        excluded = frozenset(store.stored_ids("x", ["jane@example.org"]))
        use = DatasetUse(dataset=store.dataset("x").id, excluded=excluded)
        store.add_model(Model(digest=Digest.of(b"a"), path="a", learner="monolith"), [use])
        store.tombstone(store.stored_ids("x", ["jane@example.org", "12"]), "erased", dataset="x")
        write_tombstones(front, home / "tombstones.json")
        # Whoever asks as the file had it finds what it meant.
        assert len(store.lineage_of_records("x", request.scope["records"]).records) == 3
        assert [r.id for r in store.lineage_of_source(poison.scope["source"]).records] == ["12"]
        assert [r.id for r in store.lineage_of_source("mails of JANE ROE").records] == ["12"]
        dataset = store.dataset("x")
        rows = load_rows(store, settings.data, dataset, exclude=["+34600123456"], tombstoned=True)
        assert len(rows) == 4
    assert list(_told(home)) == []
    assert [json.loads(line)["line"] for line in aside.read_text().splitlines()] == [6, 7, 8, 9]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_of_the_ledger_come_back_as_they_are(
    store: Store, data: Path, tmp_path: Path, write: Any, suffix: str
) -> None:
    rows = [
        {k: str(row.get(k) or "web") for k in ("id", "text", "subject", "source")} for row in ROWS
    ]
    first = import_file(store, data, write(tmp_path / f"rows{suffix}", rows), name="x")
    again = import_rows(store, data, load_rows(store, data, first.dataset), name="y")
    assert again.dataset.root != first.dataset.root  # Keys of rows are drawn anew.
    assert [r.id for r in store.records("y")] == [r.id for r in store.records("x")]
    assert [r.source for r in store.records("y")] == [r.source for r in store.records("x")]
    assert again.pseudonymous_ids == 0


def test_after_a_rotation_ids_and_sources_are_found_as_before(
    store: Store, data: Path, tmp_path: Path
) -> None:
    import_rows(store, data, ROWS, name="x")
    before = store.stored_ids("x", ["jane@example.org", "w-1"])
    store.rotate(store.key.next(), store.signer(tmp_path / "signing.key"))
    assert store.stored_ids("x", ["jane@example.org", "w-1"]) == before
    assert len(store.lineage_of_source("mails of jane roe").records) == 1
    import_rows(store, data, ROWS, name="x")
    assert store.stored_ids("x", ["jane@example.org", "w-1"]) == before


def test_an_unknown_id_is_refused_and_enters_nothing(store: Store, data: Path) -> None:
    import_rows(store, data, ROWS, name="x")
    front, before = StoreContext(store, _settings(data / "home")[1]), store.events()
    for asked in ({"records": ["jon@example.org"], "dataset": "x"}, {"source": "mails of Jon Roe"}):
        kind = RequestKind.OUTDATED if "records" in asked else RequestKind.POISON
        with pytest.raises(InputError):
            receive(front, kind=kind, **asked)  # type: ignore[arg-type]
    assert store.events() == before


@pytest.mark.parametrize("identifier", ["ana@example.org", "+34 600 123 456", "jane-roe-3", "7"])
def test_what_is_read_for_a_command_and_not_stored_is_as_it_was_given(identifier: str) -> None:
    row = {"id": identifier, "text": "x", "subject": "Jane Roe", "source": "mails of Jane Roe"}
    read = ClearParser("x.jsonl").content(1, row)
    assert (read["id"], read["source"]) == (identifier, "mails of Jane Roe")
