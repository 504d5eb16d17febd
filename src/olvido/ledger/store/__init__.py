"""The store: the only access to the ledger's database, and the only folder with SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from olvido.errors import InputError, Overtaken, StateError
from olvido.extras import extra
from olvido.files import FILE_MODE, make_folder

with extra("service"):
    from sqlalchemy import Connection, Engine, insert, select

from olvido.ledger.digests import Digest
from olvido.ledger.facts import (
    DatasetUse,
    DatasetVersion,
    Documentation,
    Guarantee,
    Model,
    NewRecord,
    Record,
    Request,
    UseBrief,
)
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.lineage import Lineage, model_states
from olvido.ledger.store import datasets, engine, models, requests, schema
from olvido.ledger.store import requests as closure
from olvido.ledger.store.comparing import TableDifference
from olvido.ledger.store.log import Inclusion
from olvido.ledger.store.logged import Answering
from olvido.ledger.store.verifying import LogCheck

__all__ = ["Answers", "Inclusion", "LogCheck", "Store", "TableDifference"]

Answers = Callable[[Request, DatasetVersion], Mapping[str, Any]]
"""Makes the detail of a request's step, for which a dataset was added, from its present state."""


class Store(Answering):
    """The ledger: which data taught every version of every model.

    Every change is one transaction together with its entry in the log. Values come out frozen.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> with Store.create(folder / "ledger.db", key=Key.create(folder / "key")) as store:
    ...     [entry.kind for entry in store.events()]
    ['ledger-created']
    """

    def __init__(self, database: Engine, key: Key) -> None:
        """Use `Store.create` or `Store.open`, which check their arguments."""
        self._engine = database
        self.key = key

    @classmethod
    def create(cls, path_or_url: Path | str, *, key: Key) -> Self:
        """A new empty ledger under this key. Raises StateError where there is one already."""
        url = engine.database_url(path_or_url)
        file = engine.sqlite_file(url)
        if file is not None:
            if file.exists():
                raise StateError(f"{file} exists: open it, or choose another place")
            make_folder(file.parent)
            # SQLite gives its journals the permissions of the database.
            file.touch(FILE_MODE)
        store = cls(engine.connect(url), key)
        engine.migrate(store._engine)
        # Checked before a write, which would fail: an existing ledger has another key.
        with store._engine.connect() as connection:
            held = connection.execute(select(schema.ledger)).first()
        if held is not None:
            store.close()
            raise StateError(
                f"{engine.shown(url)} holds a ledger: open it, or choose another place"
            )
        with store._write() as change:
            change.touch("ledger", [(1,)])
            change.connection.execute(
                insert(schema.ledger).values(
                    pk=1,
                    key_version=key.version,
                    key_fingerprint=str(key.fingerprint),
                    created_at=change.at.isoformat(),
                )
            )
            change.log("ledger-created", {"key": str(key.fingerprint)})
        return store

    @classmethod
    def open(cls, path_or_url: Path | str, *, key: Key) -> Self:
        """Open a ledger, and migrate its schema.

        Of a key with a later version than the ledger, the earlier version is used: its rotation
        was interrupted.

        Raises StateError when there is none, when its schema is newer than this code, or when the
        key is not the one that digested its subjects.
        """
        url = engine.database_url(path_or_url)
        engine.require_file(url)
        store = cls(engine.connect(url), key)
        engine.check_schema(store._engine)
        with engine.transaction(store._engine, writing=False) as connection:
            expected = connection.execute(select(schema.ledger.c.key_fingerprint)).scalar()
        versions = [key.at(version) for version in range(1, key.version + 1)]
        used = next((one for one in versions if str(one.fingerprint) == expected), None)
        if used is None:
            raise StateError(
                f"the key does not belong to this ledger: expected fingerprint {expected}, found "
                f"{key.fingerprint}. Put back the key file that was made with the ledger"
            )
        store.key = used
        return store

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add_dataset(
        self,
        *,
        name: str,
        root: Digest,
        file: str,
        rows: int,
        records: Iterable[NewRecord],
        forms: Mapping[str, Collection[bytes]] | None = None,
        parent: str | None = None,
        documentation: Documentation | None = None,
        barred: frozenset[str] | None = None,
        answers: tuple[str, Answers] | None = None,
    ) -> DatasetVersion:
        """Add the next version of the dataset `name`; `olvido.data.importing` calls this.

        `root` is the Merkle root over the records' digests and `file` holds their `rows` rows;
        `forms` are the forms of subjects' names to keep (`Key.kept`), and `barred` is the
        suppression list that the rows were checked against. `answers` is the request that it is
        made for, with the detail of its step: both are kept or neither is. Raises Overtaken where
        `barred` has grown since.
        """
        with self._write() as change:
            if barred is not None and not closure.suppressed(change.connection) <= barred:
                raise Overtaken(
                    f"while {name} was read, somebody was to be forgotten who may be in it, and "
                    "nothing was added: add it again"
                )
            dataset = datasets.add(
                change,
                name=name,
                root=root,
                file=file,
                rows=rows,
                records=records,
                forms=forms or {},
                parent=parent,
                documentation=documentation or Documentation(),
            )
            detail = {
                "id": dataset.id,
                "name": dataset.name,
                "version": dataset.version,
                "root": str(dataset.root),
                "rows": dataset.rows,
                "parent": dataset.parent,
            }
            change.log("dataset-added", detail)
            if answers is not None:
                identifier, detail_of = answers
                request = requests.find(change.connection, identifier)
                said = detail_of(request, dataset)
                requests.advance(change, request, request.status, said, None)
        return dataset

    def datasets(self) -> tuple[DatasetVersion, ...]:
        """All datasets in all versions, the oldest first."""
        with self._read() as connection:
            return datasets.every(connection)

    def dataset(self, name_or_id: str, version: int | None = None) -> DatasetVersion:
        """A dataset by id, or by name in the given or newest version. Raises UnknownName."""
        with self._read() as connection:
            return datasets.find(connection, name_or_id, version)

    def records(self, dataset: str) -> tuple[Record, ...]:
        """All records of a dataset (by id or name), tombstoned ones included."""
        with self._read() as connection:
            return datasets.records_of_dataset(connection, datasets.find(connection, dataset, None))

    def tombstoned(self, dataset: str) -> tuple[Record, ...]:
        """The records of a dataset (by id or name) that carry a tombstone."""
        with self._read() as connection:
            found = datasets.find(connection, dataset, None)
            return datasets.records_of_dataset(connection, found, tombstoned=True)

    def withdrawn(self, dataset: str) -> frozenset[str]:
        """Ids of a dataset's records (by id or name) whose subject took the consent back."""
        with self._read() as connection:
            found = datasets.find(connection, dataset, None)
            return datasets.withdrawn(connection, found)

    def records_of(self, subject: SubjectId) -> tuple[Record, ...]:
        """All records about a subject, tombstoned ones included; maybe none."""
        with self._read() as connection:
            found = datasets.records_of_subject(connection, self._current(subject))
        return tuple(record for _, record in found)

    def near(self, forms: Collection[bytes]) -> dict[SubjectId, tuple[Record, ...]]:
        """Records of subjects whose names may be another spelling of the same person's.

        Args:
            forms: the forms to search for (`Key.near`).
        """
        with self._read() as connection:
            found = datasets.near_subjects(connection, forms)
            return {
                subject: tuple(r for _, r in datasets.records_of_subject(connection, subject))
                for subject in found
            }

    def lineage(self, *subjects: SubjectId) -> Lineage:
        """The records of subjects, their datasets, and the state of every concerned model."""
        subjects = tuple(map(self._current, subjects))
        with self._read() as connection:
            found = {
                number: record
                for subject in subjects
                for number, record in datasets.records_of_subject(connection, subject)
            }
            return self._lineage(connection, list(found.items()), subjects)

    def lineage_of_source(self, source: str) -> Lineage:
        """The lineage of all records from a source, which may have a pseudonym there."""
        sources = {source, self.key.pseudonym(source)}
        with self._read() as connection:
            return self._lineage(connection, datasets.records_of_sources(connection, sources))

    def stored_ids(self, dataset: str, ids: Iterable[str]) -> tuple[str, ...]:
        """Ids in the form that the records of a dataset have, maybe pseudonyms; sorted.

        An id that no record has, in neither form, is returned unchanged.
        """
        pseudonyms = {given: self.key.pseudonym(given) for given in ids}
        with self._read() as connection:
            found = datasets.find(connection, dataset, None)
            wanted = {*pseudonyms, *pseudonyms.values()}
            known = datasets.known_ids(connection, found, wanted)
        chosen = {
            given if given in known or pseudonym not in known else pseudonym
            for given, pseudonym in pseudonyms.items()
        }
        return tuple(sorted(chosen))

    def lineage_of_records(self, dataset: str, ids: Iterable[str]) -> Lineage:
        """The lineage of these records of a dataset. Raises UnknownName."""
        return self.lineage_of_facts({dataset: ids})

    def lineage_of_facts(
        self, wanted: Mapping[str, Iterable[str]], *subjects: SubjectId
    ) -> Lineage:
        """The lineage of records of several datasets, by dataset, with these people as subjects.

        Raises UnknownName.
        """
        with self._read() as connection:
            numbers: list[int] = []
            for dataset, ids in wanted.items():
                found = datasets.find(connection, dataset, None)
                numbers += datasets.record_pks(connection, found, ids)
            records = datasets.numbered_records(connection, numbers)
            return self._lineage(connection, records, subjects)

    def lineage_of_tombstoned(self) -> Lineage:
        """The lineage of every record that carries a tombstone."""
        with self._read() as connection:
            return self._lineage(connection, datasets.tombstoned_records(connection))

    @staticmethod
    def _lineage(
        connection: Connection,
        found: Sequence[tuple[int, Record]],
        subjects: tuple[SubjectId, ...] = (),
    ) -> Lineage:
        records = tuple(record for _, record in found)
        concerned = {record.dataset for record in records}
        uses = models.uses_by_model(connection, [pk for pk, _ in found])
        states = model_states(records, models.every(connection), uses)
        known = datasets.every(connection)
        return Lineage(subjects, records, tuple(d for d in known if d.id in concerned), states)

    def tombstone(self, record_ids: Iterable[str], reason: str, *, dataset: str) -> int:
        """Mark records of a dataset as no longer to be used; return the number of new marks.

        Their rows stay in the file but are not loaded any more. Raises UnknownName.
        """
        if not reason.strip():
            raise InputError("expected a reason for the tombstone, got an empty one")
        ids = sorted(set(record_ids))
        with self._write() as change:
            found = datasets.find(change.connection, dataset, None)
            fresh = datasets.add_tombstones(change, found, ids, reason)
            if fresh:
                detail = {"dataset": found.id, "records": ids, "reason": reason}
                change.log("records-tombstoned", detail)
        return fresh

    def add_model(self, model: Model, uses: Sequence[DatasetUse] = ()) -> Model:
        """Add a model with what it used. Adding the same model again changes nothing.

        Raises UnknownName for a parent, dataset or record that the ledger does not know, and
        Overtaken for a model that holds tombstoned records by now, for a training that began with
        such a model, and for a model that was removed.
        """
        with self._write() as change:
            fresh = models.add(change, model, uses)
            models.refuse_gone(change.connection, model)
            if fresh:
                tombstoned = datasets.tombstoned_records(change.connection)
                models.refuse_holding(model, self._lineage(change.connection, tombstoned))
                detail = {
                    "id": model.id,
                    "digest": str(model.digest),
                    "parents": list(model.parents),
                    "learner": model.learner,
                    "method": model.method,
                    "uses": [
                        {
                            "dataset": use.dataset,
                            "excluded": len(use.excluded),
                            "forgotten": len(use.forgotten),
                            "guarantee": use.guarantee,
                        }
                        for use in uses
                    ],
                }
                change.log("model-added", detail)
            return models.find_model(change.connection, model.id)

    def certify_records(self, ref: str, uses: Sequence[DatasetUse], *, request: str) -> int:
        """Enter that a training, as it is, bounds what its weights hold of records; count new ones.

        Args:
            ref: the model of the training, which stays as it is.
            uses: the records, as forgotten, by dataset.
            request: the id of the request that this answers.

        Raises UnknownName for a model, dataset or record, and InputError for a model that was made
        by forgetting, or that did not learn the records.
        """
        with self._write() as change:
            model = models.find_model(change.connection, ref)
            fresh = models.certify(change, model, uses)
            if fresh:
                detail = {
                    "model": model.id,
                    "request": request,
                    "guarantee": Guarantee.CERTIFIED,
                    "uses": [{"dataset": u.dataset, "records": len(u.forgotten)} for u in uses],
                }
                change.log("records-certified", detail)
        return fresh

    def models(self) -> tuple[Model, ...]:
        """All models, parents before their children."""
        with self._read() as connection:
            return models.every(connection)

    def model(self, ref: str) -> Model:
        """A model by alias, id, unique prefix of its id, or digest. Raises UnknownName."""
        with self._read() as connection:
            return models.find_model(connection, ref)

    def uses(self, ref: str) -> tuple[DatasetUse, ...]:
        """The uses of each dataset in a model's own training or forgetting."""
        with self._read() as connection:
            return models.uses_of(connection, models.find_model(connection, ref).id)

    def uses_in_brief(self, ids: Collection[str] | None = None) -> dict[str, tuple[UseBrief, ...]]:
        """The uses with counts, by model: of the models with these ids, or of all."""
        with self._read() as connection:
            return models.uses_in_brief(connection, ids)

    def set_alias(self, name: str, ref: str) -> Model:
        """Point an alias ("serving") to a model atomically, whatever it pointed to before."""
        return self.set_aliases({name: ref})[0]

    def set_aliases(
        self, named: Mapping[str, str], *, replacing: tuple[str, str] | None = None
    ) -> tuple[Model, ...]:
        """Point several names to models, all at once.

        Args:
            named: the model of each alias.
            replacing: an alias and its model's id: if it points to another model by now, all
                aliases stay unchanged.
        """
        with self._write() as change:
            if replacing is not None:
                name, before = replacing
                if models.aliases(change.connection).get(name, before) != before:
                    return ()
            found = [models.find_model(change.connection, ref) for ref in named.values()]
            for name, model in zip(named, found, strict=True):
                if model.tombstone is not None:
                    raise StateError(f"model {model.id} is gone ({model.tombstone.reason})")
                if models.set_alias(change, name, model):
                    change.log("alias-set", {"alias": name, "model": model.id})
        return tuple(found)

    def tombstone_model(self, ref: str, reason: str) -> bool:
        """Mark a model whose weights were removed, and remove its aliases; whether that is new."""
        with self._write() as change:
            model = models.find_model(change.connection, ref)
            fresh = models.tombstone(change, model, reason)
            if fresh:
                change.log("model-tombstoned", {"id": model.id, "reason": reason})
        return fresh

    def alias(self, name: str) -> Model | None:
        """The model of an alias, None when the alias was never set."""
        with self._read() as connection:
            identifier = models.aliases(connection).get(name)
            return models.find_model(connection, identifier) if identifier else None

    def aliases(self) -> dict[str, str]:
        """Every alias with the id of its model."""
        with self._read() as connection:
            return models.aliases(connection)
