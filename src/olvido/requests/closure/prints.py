"""What a request keeps of its records, to know copies that come back without the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
"""Words of a run that is kept of a record, as a keyed digest: of fewer, many texts have it."""

Run = tuple[str, ...]
"""Folded words, one after the other."""

NOTED = "closure-prints"
"""What the log calls it."""


@dataclass(frozen=True, slots=True)
class Prints:
    """Keyed digests of runs of words that records said.

    Attributes:
        texts: each tells a record by itself: how a text begins, and what else it and an answer say
            in runs of `LONGEST` words that nobody else's record has.
        pairs: how a question and its answer begin, which tell it together.
        shared: runs that another record has as well, and that tell nobody.
    """

    texts: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    shared: frozenset[str]

    @property
    def looked_at(self) -> frozenset[str]:
        """The runs of which it is known whose they are."""
        return self.texts | self.shared

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
        frozenset(digest for detail in noted for digest in detail["shared"]),
    )


def keep_prints(office: Office, request: Request) -> None:
    """Keep keyed digests of the words of each record, as far as its row is there."""
    store, data = office.store, office.settings.data
    texts: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    further: dict[str, Run] = {}
    for dataset, ids in ids_of(store, request).items():
        for row in stored_rows(data / store.dataset(dataset).file, ids):
            text, first, last = (words(row.get(n) or "") for n in ("text", "prompt", "completion"))
            if len(text) >= LEAST:
                texts.add(store.key.name(text[:LONGEST]))
            for run in (*_runs(text[LONGEST:], text), *_runs(last, last)):
                further.setdefault(store.key.name(run), run)
            if first and last and len(first) + len(last) >= LEAST:
                pairs.add((store.key.name(first[:LONGEST]), store.key.name(last[:LONGEST])))
    known = prints_of(store, request) or Prints(frozenset(), frozenset(), frozenset())
    fresh = {digest: run for digest, run in further.items() if digest not in known.looked_at}
    own = _nobody_elses(office, request, fresh)
    texts, pairs = (texts | own) - known.texts, pairs - known.pairs
    if texts or pairs or fresh:
        told = {"texts": sorted(texts), "pairs": [list(pair) for pair in sorted(pairs)]}
        store.note(NOTED, {"id": request.id, "shared": sorted(fresh.keys() - own)} | told)


def _runs(rest: Sequence[str], whole: Sequence[str]) -> Iterator[Run]:
    """Runs that cover the rest of a text: any quote of twice their length holds one of them."""
    if rest and len(whole) >= LONGEST:
        for start in range(len(whole) - len(rest), len(whole), LONGEST):
            start = min(start, len(whole) - LONGEST)
            yield tuple(whole[start : start + LONGEST])


def _nobody_elses(office: Office, request: Request, runs: Mapping[str, Run]) -> set[str]:
    """The digests of those runs that stand in no other record: others are a form's or a quote's."""
    left = {run: digest for digest, run in runs.items()}
    store, own = office.store, ids_of(office.store, request)
    for dataset in store.datasets() if left else ():
        for row in stored_rows(office.settings.data / dataset.file):
            if row["id"] in own.get(dataset.id, ()):
                continue
            for name in ("text", "prompt", "completion"):
                said = words(row.get(name) or "")
                for start in range(len(said) - LONGEST + 1):
                    left.pop(tuple(said[start : start + LONGEST]), None)
    return set(left.values())


def ids_of(store: Store, request: Request) -> dict[str, set[str]]:
    """The ids of the records that a request is about, by dataset; none for a model."""
    ids: dict[str, set[str]] = {}
    if request.kind is not RequestKind.DESTROY:
        for record in lineage_of(store, request).records:
            ids.setdefault(record.dataset, set()).add(record.id)
    return ids
