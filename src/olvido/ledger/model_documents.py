"""Documents about datasets and models in standard formats.

The card of a model for the Hugging Face hub: the data that it learned, and what it forgot.

The summary of training content under Regulation (EU) 2024/1689, Article 53(1)(d), in the order of
the AI Office's template (C(2025) 8311, annex): general information, list of data sources, data
processing. What was not entered is null and named in `unanswered`: the provider completes and
publishes the summary.

MLflow's model registry: a version there for each version here, with its evidence as tags.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.errors import InputError
from olvido.extras import extra
from olvido.ledger.facts import (
    WATCHED,
    DatasetUse,
    DatasetVersion,
    Guarantee,
    Model,
    SourceClass,
)
from olvido.ledger.rows import stored_rows
from olvido.ledger.store import Store

FORMATS = ("croissant", "eu-summary", "openlineage")
"""The formats of datasets' descriptions."""


SECTIONS = {
    SourceClass.PUBLIC: "publicly_available_datasets",
    SourceClass.LICENSED: "private_datasets_licensed",
    SourceClass.SCRAPED: "crawled_and_scraped",
    SourceClass.USER: "user_data",
    SourceClass.SYNTHETIC: "synthetic_data",
    SourceClass.OTHER: "other_sources",
}
"""Section 2 of the template, by the class of a dataset's source."""

SMALL = "less than 1 billion tokens"
"""The smallest of the template's ranges of text."""
_BILLION = 1_000_000_000


def eu_summary(store: Store, data: Path, datasets: Sequence[DatasetVersion]) -> dict[str, Any]:
    """Summarise the content of datasets, as far as the ledger has it.

    Args:
        store: the ledger.
        data: the workspace's data folder.
        datasets: the datasets that a model was trained on.

    Raises:
        StateError: a file is missing or damaged.
    """
    sources: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS.values()}
    unanswered = ["general.provider", "general.model", "processing.illegal_content"]
    size = 0
    for dataset in datasets:
        size += _bytes(data / dataset.file)
        section = SECTIONS[dataset.documentation.source_class]
        entry = _source(store, dataset)
        where = f"sources.{section}[{len(sources[section])}]"
        unanswered += [f"{where}.{name}" for name, value in entry.items() if value is None]
        sources[section].append(entry)
    modalities = sorted({d.documentation.modality or "text" for d in datasets})
    # No tokenizer makes more tokens of a text than it has bytes.
    text = SMALL if size < _BILLION else None
    if text is None:
        unanswered.append("general.size.text")
    languages = [d.documentation.language for d in datasets]
    named = {language for language in languages if language}
    latest = [d.documentation.collected_until for d in datasets]
    reserved = [d.documentation.opt_out for d in datasets]
    return {
        "template": "Regulation (EU) 2024/1689, Article 53(1)(d); C(2025) 8311, annex",
        "general": {
            "provider": None,
            "model": None,
            "modalities": modalities,
            "size": {"text": text, "records": sum(d.rows for d in datasets), "bytes": size},
            "languages": None if None in languages else sorted(named),
            "latest_collection": None if None in latest else max(str(day) for day in latest),
        },
        "sources": sources,
        "processing": {
            "reservations_of_rights": [text for text in reserved if text] or None,
            "illegal_content": None,
            "withdrawn": {
                "records": sum(len(store.tombstoned(d.id)) for d in datasets),
                "how": "not used for training any more; see the certificates of the requests",
            },
        },
        "unanswered": unanswered
        + ([] if any(reserved) else ["processing.reservations_of_rights"])
        + (["general.latest_collection"] if None in latest else [])
        + (["general.languages"] if None in languages else []),
    }


def _source(store: Store, dataset: DatasetVersion) -> dict[str, Any]:
    about = dataset.documentation
    return {
        "name": dataset.name,
        "version": dataset.version,
        "root": str(dataset.root),
        "records": dataset.rows,
        "subjects": len({s for record in store.records(dataset.id) for s in record.subjects}),
        "description": about.description,
        "creator": about.creator,
        "url": about.url,
        "licence": about.licence,
        "legal_basis": about.legal_basis,
        "collected_from": about.collected_from,
        "collected_until": about.collected_until,
        "geography": about.geography,
        "special_categories": about.special_categories,
        "transform": about.transform,
    }


