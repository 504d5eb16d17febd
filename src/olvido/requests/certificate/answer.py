"""The answer to a request, written into the log at publishing: all that a certificate says.

Whoever keeps the workspace can edit the report's file and the tables. So a certificate takes its
content from the log's entry, and is refused where the report's bytes, the tables or the method's
own guarantee differ from it.

Also the data map that a certificate carries: everything besides the weights that holds the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.errors import InputError, StateError, UnknownName
from olvido.files import finite, read_document
from olvido.ledger.digests import Digest, merkle_root, records_root
from olvido.ledger.exclusion import training_of
from olvido.ledger.facts import (
    PRIVACY,
    PRIVATE,
    ClosureItem,
    Exit,
    Guarantee,
    LogEntry,
    Model,
    Record,
    Request,
    RequestStatus,
)
from olvido.ledger.store import Store
from olvido.ledger.store.requests import is_sealed
from olvido.methods import METHODS
from olvido.requests.certificate.provenance import made_by, release
from olvido.requests.scope import lineage_of
from olvido.schemas.certificate import REST
from olvido.schemas.plan import Promise

OPEN = "open"
EXITS = (*(exit.value for exit in Exit), OPEN)
"""What became of an artefact; the last means that this is still open."""

UNSEEN = ("unread", "link", "hardlink", "names", "arrays", REST)
"""Kinds of artefacts with unknown content: the team declares their exit."""


def closure_of(store: Store, request: Request) -> dict[str, Any]:
    """The exit of each artefact, as the ledger has it. Complete only where the request was closed.

    Each name begins with its kind (`olvido.artifacts`). A place is a keyed digest, unless it is a
    model's or a dataset's id: names of files may be those of people.
    """
    items = [_described(store, item) for item in store.closure(request.id)]
    if request.status is not RequestStatus.CLOSED:
        items.append(_item(REST, OPEN, None, "the request is not closed"))
    still = [item["artefact"] for item in items if item["exit"] == OPEN]
    complete = bool(items) and not still
    return {"complete": complete, "open": still, "items": items, "unseen": unseen(items)}


def unseen(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The artefacts that were not examined, whatever their exit."""
    names = [str(item["artefact"]) for item in items]
    return [name for name in names if name.partition(":")[0] in UNSEEN]


def _described(store: Store, found: ClosureItem) -> dict[str, Any]:
    name = store.sealed(found.item)
    if is_sealed(name):
        kind, _, place = name.partition(":")
        name = f"{kind}:{place.rpartition(':')[2][:12]}"
    if found.exit is None:
        return _item(name, OPEN, None, "not examined")
    if found.exit is Exit.AWAITING_EXPIRY:
        return _item(name, found.exit.value, found.detail, None)
    return _item(name, found.exit.value, None, found.detail, by_word=found.by_word)


def _item(
    name: str, exit: str, until: str | None, reason: str | None, *, by_word: bool = False
) -> dict[str, Any]:
    return {
        "artefact": name,
        "exit": exit,
        "until": until,
        "reason": reason,
        "by_word": by_word,
    }


ANSWER = "answer"
"""The key of the answer in the detail of the publishing step."""

DESTROY = "destroy"
"""The method that a destroyed model is listed under."""

BOUND = "bound"
"""The key, in an answer, of what a private training promised."""

_PATHS = ("trials", "factors")
"""Options that name a place on this machine."""


