"""What a request keeps of its records, to know copies that come back without the rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from olvido.folding import words
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.rows import stored_rows
from olvido.ledger.store import Store
from olvido.requests.closure.copies import CopySearch, NameKey
from olvido.requests.desk import Office
from olvido.requests.scope import lineage_of

LEAST, LONGEST = 6, 16
"""Words of the run that is kept of a record, as a keyed digest: of fewer, many texts have it."""

NOTED = "closure-prints"
"""What the log calls it."""


@dataclass(frozen=True, slots=True)
class Prints:
    """Keyed digests of what records said: of a text one, of a question and its answer one each."""

    texts: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    def found(self, path: Path, key: NameKey) -> bool:
        """Whether a file says what a record said, as far as can be told without its row."""
        firsts, lasts = ({pair[i] for pair in self.pairs} for i in (0, 1))
        return _stands(path, key, self.texts) or (
            _stands(path, key, firsts) and _stands(path, key, lasts)
        )


def _stands(path: Path, key: NameKey, digests: Collection[str]) -> bool:
    return bool(digests) and CopySearch([], key=key, names=digests).look(path).mentions > 0


def prints_of(store: Store, request: Request) -> Prints | None:
    """What a request keeps of its records' words; None where it keeps nothing."""
    noted = [e.detail for e in store.events(NOTED) if e.detail["id"] == request.id]
    if not noted:
        return None
    return Prints(
        frozenset(digest for detail in noted for digest in detail["texts"]),
        frozenset((first, last) for detail in noted for first, last in detail["pairs"]),
    )


def keep_prints(office: Office, request: Request) -> None:
    """Keep a keyed digest of the words of each record, as far as its row is there."""
    store, data = office.store, office.settings.data
    texts: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    for dataset, ids in ids_of(store, request).items():
        for row in stored_rows(data / store.dataset(dataset).file, ids):
            text, first, last = (words(row.get(n) or "") for n in ("text", "prompt", "completion"))
            if len(text) >= LEAST:
                texts.add(store.key.name(text[:LONGEST]))
            if first and last and len(first) + len(last) >= LEAST:
                pairs.add((store.key.name(first[:LONGEST]), store.key.name(last[:LONGEST])))
    known = prints_of(store, request) or Prints(frozenset(), frozenset())
    texts, pairs = texts - known.texts, pairs - known.pairs
    if texts or pairs:
        told = {"texts": sorted(texts), "pairs": [list(pair) for pair in sorted(pairs)]}
        store.note(NOTED, {"id": request.id} | told)


def ids_of(store: Store, request: Request) -> dict[str, set[str]]:
    """The ids of the records that a request is about, by dataset; none for a model."""
    ids: dict[str, set[str]] = {}
    if request.kind is not RequestKind.DESTROY:
        for record in lineage_of(store, request).records:
            ids.setdefault(record.dataset, set()).add(record.id)
    return ids
