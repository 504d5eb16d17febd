"""What holds the data of a request: looked for in the ledger, in the workspace, and elsewhere.

Weights, checkpoints and caches are known by their shape and place; any other file by the words of
the records that stand in it; rows under another name, or none, by being nearly the same. What is
compressed or encrypted, but for the rows' own files, cannot be looked into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from olvido.errors import InputError
from olvido.files import UNFINISHED
from olvido.ledger.copies import LEAST
from olvido.ledger.facts import Request, RequestKind
from olvido.ledger.inverted import index_path, near_copies
from olvido.ledger.lineage import Holding, Lineage
from olvido.ledger.rows import stored_rows
from olvido.requests.desk import Office
from olvido.requests.scope import condemned, lineage_of

OUTSIDE = {
    "backups": "copies of this workspace, or of the files it was made from, kept elsewhere",
    "recipients": "others to whom the data, or a model that learned them, were given",
}
"""What only the team can know of: asked for every request."""

NAMED = 5
"""Near copies that are named; the others are counted."""

_SCORES = re.compile(r"sha256-[0-9a-f]{64}")
_CHECKPOINT = re.compile(r"step-\d{9}-[0-9a-f]{64}\.pt")
_ACTIVATIONS = "activations.safetensors"
_TRAINED = ("card.json", "weights.safetensors")


@dataclass(frozen=True, slots=True)
class Artefact:
    """One thing that holds the data.

    Attributes:
        item: its name: a class and a place, as `model:0123456789ab`.
        says: what it is, in a line.
        path: where it lies; None where that is not known here.
    """

    item: str
    says: str
    path: Path | None = None

    @property
    def by_words(self) -> bool:
        """Whether it was found by what the rows say, and without them is not found again."""
        return self.kind in ("near", "copy", "file")

    @property
    def kind(self) -> str:
        """Its class: what stands before the colon."""
        return self.item.partition(":")[0]


def inventory(
    office: Office, request: Request, *, search: Sequence[Path] = ()
) -> tuple[Artefact, ...]:
    """Everything that holds what a request is about, by name.

    Args:
        office: the workspace.
        request: answered already, so that the model that serves no longer holds it.
        search: folders outside the workspace to look into as well.

    Raises:
        InputError: a folder to look into is none.
    """
    for folder in search:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder to look into")
    return tuple(sorted(_Search(office, request, search).found(), key=lambda a: a.item))


@dataclass
class _Search:
    office: Office
    request: Request
    elsewhere: Sequence[Path]

    @cached_property
    def lineage(self) -> Lineage | None:
        if self.request.kind is RequestKind.DESTROY:
            return None
        return lineage_of(self.office.store, self.request)

    @property
    def models(self) -> Path:
        return self.office.settings.models

    def found(self) -> Iterator[Artefact]:
        yield from self._rows()
        yield from self._near()
        yield from self._models()
        yield from self._exports()
        yield from self._files()
        yield Artefact("log", "the ledger and its log: ids of records, and a keyed digest")
        for item, says in OUTSIDE.items():
            yield Artefact(item, says)

    def _rows(self) -> Iterator[Artefact]:
        for dataset, held in self.rows.items():
            if held:
                fact = self.office.store.dataset(dataset)
                says = f"{len(held)} rows of dataset {fact.name} version {fact.version}"
                yield Artefact(f"rows:{dataset}", says, self.office.settings.data / fact.file)

    @cached_property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the records, so far as their files still have them, by dataset."""
        data, store = self.office.settings.data, self.office.store
        return {
            dataset: list(stored_rows(data / store.dataset(dataset).file, ids))
            for dataset, ids in self.ids().items()
        }

    def _near(self) -> Iterator[Artefact]:
        """Rows that say nearly the same, about somebody else or nobody."""
        data, store = self.office.settings.data, self.office.store
        held = {dataset: {row["id"] for row in rows} for dataset, rows in self.rows.items() if rows}
        for dataset, copies in near_copies(store, data, held).items():
            fact = store.dataset(dataset)
            named = ", ".join(f"{copy.id} ({copy.alike:.0%} alike)" for copy in copies[:NAMED])
            more = f" and {len(copies) - NAMED} more" if len(copies) > NAMED else ""
            says = f"near copies of its rows, not known to be about it: {named}{more}"
            yield Artefact(f"near:{dataset}", f"dataset {fact.name}: {says}", data / fact.file)

    def ids(self) -> dict[str, set[str]]:
        """The ids of the records that a request is about, by dataset."""
        ids: dict[str, set[str]] = {}
        for record in self.lineage.records if self.lineage else ():
            ids.setdefault(record.dataset, set()).add(record.id)
        return ids

    def _models(self) -> Iterator[Artefact]:
        if self.lineage is None:
            for model in condemned(self.office.store, self.request):
                yield Artefact(f"model:{model.id}", "is to be destroyed", self.models / model.path)
            return
        ids = {i for some in self.ids().values() for i in some}
        for state in self.lineage.models:
            model, folder = state.model, self.models / state.model.path
            if model.tombstone is not None and not folder.exists():
                continue
            if state.holding is Holding.HOLDS:
                says = "a model that learned it, with checkpoints, optimizer states, adapters"
                yield Artefact(f"model:{model.id}", says, folder)
                continue
            if state.holding is Holding.FORGOTTEN and any(_checkpoints(folder)):
                says = "checkpoints of the training from before, with optimizer states"
                yield Artefact(f"checkpoints:{model.id}", says, folder)
            if any(cached_ids(path) & ids for path in folder.rglob(_ACTIVATIONS)):
                says = "activations of the records"
                yield Artefact(f"activations:{model.id}", says, folder)

    def _exports(self) -> Iterator[Artefact]:
        """Copies that were written out of a model that holds it."""
        if self.lineage is None:
            holding = _destroyed(self.office, self.request)
        else:
            holding = {model.id for model in self.lineage.holding()}
        for entry in self.office.store.events("model-exported"):
            if entry.detail["model"] in holding:
                path = Path(entry.detail["path"])
                if path.exists():
                    yield Artefact(f"export:{path}", "a copy of a model that learned it", path)

    def _files(self) -> Iterator[Artefact]:
        workspace = self.office.settings.workspace.resolve()
        known = {self.models / m.path for m in self.office.store.models() if m.tombstone is None}
        skipped = {*known, *(p for p in self._own() if p.exists())}
        for root in dict.fromkeys([workspace, *(folder.resolve() for folder in self.elsewhere)]):
            yield from self._walk(root, root, skipped)

    def _own(self) -> Iterator[Path]:
        """What the workspace is made of: listed by what it is, or holding digests alone."""
        settings, store = self.office.settings, self.office.store
        yield settings.key
        yield settings.workspace / "olvido.toml"
        ledger = Path(settings.ledger)
        yield from (ledger, Path(f"{ledger}-wal"), Path(f"{ledger}-shm"))
        for dataset in store.datasets():
            yield settings.data / dataset.file
            yield index_path(settings.data, dataset.file)

    def _walk(self, folder: Path, root: Path, skipped: set[Path]) -> Iterator[Artefact]:
        for path in sorted(folder.iterdir()):
            if path in skipped or path.is_symlink():
                continue
            name = str(path.relative_to(root) if root == self._home else path)
            kind = self._kind(path)
            if kind is not None:
                yield Artefact(f"{kind[0]}:{name}", kind[1], path)
            elif path.is_dir():
                yield from self._walk(path, root, skipped)
            elif self._tells(path):
                yield Artefact(f"file:{name}", "a file with words of the records", path)

    @cached_property
    def _home(self) -> Path:
        return self.office.settings.workspace.resolve()

    def _kind(self, path: Path) -> tuple[str, str] | None:
        """What a file or folder is by its shape, where it can hold the data in another form."""
        if path.name.startswith(UNFINISHED):
            return "unfinished", "what was being written when it was broken off"
        if path.is_dir():
            if path.name.startswith(".run-") and path.parent == self.models:
                return "run", "checkpoints of a training that was broken off"
            if _SCORES.fullmatch(path.name):
                return "scores", "what a model said of each text"
            if all((path / name).is_file() for name in _TRAINED):
                return "training", "a reference or shadow model"
            if path.parent == self.models and (path / "config.json").is_file():
                return "orphan", "a model that the ledger does not know"
            return None
        if _CHECKPOINT.fullmatch(path.name):
            return "checkpoint", "a checkpoint with its optimizer state"
        if path.name == _ACTIVATIONS:
            return "cache", "activations of records"
        if path.suffix == ".parquet" and self._has_rows(path):
            return "copy", "a copy of the rows"
        return None

    def _has_rows(self, path: Path) -> bool:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                return any(
                    needle in str(value)
                    for batch in file.iter_batches()
                    for row in batch.to_pylist()
                    for value in row.values()
                    for needles in self.needles
                    for needle in needles
                )
        except (pa.ArrowException, OSError):
            return False

    @cached_property
    def needles(self) -> tuple[tuple[str, ...], ...]:
        """Of each record the texts that tell it: all of them have to stand in a file."""
        found: set[tuple[str, ...]] = set()
        for rows in self.rows.values():
            for row in rows:
                found |= set(_telling(row))
        return tuple(sorted(found))

    def _tells(self, path: Path) -> bool:
        try:
            content = path.read_bytes()
        except OSError:
            return False
        return any(
            all(any(form in content for form in _forms(text)) for text in texts)
            for texts in self.needles
        )


def _destroyed(office: Office, request: Request) -> set[str]:
    """The model that was to be destroyed and all its descendants, gone or not."""
    gone = {request.scope["model"]}
    for model in office.store.models():
        if gone & set(model.parents):
            gone.add(model.id)
    return gone


def _checkpoints(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.pt") if _CHECKPOINT.fullmatch(path.name))


def cached_ids(path: Path) -> set[str]:
    """The ids of the records whose activations a file keeps; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return set(json.loads(file.metadata()["ids"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return set()


def _telling(row: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    text, prompt, completion = row.get("text"), row.get("prompt"), row.get("completion")
    if text is not None and len(text) >= LEAST:
        yield (text,)
    if completion is not None and len(completion) >= LEAST:
        yield (completion,)
    if prompt is not None and completion is not None:
        yield (prompt, completion)


def _forms(text: str) -> tuple[bytes, ...]:
    """A text as it stands in plain files and in JSON."""
    quoted = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
    return tuple(dict.fromkeys(form.encode() for form in (text, *quoted)))