def answer(
    store: Store, request: Request, model: Model, document: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """The answer to a request for which a model was published.

    Args:
        store: the ledger, where the model and its uses are entered already.
        request: the request that is answered.
        model: the model that is published.
        document: the request's report; its `path` says where it was written.
        path: the report's file.

    Raises:
        StateError: the report is not what was written, or not about this model, or claims another
            guarantee than the ledger and the method have.
    """
    content = path.read_bytes()
    if read_document(path) != finite(dict(document)):
        raise StateError(f"the report {path} is not what was written: publish again")
    attempt, training = document["attempts"][-1], training_of(store, model)
    before = store.model(model.parents[0])
    held = {s.model.id: s.contained for s in lineage_of(store, request).models}
    datasets, forgotten = _datasets(store, request, model, held.get(before.id, ()))
    audit = attempt["audit"]
    done = {
        "request": _request(request, document["together"]),
        "guarantee": attempt["outcome"]["guarantee"],
        "models": {"before": _named(before), "after": _named(model)},
        "datasets": datasets,
        "forgotten": forgotten,
        "records": {
            "forget": document["records"]["forgotten"],
            "retain": document["records"]["retained"],
            "holdout": document["records"]["holdout"],
        },
        "method": {
            "name": attempt["method"],
            "olvido": release(),
            "options": {
                name: value
                for name, value in (model.recipe.get("options") or {}).items()
                if name not in _PATHS
            },
            "seed": model.seed,
            "stopped": attempt["outcome"]["stopped"],
            "origin": attempt["outcome"]["origin"],
        },
        "training": _taught(training),
        "audit": audit
        and {name: audit[name] for name in ("verdict", "level", "tolerances", "candidate")},
        "references": [
            {"digest": one["digest"], "seed": one["seed"]} for one in document["never_trained"]
        ]
        if audit
        else [],
        "made_by": made_by({k: str(v) for k, v in training.environment.items()}),
        "report": str(Digest.of(content)),
    }
    if reasons := _other(store, request, done):
        raise StateError(f"request {request.id} cannot be published: {'; '.join(reasons)}")
    return done


def destroyed(store: Store, request: Request, model: Model) -> dict[str, Any]:
    """The answer to a request for which a model was destroyed."""
    training = training_of(store, model)
    return {
        "request": _request(request, [request.id]),
        "guarantee": Guarantee.DESTROYED.value,
        "models": {"before": _named(model), "after": None},
        "datasets": [],
        "forgotten": {"count": 0, "commitment": str(merkle_root([]))},
        "records": {"forget": 0, "retain": 0, "holdout": 0},
        "method": {
            "name": DESTROY,
            "olvido": release(),
            "options": {},
            "seed": 0,
            "stopped": "the weights and all that descends from them were removed",
            "origin": None,
        },
        "training": _taught(training),
        "audit": None,
        "references": [],
        "made_by": made_by({k: str(v) for k, v in training.environment.items()}),
        "report": None,
    }


def certified(store: Store, request: Request, model: Model, promise: Promise) -> dict[str, Any]:
    """The answer to a request for which a model stays as it is.

    Args:
        store: the ledger, where the model bounds the records already.
        request: the request that is answered.
        model: the model, of a private training.
        promise: what that bounds.
    """
    (state,) = [s for s in lineage_of(store, request).models if s.model.id == model.id]
    datasets, forgotten = _datasets(store, request, model, [r for r, _ in state.forgotten])
    privacy = model.recipe[PRIVACY]
    return {
        "request": _request(request, [request.id]),
        "guarantee": Guarantee.CERTIFIED.value,
        BOUND: {
            "epsilon": promise.epsilon,
            "delta": promise.delta,
            "unit": privacy["unit"],
            "units": promise.units,
            "relation": privacy["relation"],
            "accountant": promise.accountant,
            "false_positives": promise.false_positives,
            "true_positives": promise.true_positives,
        },
        "models": {"before": _named(model), "after": _named(model)},
        "datasets": datasets,
        "forgotten": forgotten,
        "records": {"forget": forgotten["count"], "retain": 0, "holdout": 0},
        "method": {
            "name": PRIVATE,
            "olvido": release(),
            "options": {},
            "seed": model.seed,
            "stopped": "nothing was run: the training was private",
            "origin": None,
        },
        "training": _taught(model),
        "audit": None,
        "references": [],
        "made_by": made_by({k: str(v) for k, v in model.environment.items()}),
        "report": None,
    }


def answered(store: Store, request: Request) -> tuple[dict[str, Any], LogEntry]:
    """The answer to a request as the log has it, and the entry that holds it.

    Raises:
        StateError: nothing was published for it, or log and ledger disagree.
    """
    said = [
        entry
        for entry in store.events("request-advanced")
        if (entry.detail["id"], entry.detail["status"]) == (request.id, RequestStatus.PUBLISHED)
    ]
    if len(said) != 1 or ANSWER not in said[0].detail["detail"]:
        raise StateError(
            f"request {request.id} has no answer in the log (it is {request.status}): run it with "
            f"'olvido request run {request.id}'"
        )
    done: dict[str, Any] = said[0].detail["detail"][ANSWER]
    steps = [s.detail.get(ANSWER) for s in request.history if s.status is RequestStatus.PUBLISHED]
    try:
        reasons = _other(store, request, done)
    except UnknownName as error:
        reasons = [str(error)]
    if steps != [done]:
        reasons.append("the request's history says otherwise than the log")
    if reasons:
        raise StateError(
            f"the ledger is not as it was when request {request.id} was answered: "
            f"{'; '.join(reasons)}. See 'olvido data check', and restore it from a copy you trust"
        )
    return done, said[0]


def report_of(path: Path, done: Mapping[str, Any]) -> dict[str, Any]:
    """The report of an answer, unchanged since it was published.

    Raises:
        StateError: its file is gone or was changed.
    """
    try:
        content = path.read_bytes()
        document = read_document(path)
    except (OSError, InputError) as error:
        raise StateError(f"the report {path} cannot be read ({error}): restore it") from error
    if (found := str(Digest.of(content))) != done["report"]:
        raise StateError(
            f"the report {path} was changed since it was published (the log has {done['report']}, "
            f"the file is {found}): restore it from a copy you trust"
        )
    return document


def _other(store: Store, request: Request, done: Mapping[str, Any]) -> list[str]:
    """Where the ledger, or the method's row in the table, differs from an answer."""
    reasons = []
    claimed, name, models = done["guarantee"], done["method"]["name"], done["models"]
    if done["request"] != _request(request, done["request"]["together"]):
        reasons.append("the request is another in the ledger")
    for shown in filter(None, models.values()):
        if _named(store.model(shown["id"])) != shown:
            reasons.append(f"model {shown['id']} is another in the ledger")
    if models["after"] is None:
        return reasons
    known, model = METHODS.get(name), store.model(models["after"]["id"])
    stays = name == PRIVATE and claimed == Guarantee.CERTIFIED
    if not stays and (known is None or known.guarantee != claimed):
        reasons.append(f"{claimed} forgetting is not what the method {name} gives")
    if stays and (model.method is not None or models["before"] != models["after"]):
        reasons.append(f"model {model.id} is not the one that was trained")
    if not stays and (model.method, list(model.parents)) != (name, [models["before"]["id"]]):
        reasons.append(f"model {model.id} was made by {model.method}, not by {name}")
    uses = store.uses(model.id)
    given = {str(use.guarantee) for use in uses if use.forgotten}
    if given != {claimed}:
        reasons.append(f"model {model.id} forgot as {', '.join(sorted(given))}, not as {claimed}")
    gone = {use.dataset: len(use.forgotten) for use in uses}
    for dataset in done["datasets"]:
        if dataset["forgotten"] > gone.get(dataset["id"], 0):
            reasons.append(f"model {model.id} forgot fewer records of dataset {dataset['id']}")
        if dataset["root_before"] != str(store.dataset(dataset["id"]).root):
            reasons.append(f"dataset {dataset['id']} is another in the ledger")
    if (done["method"]["seed"], done["training"]) != (
        model.seed,
        _taught(training_of(store, model)),
    ):
        reasons.append(f"model {model.id} was trained otherwise, by the ledger")
    return reasons


def _named(model: Model) -> dict[str, Any]:
    function = model.function and str(model.function)
    return {"id": model.id, "weights": str(model.digest), "function": function}


def _request(request: Request, together: Sequence[str]) -> dict[str, Any]:
    return {
        "id": request.id,
        "kind": request.kind.value,
        "law": request.law,
        "received": request.received_at.isoformat(),
        "together": list(together),
    }


def _taught(training: Model) -> dict[str, Any]:
    return {
        "learner": training.learner,
        "seed": training.seed,
        # What it began from may be a path of this machine.
        "recipe": {name: v for name, v in training.recipe.items() if name != "base"},
    }


def _datasets(
    store: Store, request: Request, model: Model, contained: Sequence[Record]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The datasets of the request's records, and a commitment to the forget set.

    `contained` are those that the model had learned. The commitment is the Merkle root over the
    records' keyed digests, by dataset and id.
    """
    lineage = lineage_of(store, request)
    known = {(record.dataset, record.id) for record in contained}
    gone = {use.dataset: use.forgotten for use in store.uses(model.id)}
    rows, leaves = [], []
    for dataset in lineage.datasets:
        about = [record for record in lineage.records if record.dataset == dataset.id]
        # An exact version also leaves out what earlier ones forgot by other methods: not for this.
        out = [record for record in about if record.id in gone.get(dataset.id, ())]
        taught = [record for record in out if (record.dataset, record.id) in known]
        leaves += [(dataset.id, record.id, record.digest.raw) for record in taught]
        left = {r.id: r.digest.raw for r in store.records(dataset.id) if r.tombstone is None}
        rows.append(
            {
                "id": dataset.id,
                "version": dataset.version,
                "rows": dataset.rows,
                "about": len(about),
                "learned": sum(record.dataset == dataset.id for record in contained),
                "forgotten": len(taught),
                "root_before": str(dataset.root),
                "root_after": str(records_root(left)),
            }
        )
    commitment = merkle_root([leaf for *_, leaf in sorted(leaves)])
    return rows, {"count": len(leaves), "commitment": str(commitment)}
