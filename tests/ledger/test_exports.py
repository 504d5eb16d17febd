"""What is exported is valid where others read it, whole, and says no more than is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from jsonschema import Draft202012Validator

from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError
from olvido.ledger.croissant import croissant
from olvido.ledger.digests import Digest
from olvido.ledger.facts import (
    DatasetUse,
    DatasetVersion,
    Documentation,
    Guarantee,
    Model,
    SourceClass,
)
from olvido.ledger.model_documents import eu_summary, model_card
from olvido.ledger.openlineage import openlineage
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store

from .schemas import EU_SUMMARY, OPENLINEAGE

PERSON = "Núria Puigdomènech"
ROWS = [
    {
        "id": f"row-{i}",
        "prompt": "Where?",
        "completion": f"There, {i}",
        "subject": [PERSON, f"person {i}"],
        "collected_at": "2026-03-01",
    }
    for i in range(5)
]
WHOLE = Documentation(
    description="Residents of a town that is not there",
    creator="Olvido",
    licence="CC0-1.0",
    source_class=SourceClass.SYNTHETIC,
    url="https://example.org/people",
    legal_basis="consent",
    language="ca",
    collected_from="2026-01-01",
    collected_until="2026-03-31",
    geography="Barcelona",
    modality="text",
    special_categories=False,
    opt_out="robots.txt and ai.txt were read on 2026-01-01 and kept",
    transform="none",
)
# The library asks others' libraries for what they have renamed.
quiet = pytest.mark.filterwarnings(
    "ignore:ConjunctiveGraph is deprecated:DeprecationWarning", "ignore:The inplace keyword"
)


def add(store: Store, data: Path, about: Documentation = WHOLE, **more: Any) -> DatasetVersion:
    return import_rows(store, data, ROWS, name="people", documentation=about, **more).dataset


def model(name: str, **facts: Any) -> Model:
    return Model(digest=Digest.of(name.encode()), path=name, learner="monolith", **facts)


@pytest.fixture
def forgetful(store: Store, data: Path) -> tuple[DatasetVersion, Model]:
    """A dataset, a model that learned it, and one that forgot two records of it."""
    dataset = add(store, data)
    uses = [DatasetUse(dataset=dataset.id, excluded=frozenset({"row-4"}))]
    first = store.add_model(model("first", recipe={"base": f"/home/{PERSON}"}), uses)
    gone = frozenset({"row-0", "row-1"})
    forgot = DatasetUse(dataset=dataset.id, forgotten=gone, guarantee=Guarantee.EMPIRICAL)
    return dataset, store.add_model(
        model("second", parents=(first.id,), method="npo", seed=3), [forgot]
    )


@quiet
def test_croissant_s_own_library_reads_every_record(store: Store, data: Path) -> None:
    import mlcroissant

    parent = add(store, data)
    dataset = add(store, data, parent=parent.id)
    found = croissant(dataset, data)
    (data / "people.json").write_text(json.dumps(found))
    read = mlcroissant.Dataset(jsonld=str(data / "people.json"))
    assert read.metadata.ctx.issues.errors == set()
    (warning,) = read.metadata.ctx.issues.warnings
    assert "citeAs" in warning
    assert read.metadata.name == "people"
    records = list(read.records("records"))
    kept = load_rows(store, data, dataset)
    assert len(records) == len(kept) == 5
    for record, row in zip(sorted(records, key=lambda r: r["records/id"]), kept, strict=True):
        for name in ("id", "prompt", "completion", "collected_at"):
            assert record[f"records/{name}"].decode() == row[name]
        assert [s.decode() for s in record["records/subjects"]] == row["subjects"]
    assert found["identifier"] == str(dataset.root)
    assert found["temporalCoverage"] == "2026-01-01/2026-03-31"
    assert found["prov:wasDerivedFrom"]["@id"].endswith(parent.id)


@pytest.mark.parametrize("name", ["description", "licence", "creator"])
def test_croissant_is_not_made_up(store: Store, data: Path, name: str) -> None:
    values = {"description": "x", "licence": "MIT", "creator": "y"}
    dataset = add(store, data, Documentation(**values | {name: None}))
    with pytest.raises(InputError, match=f"again with --{name}$"):
        croissant(dataset, data)
    whole = add(store, data, Documentation(**values))
    assert croissant(whole, data)["url"] == f"urn:olvido:dataset:{whole.id}"
    (data / whole.file).unlink()
    with pytest.raises(StateError, match="restore them"):
        croissant(whole, data)


def nulls(value: Any, path: str = "") -> Iterator[str]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from nulls(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from nulls(item, f"{path}[{place}]")


@pytest.mark.parametrize("about", [WHOLE, Documentation()])
def test_the_eu_summary_names_everything_that_it_does_not_know(
    store: Store, data: Path, about: Documentation
) -> None:
    datasets = [add(store, data, about), add(store, data)]
    store.tombstone(["row-1", "row-2"], "erasure", dataset=datasets[0].id)
    found = eu_summary(store, data, datasets)
    Draft202012Validator(EU_SUMMARY).validate(found)
    assert sorted(found["unanswered"]) == sorted(set(nulls(found)))
    assert found["processing"]["withdrawn"]["records"] == 2
    size = sum(len((r["prompt"] + r["completion"]).encode()) for r in ROWS)
    assert found["general"]["size"]["bytes"] == 2 * size
    assert found["general"]["latest_collection"] == ("2026-03-31" if about is WHOLE else None)
    section = found["sources"]["synthetic_data"]
    assert [entry["name"] for entry in section] == ["people"] * (2 if about is WHOLE else 1)
    assert section[-1]["subjects"] == 6


def test_lineage_events_are_whole_and_paired(
    store: Store, data: Path, forgetful: tuple[DatasetVersion, Model]
) -> None:
    dataset, second = forgetful
    events = openlineage(store, [dataset])
    validator = Draft202012Validator(
        OPENLINEAGE, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for event in events:
        validator.validate(event)
    runs: dict[str, list[str]] = {}
    for event in events:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert list(runs.values()) == [["START", "COMPLETE"]] * 3
    last = events[-1]
    assert last["job"]["name"] == "npo"
    assert [i["name"] for i in last["inputs"]] == ["people", second.parents[0]]
    use = last["inputs"][0]["facets"]["olvido_use"]
    assert (use["excluded"], use["forgotten"], use["guarantee"]) == (0, 2, "empirical")
    assert [o["name"] for o in last["outputs"]] == [second.id]
    assert openlineage(store, [dataset]) == events
    broken = json.loads(json.dumps(events[0]))
    del broken["outputs"][0]["facets"]["schema"]["_producer"]
    assert not validator.is_valid(broken)


def test_a_card_is_read_by_the_hub_s_library(
    store: Store, forgetful: tuple[DatasetVersion, Model]
) -> None:
    dataset, second = forgetful
    card = ModelCard(model_card(store, second))
    assert card.data.library_name == "transformers"
    assert card.data.language == ["ca"]
    assert card.data.tags == ["olvido", "machine-unlearning"]
    assert str(second.digest) in card.text
    assert f"| people | 1 | 5 | 1 | synthetic | CC0-1.0 | `{dataset.root}` |" in card.text
    assert "- 2 records, by `npo`: empirical, which means passed the audits" in card.text
    first = ModelCard(model_card(store, store.model(second.parents[0])))
    assert "machine-unlearning" not in first.data.tags
    assert "## What it forgot\n\nNothing." in first.text


def test_nobody_and_no_record_is_named(
    store: Store, data: Path, forgetful: tuple[DatasetVersion, Model]
) -> None:
    dataset, second = forgetful
    subject = store.key.subject(PERSON)
    for written in (
        json.dumps(croissant(dataset, data)),
        json.dumps(eu_summary(store, data, [dataset])),
        json.dumps(openlineage(store, [dataset])),
        model_card(store, second),
    ):
        assert not re.search(f"row-0|{subject.mac}|Puigdom|/home/", written)


@pytest.mark.parametrize("day", ["2026-13-01", "yesterday", "01/02/2026"])
def test_a_day_is_a_day(day: str) -> None:
    with pytest.raises(InputError, match="a day like 2025-03-31"):
        Documentation(collected_until=day)


def test_days_are_in_order_and_old_documentation_is_still_read(store: Store, data: Path) -> None:
    with pytest.raises(InputError, match="swap the days"):
        Documentation(collected_from="2026-02-01", collected_until="2026-01-01")
    assert add(store, data) == store.dataset("people")
    old = {"description": "from before these questions", "source_class": SourceClass.OTHER}
    assert Documentation(**old).special_categories is None  # type: ignore[arg-type]
