"""A model's card for the Hugging Face hub: what it learned from, and what it was made to forget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from olvido.ledger.facts import Dataset, Guarantee, Model, Use
from olvido.ledger.store import Store

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
    """Markdown with YAML in front, as the hub reads it.

    It names no record and nobody. A licence is not given: the data's are listed, and the model's is
    its owner's to say.
    """
    line = _line(store, model)
    uses = {
        name: [(one, use) for one in line for use in store.uses(one.id) if use.dataset == name]
        for name in dict.fromkeys(use.dataset for one in line for use in store.uses(one.id))
    }
    datasets = {name: store.dataset(name) for name in uses}
    told = [d.documentation.language for d in datasets.values()]
    languages = sorted({language for language in told if language})
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
    """The model and all that it descends from."""
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
    return (
        f"Made by {how}, seed {model.seed}, on {model.created_at.date().isoformat()}.\n\n"
        f"Digest of the weights: `{model.digest}`"
    )


def _table(datasets: Mapping[str, Dataset], uses: Mapping[str, Sequence[tuple[Model, Use]]]) -> str:
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


def _forgot(forgotten: Sequence[tuple[Model, Use]]) -> str:
    if not forgotten:
        return "Nothing."
    return "\n".join(
        f"- {len(use.forgotten)} records, by `{one.method}`: {use.guarantee}, which means "
        f"{_MEANS[use.guarantee or Guarantee.SUPPRESSED]}."
        for one, use in forgotten
    )
