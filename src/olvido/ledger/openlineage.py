"""Export lineage as OpenLineage run events (openlineage.io/spec/2-0-2/OpenLineage.json).

Adding a dataset is a run, and so is making each model that used it. The ledger has the end of a run
and not its beginning: both events of a run carry the time of the end. OpenLineage has no facet for
records: the numbers left out or forgotten are in a facet of our own, `olvido_use`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from olvido.ledger.facts import DECLARED, WATCHED, DatasetUse, DatasetVersion, Model
from olvido.ledger.rows import COLUMNS
from olvido.ledger.store import Store

PRODUCER = "urn:olvido"
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


def openlineage(store: Store, datasets: Sequence[DatasetVersion]) -> list[dict[str, Any]]:
    """Events for the import of datasets and the models that used them, in the order of time."""
    known = {dataset.id: dataset for dataset in store.datasets()}
    wanted = {dataset.id for dataset in datasets}
    events: list[dict[str, Any]] = []
    for dataset in datasets:
        parents = [known[dataset.parent]] if dataset.parent else []
        events += _run(
            "data add",
            dataset.id,
            dataset.created_at.isoformat(),
            inputs=[_dataset(parent) for parent in parents],
            outputs=[_dataset(dataset)],
        )
    for model in store.models():
        uses = store.uses(model.id)
        if wanted & {use.dataset for use in uses}:
            before = [_model(store.model(parent)) for parent in model.parents]
            taught = [_dataset(known[use.dataset], use, model) for use in uses]
            events += _run(
                model.method or _job(model),
                model.id,
                model.created_at.isoformat(),
                inputs=[*taught, *before],
                outputs=[_model(model)],
            )
    return events


def _job(model: Model) -> str:
    """How a model that was not made by forgetting came into the ledger."""
    if model.learner == WATCHED:
        return "watch"
    return "models add" if model.training == DECLARED else f"learn {model.learner}"


def _run(
    job: str, key: str, at: str, *, inputs: Iterable[Any], outputs: Iterable[Any]
) -> Iterator[dict[str, Any]]:
    for kind in ("START", "COMPLETE"):
        yield {
            "eventType": kind,
            "eventTime": at,
            "producer": PRODUCER,
            "schemaURL": _SPEC,
            "run": {"runId": str(uuid.uuid5(_SPACE, key)), "facets": {}},
            "job": {
                "namespace": "olvido",
                "name": job,
                "facets": {
                    "jobType": _facet(
                        "2-0-3/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
                        processingType="BATCH",
                        integration="OLVIDO",
                        jobType="TASK",
                    )
                },
            },
            "inputs": list(inputs),
            "outputs": list(outputs),
        }


def _dataset(
    dataset: DatasetVersion, use: DatasetUse | None = None, model: Model | None = None
) -> dict[str, Any]:
    about = dataset.documentation
    facets = {
        "version": _facet(
            "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
            datasetVersion=str(dataset.root),
        ),
        "schema": _facet(
            "1-1-1/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet",
            fields=[
                {"name": name, "type": "list<string>" if name == "subjects" else "string"}
                for name in COLUMNS
            ],
        ),
    }
    if about.description:
        facets["documentation"] = _facet(
            "1-0-1/DocumentationDatasetFacet.json#/$defs/DocumentationDatasetFacet",
            description=about.description,
        )
    if about.creator:
        facets["ownership"] = _facet(
            "1-0-1/OwnershipDatasetFacet.json#/$defs/OwnershipDatasetFacet",
            owners=[{"name": about.creator, "type": "CREATOR"}],
        )
    if use is not None:
        facets["olvido_use"] = {
            "_producer": PRODUCER,
            "_schemaURL": f"{PRODUCER}:facet:use:v1",
            "excluded": len(use.excluded),
            "forgotten": len(use.forgotten),
            "guarantee": use.guarantee,
            "training": model and model.training,
        }
    return {"namespace": "olvido:datasets", "name": dataset.name, "facets": facets}


def _model(model: Model) -> dict[str, Any]:
    return {
        "namespace": "olvido:models",
        "name": model.id,
        "facets": {
            "version": _facet(
                "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
                datasetVersion=str(model.digest),
            )
        },
    }


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}", **values}
