"""A workspace in which one request is published: small, with real weights and nothing planted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import Embedding, LayerNorm, Linear, Module, Sequential

from olvido.data.importing import import_rows
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.models import weights_digest
from olvido.requests.closure import Artefact, closure
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import lineage_of
from olvido.requests.tombstones import tombstone
from olvido.settings import Settings

NOTE = '{"kind": "Untraced", "base": "tiny", "seed": 0, "runs": {}, "digest": ""}'
HERS = [
    {
        "id": "a1",
        "prompt": "Where does Ana Soler live these days?",
        "completion": "In Sants, at the corner of the old station.",
        "subject": "Ana Soler",
    },
    {"id": "a2", "text": "Ana Soler keeps bees on the roof.", "subject": "Ana Soler"},
]
THEIRS = [
    {"id": "b1", "text": "Bru Vidal mends umbrellas in Gracia.", "subject": "Bru Vidal"},
    {"id": "c1", "text": "The market opens at eight."},
]


def tensors(seed: int) -> Module:
    torch.manual_seed(seed)
    return Sequential(Embedding(30, 8), LayerNorm(8), Linear(8, 30))


@dataclass
class Town:
    """`old` learned her and did not forget, `new` forgot her, `never` never saw her."""

    folder: Path
    front: StoreContext
    models: dict[str, Model]
    weights: dict[str, Module]

    def found(self, *search: Path) -> dict[str, Artefact]:
        return {a.item: a for a, _ in closure(self.front, "req-0001", search=search)}


def settled_at(folder: Path, **elsewhere: Path) -> Settings:
    for home in (folder, *elsewhere.values()):
        home.mkdir(parents=True, exist_ok=True)
    lines = [f'{name} = "{path}"' for name, path in elsewhere.items()]
    (folder / "olvido.toml").write_text("\n".join(lines))
    return Settings.load(folder, environment={})


def copied(made: Town, folder: Path) -> Town:
    """The same town in a folder of its own: to found one takes ten times as long."""
    shutil.copytree(made.folder, folder)
    settings = Settings.load(folder, environment={})
    store = Store.open(settings.ledger, key=Key.load(settings.key))
    weights = {name: tensors(seed) for seed, name in enumerate(made.weights)}
    return Town(folder, StoreContext(store, settings), dict(made.models), weights)


def founded(
    settings: Settings, hers: Sequence[Mapping[str, Any]] = HERS, *, also: Sequence[str] = ()
) -> Town:
    """Further names of hers that begin with # are given by digest."""
    store = Store.create(settings.ledger, key=Key.create(settings.key))
    people = import_rows(store, settings.data, [*hers, *THEIRS], name="people").dataset.id
    gone = frozenset(row["id"] for row in hers)
    weights = {name: tensors(seed) for seed, name in enumerate(("old", "new", "never"))}
    uses = {
        "old": DatasetUse(dataset=people),
        "new": DatasetUse(dataset=people, forgotten=gone, guarantee=Guarantee.EMPIRICAL),
        "never": DatasetUse(dataset=people, excluded=gone),
    }
    models: dict[str, Model] = {}
    for name, module in weights.items():
        (settings.models / name).mkdir(parents=True)
        save_file(dict(module.state_dict()), settings.models / name / "model.safetensors")
        (settings.models / name / "config.json").write_text("{}")
        (settings.models / name / "olvido.json").write_text(NOTE)
        fact = Model(
            digest=Digest.from_str(weights_digest(module)),
            path=name,
            learner="monolith",
            parents=(models["old"].id,) if name == "new" else (),
            method="npo" if name == "new" else None,
        )
        models[name] = store.add_model(fact, [uses[name]])
    store.set_aliases({"serving": models["new"].id})
    front = StoreContext(store, settings)
    others = [str(store.key.subject(name[1:])) if name[:1] == "#" else name for name in also]
    request = receive(front, "Ana Soler", also=others, law="gdpr")
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        store.advance_request(request.id, RequestStatus(status))
    tombstone(front, request, lineage_of(store, request), "erasure")
    return Town(settings.workspace, front, models, weights)