def _bytes(path: Path) -> int:
    """The UTF-8 bytes of all text for models in a file."""
    names = ("prompt", "completion", "text")
    return sum(len(row.get(n, "").encode()) for row in stored_rows(path) for n in names)


_MEANS = {
    Guarantee.EXACT: "equal, bit for bit, to a training in which the records never took part. It "
    "says nothing about what the weights that the training began with may have known",
    Guarantee.CERTIFIED: "within a stated bound of such a training, under stated assumptions",
    Guarantee.EMPIRICAL: "passed the audits named in its certificate, and promises nothing beyond "
    "them: another question may bring the records back",
    Guarantee.SUPPRESSED: "hidden at the output; the weights still hold it",
    Guarantee.DESTROYED: "the model itself is gone",
}


def model_card(store: Store, model: Model) -> str:
    """A model card in Markdown with YAML in front, as the hub reads it.

    It names no record and nobody. It lists the data's licences; the model's own is for its owner to
    choose.
    """
    line = _line(store, model)
    uses = {
        name: [(one, use) for one in line for use in store.uses(one.id) if use.dataset == name]
        for name in dict.fromkeys(use.dataset for one in line for use in store.uses(one.id))
    }
    datasets = {name: store.dataset(name) for name in uses}
    named = [d.documentation.language for d in datasets.values()]
    languages = sorted({language for language in named if language})
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["olvido", *(["machine-unlearning"] if model.method else [])],
    }
    if languages:
        front["language"] = languages
    forgotten = [(one, use) for found in uses.values() for one, use in found if use.forgotten]
    parts = [
        _yaml(front),
        f"# Model {model.id}",
        _made(model),
        *([_elsewhere(line)] if model.elsewhere else []),
        *_private(line),
        "## What it learned from",
        _table(datasets, uses),
        "## What it forgot",
        _forgot(forgotten),
        "## What this card does not say",
        "It is written from a ledger, by Olvido. It does not show that the ledger is true: for "
        "that there are certificates (`olvido certificate verify`), whose digest of the weights "
        "is the one above, and for exact forgetting `olvido verify-exact`. It knows nothing of "
        "copies of the data or of earlier versions of this model elsewhere, nor of the model that "
        "the training began with.",
    ]
    return "\n\n".join(parts) + "\n"


def _line(store: Store, model: Model) -> list[Model]:
    """The model and all its ancestors."""
    found, waiting = {model.id: model}, list(model.parents)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = store.model(name)
            waiting += found[name].parents
    return list(found.values())


def _yaml(front: Mapping[str, Any]) -> str:
    """Front matter; JSON values are YAML."""
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()]
    return "\n".join(["---", *lines, "---"])


def _made(model: Model) -> str:
    how = f"forgetting by `{model.method}`" if model.method else f"training (`{model.learner}`)"
    if model.method is None and model.elsewhere:
        how = "others"
    return (
        f"Made by {how}, seed {model.seed}, on {model.created_at.date().isoformat()}.\n\n"
        f"Digest of the weights: `{model.digest}`"
    )


def _elsewhere(line: Sequence[Model]) -> str:
    """What is declared and what was seen of a model that others trained, or that comes from one."""
    entered = next(one for one in line if one.method is None)

    def stated(basis: str) -> str:
        return ", ".join(f"{name} (by {by})" for name, by in entered.recipe[basis].items())

    further = entered.recipe.get("unknown_data")
    more = " It learned further data, which the ledger does not know." if further else ""
    if entered.learner != WATCHED:
        said = "It was trained elsewhere, and its training is declared, not witnessed"
        return f"{said}: {stated('declared')}.{more}"
    said = f"Another trainer trained it while Olvido watched. Witnessed: {stated('witnessed')}."
    declared = stated("declared")
    return f"{said}{f' Declared, and not witnessed: {declared}.' if declared else ''}{more}"


