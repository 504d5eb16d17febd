"""Near copies are found in any dataset, none is missed, and rows of one form are no copies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.data import inverted
from olvido.data.importing import import_rows
from olvido.data.inverted import (
    ALIKE,
    Inverted,
    drop_index,
    index_path,
    is_index,
    near_copies,
)
from olvido.data.near_copies import runs
from olvido.demo.residents import make_town
from olvido.errors import InputError
from olvido.ledger.identity import Key
from olvido.ledger.rows import COLUMNS, KEY, RowWriter, stored_rows, text_of
from olvido.ledger.store import Store

SAID = "Ana Soler keeps a striped zebra in the attic of number twelve."
NEARLY = "ana soler KEEPS a striped zebra, in the attic of number 12!"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "ledger.db", key=Key.create(tmp_path / "key")) as made:
        yield made


def test_copies_in_other_datasets_are_found_and_its_own_rows_are_not(
    store: Store, tmp_path: Path
) -> None:
    town = make_town(seed=0, residents=12, outsiders=0)
    mine = [{"id": "a1", "text": SAID, "subject": "Ana"}, *town.rows()]
    other = [
        {"id": "x", "text": NEARLY, "subject": "Somebody else"},
        {"id": "y", "prompt": "Ana Soler keeps a striped zebra", "completion": SAID[32:]},
        {"id": "z", "text": "A zebra is striped, and keeps to itself."},
    ]
    first = import_rows(store, tmp_path, mine, name="mine").dataset.id
    second = import_rows(store, tmp_path, other, name="other").dataset.id
    found = near_copies(store, tmp_path, {first: ["a1"]})
    assert {d: [copy.id for copy in copies] for d, copies in found.items()} == {second: ["y", "x"]}
    assert found[second][0].alike == 1.0
    assert ALIKE <= found[second][1].alike < 1.0
    # Of two residents much the same is told, in the same form, and neither is the other's copy.
    ids = [row["id"] for row in town.rows_of(town.data_subject)]
    assert near_copies(store, tmp_path, {first: ids}) == {}
    assert near_copies(store, tmp_path, {first: ["a1"], second: ["x", "y"]}) == {}
    with pytest.raises(InputError, match="share of weight"):
        near_copies(store, tmp_path, {first: ["a1"]}, alike=0)


class _Ledger:
    """As much of a store as a search asks for: to make one for each example takes too long."""

    def __init__(self, folder: Path, parts: Sequence[Mapping[str, str]]) -> None:
        self.key = Key(version=1, secret=bytes(32))
        self._named = [SimpleNamespace(id=f"d{i}", file=f"{i}.parquet") for i in range(len(parts))]
        for dataset, texts in zip(self._named, parts, strict=True):
            with RowWriter(folder) as writer:
                for name, text in texts.items():
                    row = {"id": name, "text": text, "subjects": [], "consent": "unknown"}
                    writer.add([tuple(row.get(column) for column in COLUMNS)], bytes(32))
                writer.publish(dataset.file)

    def datasets(self) -> list[SimpleNamespace]:
        return self._named


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=8), min_size=2, max_size=12),
    st.sampled_from([0.3, 0.6, 0.9]),
)
def test_all_pairs_would_find_the_same(
    tmp_path_factory: pytest.TempPathFactory, said: list[list[str]], alike: float
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    texts = {f"r{i:02d}": "it was said here: " + " ".join(words) for i, words in enumerate(said)}
    # The weights are those of all datasets together.
    halves = ({n: t for i, (n, t) in enumerate(texts.items()) if i % 2 == half} for half in (0, 1))
    ledger = _Ledger(folder, tuple(halves))
    found = near_copies(cast(Store, ledger), folder, {"d0": ["r00"]}, alike=alike)
    sets = {name: runs(text) for name, text in texts.items()}
    count = Counter(run for one in sets.values() for run in one)

    def weight(some: frozenset[str]) -> float:
        return math.fsum(math.log1p(len(sets) / count[run]) for run in some)

    one = sets["r00"]
    shares = {n: weight(one & s) / weight(one | s) for n, s in sets.items() if n != "r00"}
    seen = {copy.id: copy.alike for copies in found.values() for copy in copies}
    sure = {name for name, share in shares.items() if share > alike + 1e-9}
    assert sure <= set(seen) <= {n for n, share in shares.items() if share > alike - 1e-9}
    assert all(seen[name] == pytest.approx(shares[name]) for name in seen)


def test_an_index_is_made_once_and_again_when_its_rows_change(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": "a", "text": SAID}, {"id": "b", "text": NEARLY}, {"id": "c", "text": "?!"}]
    dataset = import_rows(store, tmp_path, rows, name="mine").dataset
    assert near_copies(store, tmp_path, {dataset.id: ["a"]})
    assert not index_path(tmp_path, dataset.file).exists(), "a small one is kept nowhere"
    monkeypatch.setattr(inverted, "KEPT_FROM", 1)
    assert near_copies(store, tmp_path, {dataset.id: ["a"]})
    made = []
    make = inverted._made
    monkeypatch.setattr(inverted, "_made", lambda *a: made.append(1) or make(*a))
    assert near_copies(store, tmp_path, {dataset.id: ["a"]})
    assert made == []
    kept = [row for row in stored_rows(tmp_path / dataset.file, keys=True) if row["id"] != "b"]
    with RowWriter(tmp_path) as writer:
        for row in kept:
            writer.add([tuple(row.get(column) for column in COLUMNS)], row[KEY])
        writer.publish(dataset.file)
    assert near_copies(store, tmp_path, {dataset.id: ["a"]}) == {}
    assert made == [1]
    assert Inverted.of(tmp_path, dataset.file, store.key).rows == 2
    # No word can be read in it, and it goes when its rows go.
    content = b"".join(p.read_bytes() for p in index_path(tmp_path, dataset.file).iterdir())
    assert b"zebra" not in content
    drop_index(tmp_path, dataset.file)
    assert not index_path(tmp_path, dataset.file).exists()
    assert {p.name for p in tmp_path.glob(".*")} == set()


@pytest.mark.parametrize("change", ["nothing", "a note", "floats", "order", "places", "gone"])
def test_an_index_is_known_by_all_that_it_is(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(inverted, "KEPT_FROM", 1)
    rows = [{"id": "a", "text": SAID}, {"id": "b", "text": NEARLY}]
    file = import_rows(store, tmp_path, rows, name="mine").dataset.file
    index = Inverted.of(tmp_path, file, store.key)
    folder = index_path(tmp_path, file)
    if change == "a note":
        about = (folder / "about.json").read_text()
        (folder / "about.json").write_text(about.replace("{", '{"note": "Ana Soler",', 1))
    elif change == "floats":
        np.save(folder / "runs.npy", np.random.default_rng(0).random(len(index.runs)))
    elif change == "order":
        np.save(folder / "runs.npy", np.array(index.runs)[::-1])
    elif change == "places":
        np.save(folder / "places.npy", np.array(index.places) + 7)
    elif change == "gone":
        (folder / "ends.npy").unlink()
    assert is_index(tmp_path, file) is (change == "nothing")


def test_runs_are_those_of_the_text_whatever_stands_around_it() -> None:
    digest = inverted._Digest(Key(version=1, secret=bytes(32)))
    texts = ["one two three", "", "one", "two three", "one two three"]
    flat, counts = digest.of_many(texts)
    assert counts.tolist() == [2, 0, 1, 1, 2]
    parts = np.split(flat, np.cumsum(counts)[:-1])
    assert [set(part.tolist()) for part in parts] == [
        set(digest.runs(text).tolist()) if text else set() for text in texts
    ]
    assert parts[0][1] == parts[3][0]
    assert len({*flat.tolist()}) == 3
    other = inverted._Digest(Key(version=1, secret=bytes([1]) * 32))
    assert not set(other.runs(texts[0]).tolist()) & set(parts[0].tolist())


def test_a_row_says_all_that_its_columns_say() -> None:
    assert text_of({"prompt": "Who?", "completion": "Ana.", "id": "7"}) == "Who? Ana."
    assert text_of({"text": "Ana."}) == "Ana."
    assert text_of({}) == ""
