"""What a closure searches for: a request's records, their words, and the models that learned them.

Also the keyed digests of words by which copies are recognised once the rows are erased.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from olvido.artifact_shapes import CHECKPOINT, owned
from olvido.data.arrays.rows import array_in
from olvido.data.conversations import MESSAGES, exchanges_of
from olvido.data.inverted import index_path, near_copies
from olvido.data.near_copies import Copy
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.lineage import Lineage
from olvido.ledger.rows import stored_rows, unpacked
from olvido.ledger.serving import files_entered
from olvido.ledger.store import Store
from olvido.names import words
from olvido.requests.closure.accounted import AccountedFiles, accounted, holding_of
from olvido.requests.closure.places import real
from olvido.requests.closure.search import CopySearch
from olvido.requests.closure.weights import KnownTensors, weights_in, weights_kept
from olvido.requests.copies.contents import content_of
from olvido.requests.copies.runs import NameKey
from olvido.requests.handlers import RequestContext
from olvido.requests.scope import corrections, kept, lineage_of, names_of

LEAST, LONGEST = 6, 16
"""The number of words in a run that is kept as a keyed digest: shorter ones are in many texts."""

Run = tuple[str, ...]
"""Consecutive folded words."""

NOTED = "closure-prints"
"""The kind of the log's entry that keeps the digests."""


@dataclass(frozen=True, slots=True)
class Prints:
    """Keyed digests of runs of words in records.

    Attributes:
        texts: runs that identify a record by themselves: the beginning of a text, and the further
            runs of `LONGEST` words in it or in an answer that nobody else's record has.
        pairs: the beginnings of a question and of its answer, which identify a record together.
        shared: runs that another record has as well, and that identify nobody.
    """

    texts: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    shared: frozenset[str]

    @property
    def looked_at(self) -> frozenset[str]:
        """All runs that were compared with the other records."""
        return self.texts | self.shared

    def searched(self, key: NameKey) -> Callable[[Path], bool]:
        """Return what tells whether a file has the words of a record, as far as digests show it.

        One for many files: the words that it met in one are known in the next.
        """
        firsts, lasts = ({pair[i] for pair in self.pairs} for i in (0, 1))
        text, first, last = (_standing(key, some) for some in (self.texts, firsts, lasts))
        return lambda path: text(path) or (first(path) and last(path))


def _standing(key: NameKey, digests: Collection[str]) -> Callable[[Path], bool]:
    if not digests:
        return lambda _: False
    search = CopySearch([], key=key, names=digests)
    return lambda path: search.look(path).mentions > 0


def prints_of(store: Store, request: Request) -> Prints | None:
    """The digests that a request keeps of its records' words; None where it keeps none."""
    noted = [e.detail for e in store.events(NOTED) if e.detail["id"] == request.id]
    if not noted:
        return None
    return Prints(
        frozenset(digest for detail in noted for digest in detail["texts"]),
        frozenset((first, last) for detail in noted for first, last in detail["pairs"]),
        frozenset(digest for detail in noted for digest in detail["shared"]),
    )


def keep_prints(context: RequestContext, request: Request) -> None:
    """Keep keyed digests of the words of each record whose row exists."""
    store, data = context.store, context.settings.data
    texts: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    further: dict[str, Run] = {}
    for dataset, ids in ids_of(store, request).items():
        for row in stored_rows(data / store.dataset(dataset).file, ids):
            for text, first, last in _words(unpacked(row)):
                if len(text) >= LEAST:
                    texts.add(store.key.name(text[:LONGEST]))
                for run in (*_runs(text[LONGEST:], text), *_runs(last, last)):
                    further.setdefault(store.key.name(run), run)
                if first and last and len(first) + len(last) >= LEAST:
                    pairs.add((store.key.name(first[:LONGEST]), store.key.name(last[:LONGEST])))
    known = prints_of(store, request) or Prints(frozenset(), frozenset(), frozenset())
    fresh = {digest: run for digest, run in further.items() if digest not in known.looked_at}
    own = _nobody_elses(context, request, fresh)
    texts, pairs = (texts | own) - known.texts, pairs - known.pairs
    if texts or pairs or fresh:
        prints = {"texts": sorted(texts), "pairs": [list(pair) for pair in sorted(pairs)]}
        store.note(NOTED, {"id": request.id, "shared": sorted(fresh.keys() - own)} | prints)