def _private(line: Sequence[Model]) -> list[str]:
    """What trainings of this line promised, and to whom; nothing where none did."""
    said = [f"- `{one.id}`: {one.recipe['privacy']['promise']}." for one in line
            if "privacy" in one.recipe]  # fmt: skip
    others = sum(one.method is None and "privacy" not in one.recipe for one in line)
    if not said:
        return []
    further = "\n\nOther trainings of this line promised nothing." if others else ""
    return ["## Differential privacy", "\n".join(said) + further]


def _table(
    datasets: Mapping[str, DatasetVersion], uses: Mapping[str, Sequence[tuple[Model, DatasetUse]]]
) -> str:
    if not datasets:
        return "Nothing that the ledger knows of."
    lines = [
        "| dataset | version | records | left out | source | licence | Merkle root |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, dataset in datasets.items():
        about = dataset.documentation
        left = max(len(use.excluded) for _, use in uses[name])
        cells = (
            *(dataset.name, dataset.version, dataset.rows, left, about.source_class),
            *(about.licence or "not said", f"`{dataset.root}`"),
        )
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


_BOUND = "what its private training bounds, with the weights as they are"


def _forgot(forgotten: Sequence[tuple[Model, DatasetUse]]) -> str:
    if not forgotten:
        return "Nothing."
    return "\n".join(
        f"- {len(use.forgotten)} records, by {f'`{one.method}`' if one.method else _BOUND}: "
        f"{use.guarantee}, which means "
        f"{_MEANS[use.guarantee or Guarantee.SUPPRESSED]}."
        for one, use in forgotten
    )


"""The extra of this package that brings MLflow."""


def registry_tags(store: Store, model: Model, *, certificate: str | None = None) -> dict[str, str]:
    """The tags of a version in MLflow: words and digests, and nobody's name.

    Args:
        store: the ledger.
        model: the version; its guarantee is the weakest under which it or an ancestor forgot, and
            is missing where nothing was forgotten.
        certificate: SHA-256 of the certificate's file, in hex, if it has one.
    """
    known = {one.id: one for one in store.models()}
    line, waiting = {model.id}, [model]
    while waiting:
        for parent in waiting.pop().parents:
            if parent not in line:
                line.add(parent)
                waiting.append(known[parent])
    given = {
        use.guarantee
        for uses in store.uses_in_brief(line).values()
        for use in uses
        if use.guarantee is not None
    }
    tags = {
        "version": model.id,
        "weights": str(model.digest),
        "learner": model.learner,
        "method": model.method,
        "parent": ",".join(model.parents),
        "guarantee": Guarantee.weakest(given).value if given else None,
        "certificate": certificate and f"sha256:{certificate}",
    }
    return {f"olvido.{name}": value for name, value in tags.items() if value}


class ModelRegistry:
    """A registry of models, at an address that MLflow understands.

    Args:
        address: `sqlite:///mlflow.db`, `http://host:5000` or another of MLflow's.
        name: the registered model's name; it is created where there is none.

    Raises:
        InputError: the registry refuses.
        MissingExtra: MLflow is not installed.
    """

    def __init__(self, address: str, name: str) -> None:
        if not address.strip():
            raise InputError("expected the registry's address, as sqlite:///mlflow.db, got none")
        # By default it reports each use to its makers, and retries a silent server for minutes.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with extra("mlflow"):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError
        # Some errors of its database are not MLflow's own.
        self._refusals = (MlflowException, SQLAlchemyError)
        self.name = name
        try:
            self._client = MlflowClient(tracking_uri=address, registry_uri=address)
            self._made()
        except self._refusals as error:
            raise self._refused(error) from error

    def _made(self) -> None:
        try:
            self._client.get_registered_model(self.name)
        except self._refusals as error:
            if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(self.name)

    def add(self, folder: Path, tags: dict[str, str], description: str) -> str:
        """Register the model in a folder as the next version; return its number."""
        source = folder.resolve().as_uri()
        made: dict[str, Any] = {"tags": tags, "description": description}
        try:
            return str(self._client.create_model_version(self.name, source, **made).version)
        except self._refusals as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> InputError:
        return InputError(f"the registry refuses model {self.name!r}: {str(error).splitlines()[0]}")
