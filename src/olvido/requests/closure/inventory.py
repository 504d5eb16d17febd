"""Find what holds the data of a request, in the ledger, in the workspace, and elsewhere.

Olvido's own files are recognised by their kind (`olvido.artifacts`), tensors by their numbers, any
other file by the records' words in it, and rows under another name, or none, as near copies. What
cannot be examined is an item as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from olvido.artifact_shapes import ACTIVATIONS, header, owned, temporary
from olvido.artifacts import KINDS, Who, parts, recognised
from olvido.data.inverted import index_parts, is_index
from olvido.errors import InputError
from olvido.files import is_plain
from olvido.ledger.facts import Request
from olvido.ledger.lineage import Holding
from olvido.ledger.rows import holds_rows_alone
from olvido.requests.closure.places import (
    Artefact,
    LinkedNames,
    called,
    is_live,
    lies,
    lies_within,
    looked_into,
    not_there,
    place_of,
    real,
    seen_at,
    spelt,
)
from olvido.requests.closure.search import FileFindings
from olvido.requests.closure.sought import Sought
from olvido.requests.closure.tensors import begins_as_tensors, has_tensors
from olvido.requests.closure.weights import cached_ids, weights_in
from olvido.requests.copies.parts import BROKEN
from olvido.requests.handlers import RequestContext
from olvido.requests.scope import models_to_delete, unsearched, unsearched_note

OUTSIDE = ("backups", "recipients")
"""Kinds that only the team can know of: asked about for every request."""

UNSEARCHED, ARRAYS = "names", "arrays"
"""The kinds of the items for names that texts cannot be searched for, and for arrays."""

_AWAY = (
    "a folder that is missing: bring back its disk, make an empty folder where there never was "
    "one, or say what became of it"
)
_REPLACED = "a model where one that learned it was exported once, with weights of another or unread"
_CALLED = "the name is a part of what it is called"
_Place = tuple[Path, frozenset[Path], bool]
NAMED = 5
"""The number of near copies that are named; the others are counted."""


def inventory(
    context: RequestContext, request: Request, *, search: Sequence[Path] = ()
) -> tuple[Artefact, ...]:
    """Return everything that holds the data of a request, in the order of the items' names.

    Args:
        context: the workspace.
        request: a request that was answered, so that the serving model no longer holds the data.
        search: further folders outside the workspace to search.

    Raises:
        InputError: a path to search is no folder.
    """
    for folder in search:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder to look into")
    return tuple(sorted(_Search(context, request, search).found(), key=lambda a: a.item))


@dataclass
class _Search:
    context: RequestContext
    request: Request
    elsewhere: Sequence[Path]

    @cached_property
    def sought(self) -> Sought:
        return Sought(self.context, self.request)

    def found(self) -> Iterator[Artefact]:
        there = [
            *(*self._rows(), *self._near(), *self._models(), *self._checkpoints()),
            *(*self._exports(), *self._files()),
        ]
        there += self._stayed({artefact.item for artefact in there})
        yield from there
        names = LinkedNames(self.roots)
        for artefact in there:
            if artefact.path is not None and names.elsewhere(parts(artefact.path, artefact.kind)):
                yield Artefact(f"hardlink:{artefact.item}", KINDS["hardlink"].says)
        if not self.sought.corrects and (said := unsearched_note(unsearched(self.request))):
            yield Artefact(UNSEARCHED, said)
        if count := self.sought.arrays:
            yield Artefact(ARRAYS, f"{count} records are arrays: {KINDS[ARRAYS].says}")
        yield Artefact("log", "the ledger and its log: ids of records, and a keyed digest")
        for item in OUTSIDE:
            yield Artefact(item, KINDS[item].says)

    def _rows(self) -> Iterator[Artefact]:
        for dataset, held in self.sought.rows.items():
            if held:
                fact = self.context.store.dataset(dataset)
                says = f"{len(held)} rows of dataset {fact.name} version {fact.version}"
                yield Artefact(f"rows:{dataset}", says, self.context.settings.data / fact.file)

    def _near(self) -> Iterator[Artefact]:
        """Near copies of the rows, about somebody else or nobody."""
        data, store = self.context.settings.data, self.context.store
        for dataset, copies in self.sought.near.items():
            fact = store.dataset(dataset)
            named = ", ".join(f"{copy.id} ({copy.alike:.0%} alike)" for copy in copies[:NAMED])
            more = f" and {len(copies) - NAMED} more" if len(copies) > NAMED else ""
            says = f"near copies of its rows, not known to be about it: {named}{more}"
            yield Artefact(f"near:{dataset}", f"dataset {fact.name}: {says}", data / fact.file)

    def _models(self) -> Iterator[Artefact]:
        if self.sought.lineage is None:
            for model in models_to_delete(self.context.store, self.request):
                yield self._at(
                    "model", model.id, "is to be destroyed", self.sought.models / model.path
                )
            return
        ids = {i for some in self.sought.ids.values() for i in some}
        for state in self.sought.lineage.models:
            model, folder = state.model, self.sought.models / state.model.path
            own = list(owned(folder))
            if model.tombstone is not None and not own:
                continue
            if state.holding is Holding.HOLDS:
                yield self._at("model", model.id, KINDS["model"].says, folder)
                continue
            kept = [path for path in own if recognised(path) is KINDS["checkpoint"]]
            if state.holding is Holding.FORGOTTEN and kept:
                yield self._at("checkpoints", model.id, KINDS["checkpoints"].says, folder)
            if any(cached_ids(path) & ids for path in own if path.name == ACTIVATIONS):
                yield self._at("activations", model.id, KINDS["activations"].says, folder)

    def _checkpoints(self) -> Iterator[Artefact]:
        """Checkpoints of a model that holds the data, in the folder of a model that does not."""
        for path in self.sought.accounts.checkpoints:
            if self.sought.weights.whose(path).known:
                yield self._item("checkpoint", path, KINDS["checkpoint"].says)

    def _at(self, kind: str, identifier: str, says: str, folder: Path) -> Artefact:
        """An artefact that the ledger knows: the ledger's own if the settings name its folder."""
        inside = real(self.sought.models) in real(folder).parents
        return self._seen(Artefact(f"{kind}:{identifier}", says, folder, inside))

    def _seen(self, found: Artefact) -> Artefact:
        """Add a digest of the content to an artefact that is erased only by its name."""
        by_name = found.who is Who.NAMED and found.kind is not KINDS["unread"]
        if found.path is None or not (by_name or found.kind is KINDS["file"]):
            return found
        try:
            return replace(found, seen=seen_at(self.context, found.path))
        except OSError:
            # An unreadable artefact gets no digest, and so cannot be erased by its name.
            return found

    def _exports(self) -> Iterator[Artefact]:
        """Exported copies of a model that holds the data."""
        for path in self.sought.copied:
            inside, known = (
                lies_within(self._home, real(path)),
                self.sought.weights.copied(weights_in(path)),
            )
            says = KINDS["export"].says if known else _REPLACED
            item = f"export:{spelt(path)}"
            yield self._seen(Artefact(item, says, path, inside, known=known))
        for path in self.sought.exported:
            home = real(path)
            if not any(root == home or root in home.parents for root in self.roots):
                going = path in self.sought.copied
                own = frozenset(owned(path)) if going else frozenset[Path]()
                yield from self._walk(path, own, going=going)

    def _files(self) -> Iterator[Artefact]:
        for folder in not_there(self.context, self.request):
            yield replace(self._item("unread", folder, _AWAY), path=None, seen=None)
        for path in self.sought.exported_away:
            if any(root in path.parents for root in self.roots):
                continue
            yield Artefact(f"export:{spelt(path)}", f"{KINDS['export'].says}: {_AWAY}")
        for root in self.roots:
            yield from self._walk(root)

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        return looked_into(self.context, self.elsewhere)

    @cached_property
    def _home(self) -> Path:
        return real(self.context.settings.workspace)

    @cached_property
    def _known(self) -> frozenset[Path]:
        """The workspace's own files: listed by their kind, or with digests alone."""
        settings, store = self.context.settings, self.context.store
        ledger = Path(settings.ledger)
        own = [settings.key]
        own += [ledger, Path(f"{ledger}-wal"), Path(f"{ledger}-shm")]
        for dataset in store.datasets():
            if holds_rows_alone(settings.data / dataset.file):
                own.append(settings.data / dataset.file)
            if is_index(settings.data, dataset.file):
                own += index_parts(settings.data, dataset.file)
        own += self.sought.accounts.own
        for folder in self.sought.copied:
            own += owned(folder)
        return frozenset(map(real, own))

    def _walk(
        self, folder: Path, own: frozenset[Path] = frozenset(), *, going: bool = False
    ) -> Iterator[Artefact]:
        """The artefacts in a folder and below; an error at a path makes that path an item.

        Args:
            folder: a folder below a root.
            own: files in it that belong to an item listed already.
            going: whether the folder itself will be removed, so that every other file in it is
                reported as an item.
        """
        todo: list[_Place] = [(folder, own, going)]
        while todo:
            here = todo.pop()
            try:
                with os.scandir(here[0]) as listed:
                    inner = [Path(entry.path) for entry in listed]
            except OSError as error:
                says = f"a folder that cannot be opened ({_why(error)})"
                yield self._item("unread", here[0], says)
                continue
            if not inner:
                yield from self._named(here[0])
            for path in inner:
                try:
                    yield from self._met(path, here, todo)
                except BROKEN as error:
                    yield self._item("unread", path, f"it cannot be opened ({_why(error)})")

    def _met(self, path: Path, here: _Place, todo: list[_Place]) -> Iterator[Artefact]:
        """The artefacts at one path in a folder; a folder to search is added to `todo`."""
        _, own, going = here
        mode = os.lstat(path).st_mode
        plain, folder = stat.S_ISREG(mode), stat.S_ISDIR(mode)
        if stat.S_ISLNK(mode):
            yield from self._link(path)
        elif not (plain or folder):
            yield self._item("unread", path, "neither file nor folder: it is not opened")
        elif path in self._entered:
            yield from self._as_entered(path)
        elif path in self._known or path in own:
            return
        elif temporary(path) and is_live(path):
            yield self._written_now("unfinished", path)
        elif path not in self.sought.homes and (kind := recognised(path)) is not None:
            if is_live(path):
                yield self._written_now(kind.name, path)
                return
            if plain and self._is_clean(path):
                return
            learned = False
            if kind is KINDS["orphan"]:
                if (clean := self.sought.clean_copy(path)) is not None:
                    self._entered.update(clean)
                    todo.append((path, own, False))
                    return
                learned = self.sought.weights.copied(weights_in(path))
            yield self._item(kind.name, path, kind.says, known=learned)
            if folder:
                todo.append((path, frozenset(parts(path, kind)), True))
        elif folder:
            todo.append((path, own, going or path in self.sought.going))
        else:
            found = list(self._file(path))
            if going and not found:
                found = [self._item("foreign", path, KINDS["foreign"].says)]
            yield from found

    def _is_clean(self, path: Path) -> bool:
        """Whether a file in a model's folder, of which the ledger has no digest, holds nothing."""
        return not self.sought.homes.isdisjoint(path.parents) and not any(self._file(path))

    def _as_entered(self, path: Path) -> Iterator[Artefact]:
        """The artefact of a file that is unchanged since its model was entered.

        Only whole records count, for a vocabulary names everybody; tensors have text in the header.
        """
        digest = self._entered[path]
        if self.sought.lineage is None or self._silent.get(digest):
            return
        if has_tensors(path) and header(path) is None:
            return
        look = self._looked(path)
        self._silent[digest] = not look.records
        if look.records:
            yield self._item("file", path, look.evidence, look=look)

    @cached_property
    def _silent(self) -> dict[str, bool]:
        """For each digest of bytes that were searched already: whether they hold no record."""
        return {}

    @cached_property
    def _entered(self) -> dict[Path, str]:
        return {path.resolve(): digest for path, digest in self.sought.accounts.entered.items()}

    def _written_now(self, kind: str, path: Path) -> Artefact:
        """A file that is being written now: an open item until its writer is done."""
        item = self._item(kind, path, "is being written now: look again later")
        return replace(item, path=None, seen=None)

    def _stayed(self, there: Collection[str]) -> Iterator[Artefact]:
        """Files of others whose folder was removed: listed until they have an exit and are gone."""
        for known in self.context.store.closure(self.request.id):
            place = place_of(self.context, known.item)
            if not known.item.startswith("foreign:") or known.item in there or place is None:
                continue
            if lies(place):
                yield self._item("foreign", place, KINDS["foreign"].says)

    def _item(
        self,
        kind: str,
        path: Path,
        says: str,
        *,
        others: bool = True,
        look: FileFindings | None = None,
        known: bool = False,
    ) -> Artefact:
        name = path.relative_to(self._home) if self._home in path.parents else path
        item, inside = f"{kind}:{spelt(name)}", lies_within(self._home, path)
        return self._seen(Artefact(item, says, path, inside, others, look=look, known=known))

    def _link(self, path: Path) -> Iterator[Artefact]:
        """Links are never followed: their target is searched by itself, or the link is an item."""
        target = real(path)
        if not os.path.exists(target) or not any(
            root == target or root in target.parents for root in self.roots
        ):
            says = f"a link to {target}, which was not searched: search it with --search"
            yield self._item("link", path, says, others=False)
        else:
            yield from self._named(path)

    def _named(self, path: Path) -> Iterator[Artefact]:
        """The item of a path without content whose name contains the person's name."""
        if not self.sought.corrects and self.sought.texts.names_her(called(self.roots, path)):
            yield self._item("mention", path, _CALLED, others=is_plain(path))

    def _file(self, path: Path) -> Iterator[Artefact]:
        tensors = self.sought.weights.whose(path) if has_tensors(path) else None
        blind = tensors is not None and not tensors.read and begins_as_tensors(path)
        look = self._looked(path)
        if tensors is not None and tensors.read and tensors.holds:
            yield self._item("weights", path, tensors.says, known=tensors.known, look=look)
        unread = look.unread
        if tensors is not None:
            # A file with only the name of a tensor file was read as what it is.
            riddle = blind or (not tensors.read and unread is not None)
            unread = tensors.says if riddle else None
        says = look.evidence + ("" if unread is None else f"; not examined: {unread}")
        kind = recognised(path, by_content=True)
        # A file that Olvido wrote about the person is removed by Olvido, whole records or not.
        if look.records or (look.mentions and kind is not None and kind.who is Who.ALL):
            name = (kind or KINDS["file"]).name
            others = look.others is not False or path == self._home / "olvido.toml"
            yield self._item(name, path, says, others=others, look=look)
        elif self.sought.printed(path):
            yield self._item("file", path, "it has words of a record whose rows are gone")
        elif unread is not None:
            yield self._item("unread", path, says, look=look)
        elif look.mentions or look.doubtful:
            yield self._item("mention", path, says)
        else:
            yield from self._named(path)

    def _looked(self, path: Path) -> FileFindings:
        """Search a file; a person whose records are only corrected may be named in it."""
        look = self.sought.texts.look(path)
        return replace(look, mentions=0) if self.sought.corrects else look


def _why(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__