def _words(row: Mapping[str, Any]) -> list[tuple[Run, Run, Run]]:
    """The words of a row's text, prompt and completion; of a conversation for every exchange."""
    said = [(row.get("text") or "", row.get("prompt") or "", row.get("completion") or "")]
    if MESSAGES in row:
        said = [("", *exchange) for exchange in exchanges_of(row)]
    return [(tuple(words(a)), tuple(words(b)), tuple(words(c))) for a, b, c in said]


def _runs(rest: Sequence[str], whole: Sequence[str]) -> Iterator[Run]:
    """Runs that cover the rest of a text: any quote of twice their length contains one of them."""
    if rest and len(whole) >= LONGEST:
        for start in range(len(whole) - len(rest), len(whole), LONGEST):
            start = min(start, len(whole) - LONGEST)
            yield tuple(whole[start : start + LONGEST])


def _nobody_elses(context: RequestContext, request: Request, runs: Mapping[str, Run]) -> set[str]:
    """The digests of the runs that no other record contains: others belong to a form or a quote."""
    left = {run: digest for digest, run in runs.items()}
    store, own = context.store, ids_of(context.store, request)
    for dataset in store.datasets() if left else ():
        for row in stored_rows(context.settings.data / dataset.file):
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


@dataclass
class Sought:
    """The data of a request, as the ledger and the files of its datasets know them.

    Attributes:
        context: the workspace.
        request: the request, of any kind.
    """

    context: RequestContext
    request: Request

    @cached_property
    def lineage(self) -> Lineage | None:
        if self.request.kind is RequestKind.DESTROY:
            return None
        return lineage_of(self.context.store, self.request)

    @property
    def corrects(self) -> bool:
        """Whether the request only corrects records: texts may still name the person."""
        return self.request.kind is RequestKind.RECTIFICATION

    @property
    def models(self) -> Path:
        return self.context.settings.models

    @cached_property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the records that their files still have, by dataset."""
        data, store = self.context.settings.data, self.context.store
        return {
            dataset: list(stored_rows(data / store.dataset(dataset).file, ids))
            for dataset, ids in self.ids.items()
        }

    @cached_property
    def arrays(self) -> int:
        """How many of the records are arrays, which other files are not searched for."""
        data, store, count = self.context.settings.data, self.context.store, 0
        for dataset, ids in self.ids.items():
            first = next(stored_rows(data / store.dataset(dataset).file), {})
            count += len(ids) if array_in(first) is not None else 0
        return count

    @cached_property
    def near(self) -> dict[str, tuple[Copy, ...]]:
        """Near copies of these rows in rows of others, by dataset."""
        held = {dataset: {row["id"] for row in rows} for dataset, rows in self.rows.items() if rows}
        found = near_copies(self.context.store, self.context.settings.data, held)
        for dataset in self._right:
            wrong = self.request.scope["records"]
            left = [one for one in found.get(dataset, ()) if one.id not in wrong]
            found = {d: some for d, some in found.items() if d != dataset}
            found |= {dataset: tuple(left)} if left else {}
        return found

    @cached_property
    def _right(self) -> tuple[str, ...]:
        """The versions of a dataset with the corrected rows."""
        store = self.context.store
        made = [step.detail["corrected"]["dataset"] for step in corrections(self.request)]
        return tuple(
            later.id
            for first in map(store.dataset, made)
            for later in store.datasets()
            if later.name == first.name and later.version >= first.version
        )

    @cached_property
    def ids(self) -> dict[str, set[str]]:
        """The ids of the records that a request is about, by dataset."""
        return ids_of(self.context.store, self.request)

    @cached_property
    def holding(self) -> set[str]:
        """The models whose weights hold it; suppressing answers removes nothing from them."""
        return holding_of(self.context.store, self.request, self.lineage)

    @cached_property
    def accounts(self) -> AccountedFiles:
        return AccountedFiles.of(self.context, self.request, self.lineage)

    @cached_property
    def homes(self) -> frozenset[Path]:
        """The folders of models that the ledger knows: they are searched file by file."""
        return frozenset(real(self.models / m.path) for m in self.context.store.models())

    @cached_property
    def going(self) -> frozenset[Path]:
        """Folders that Olvido made and the ledger knows, and whose own files will be removed."""
        data, store = self.context.settings.data, self.context.store
        models = (self.models / m.path for m in store.models() if m.id in self.holding)
        indexes = (index_path(data, store.dataset(d).file) for d, rows in self.rows.items() if rows)
        gone = [*(m for m in models if any(owned(m))), *indexes, *self.copied]
        return frozenset(map(real, gone))

    @cached_property
    def copied(self) -> tuple[Path, ...]:
        """The export folders that may still have weights of a model that holds it."""
        return tuple(
            folder
            for folder in self.exported
            if any(self.weights.whose(path).holds for path in weights_in(folder))
        )

    def clean_copy(self, folder: Path) -> dict[Path, str] | None:
        """The files in a folder whose digests the ledger has, each with its digest, if all weights
        in it are those of models that do not hold it; else None.

        Such files are treated as in the model's own folder, except checkpoints from before a
        forgetting or with the weights of a model that holds it.
        """
        there, store, whose = weights_in(folder), self.context.store, self.weights.whose
        if not there or any(whose(path).holds for path in there):
            return None
        files, found = files_entered(store), dict[Path, str]()
        for model in (m for m in store.models() if m.id not in self.holding):
            for path, digest in accounted(model, folder, files.get(model.id, ())).items():
                kept = CHECKPOINT.fullmatch(path.name) is not None
                if not kept or not (model.id in self.accounts.forgot or whose(path).known):
                    found[path] = digest
        return found

    @cached_property
    def _exports(self) -> tuple[Path, ...]:
        """The folders to which models that hold it were exported, or where a trainer that was
        watched left checkpoints of them."""
        events = self.context.store.events
        exported = (*events("model-exported"), *events("model-checkpoint"))
        paths = (Path(e.detail["path"]) for e in exported if e.detail["model"] in self.holding)
        return tuple(dict.fromkeys(paths))

    @cached_property
    def exported(self) -> tuple[Path, ...]:
        """The export folders that have a model in them."""
        return tuple(path for path in self._exports if any(owned(path)))

    @property
    def exported_away(self) -> tuple[Path, ...]:
        """The export folders on disks that are missing."""
        return tuple(path for path in self._exports if not os.path.isdir(path.parent))

    def printed(self, path: Path) -> bool:
        """Whether a file has the words of records whose rows are erased."""
        return self._printed is not None and self._printed(path)

    @cached_property
    def _printed(self) -> Callable[[Path], bool] | None:
        """Looks for the words of records whose rows are erased; None where no row is."""
        there = sum(map(len, self.rows.values()))
        if there == sum(map(len, self.ids.values())):
            return None
        prints = prints_of(self.context.store, self.request)
        return None if prints is None else prints.searched(self.context.store.key)

    @cached_property
    def _alike(self) -> list[dict[str, Any]]:
        """Rows of others that are near copies."""
        settings, store = self.context.settings, self.context.store
        return [
            unpacked(row)
            for dataset, copies in self.near.items()
            for row in stored_rows(
                settings.data / store.dataset(dataset).file, {copy.id for copy in copies}
            )
        ]

    @cached_property
    def weights(self) -> KnownTensors:
        store = self.context.store
        return KnownTensors(
            store.models(),
            self.holding,
            self.accounts.weights,
            self.models,
            weights_kept(store),
        )

    @cached_property
    def texts(self) -> CopySearch:
        shared = Counter(content_of(row) for row in self._alike)
        return CopySearch(
            [unpacked(row) for rows in self.rows.values() for row in rows],
            key=self.context.store.key,
            names=names_of(self.request),
            whole=kept(self.request, "whole"),
            common=lambda content: shared[content],
        )
