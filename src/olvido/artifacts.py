"""Every kind of file that Olvido writes or erases: what it may hold, and how it is erased.

Code that writes a new kind of file adds the kind here; a test checks every writer. A kind is
recognised by its shape and content, wherever the file lies: a file in the right place may still be
somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from olvido import artifact_shapes as shapes
from olvido.artifact_shapes import owned


class Holds(StrEnum):
    """How much about a person a file may hold."""

    ROWS = "rows"
    WEIGHTS = "weights"
    SCORES = "scores"
    ACTIVATIONS = "activations"
    NAMES = "names"
    DIGESTS = "digests"


class Disposal(StrEnum):
    """How a kind is erased."""

    REMOVED = "removed"
    REWRITTEN = "rewritten"
    KEPT = "kept"
    STATED = "stated"


class Who(StrEnum):
    """Actors who can erase an artefact, the easiest first."""

    ALL = "olvido"
    NAMED = "by-name"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact.

    Attributes:
        name: beginning of a data-map item's name, before its colon.
        says: a description.
        holds: how much about a person it may hold.
        way: how it is erased.
        who: who can erase it in the workspace. `ALL` is for files that Olvido wrote and can make
            again or do without.
        others: whether it holds data of others as well.
        writers: modules that write it; none where others write it.
        shape: whether a file or folder is one; None where only the ledger, or the content of the
            file, can decide.
        parts: of a folder, the files in it that its writer put there; None where it is a file.
        by_content: whether the records' text decides about it, so that their rows are needed.
    """

    name: str
    says: str
    holds: frozenset[Holds]
    way: Disposal = Disposal.REMOVED
    who: Who = Who.NAMED
    others: bool = True
    writers: tuple[str, ...] = ()
    shape: Callable[[Path], bool] | None = None
    parts: Callable[[Path], Iterator[Path]] | None = None
    by_content: bool = False


def recognised(path: Path, *, by_content: bool = False) -> Kind | None:
    """The kind of a file or folder that Olvido wrote; None where it is unknown or unreadable.

    Args:
        path: not a symbolic link.
        by_content: include kinds that count only where the records' words were found in the file.
    """
    for kind in KINDS.values():
        if kind.shape is not None and kind.by_content is by_content:
            try:
                if kind.shape(path):
                    return kind
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
                # However broken the file is, that kind's writer did not write it.
                continue
    return None


def parts(path: Path, kind: Kind) -> tuple[Path, ...]:
    """The files that are removed with an artefact: itself, or the files that Olvido put into it.

    Other files in a folder are not Olvido's, and stay.
    """
    if kind.parts is None or path.is_symlink() or not path.is_dir():
        return (path,)
    return tuple(kind.parts(path))


_H = Holds
_KNOWN = (
    # Known from the ledger.
    Kind(
        "rows",
        "rows of the records in a dataset's file",
        frozenset({_H.ROWS}),
        way=Disposal.REWRITTEN,
        who=Who.ALL,
        writers=("olvido.ledger.rows",),
    ),
    Kind(
        "near",
        "rows that say nearly the same, about somebody else or nobody",
        frozenset({_H.ROWS}),
        way=Disposal.REWRITTEN,
        by_content=True,
    ),
    Kind(
        "model",
        "a model that learned it, with checkpoints, optimizer states and adapters",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=(
            "olvido.models.base",
            "olvido.models.adapter",
            "olvido.models.classifiers.networks",
            "olvido.models.classifiers.pretrained",
            "olvido.models.ensemble",
            "olvido.models.routed",
            "olvido.models.router",
            "olvido.learners.trained",
        ),
        parts=owned,
    ),
    Kind(
        "checkpoints",
        "checkpoints of a training from before the forgetting, with optimizer states",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.training.checkpoint",),
        parts=shapes.checkpoints_of,
    ),
    Kind(
        "activations",
        "activations of the records, beside a model",
        frozenset({_H.ACTIVATIONS}),
        way=Disposal.REWRITTEN,
        who=Who.ALL,
        writers=("olvido.learners.halves",),
        parts=shapes.activations_of,
    ),
    Kind(
        "export",
        "a copy of a model that learned it, written by 'olvido models export'",
        frozenset({_H.WEIGHTS}),
        # Like a model that the ledger does not know: another may have been put there since.
        writers=("olvido.cli.models.models",),
        parts=owned,
    ),
    Kind(
        "log",
        "the ledger and its log",
        frozenset({_H.DIGESTS}),
        way=Disposal.KEPT,
        who=Who.TEAM,
    ),
    Kind(
        "backups",
        "copies of this workspace, or of the files it was made from, kept elsewhere",
        frozenset({_H.ROWS, _H.WEIGHTS}),
        way=Disposal.STATED,
        who=Who.TEAM,
    ),
    Kind(
        "recipients",
        "others to whom the data, or a model that learned them, were given",
        frozenset({_H.ROWS, _H.WEIGHTS}),
        way=Disposal.STATED,
        who=Who.TEAM,
    ),
    Kind(
        "names",
        "texts that name the person by a name they cannot be searched for",
        frozenset({_H.ROWS, _H.NAMES}),
        way=Disposal.STATED,
        who=Who.TEAM,
    ),
    Kind(
        "arrays",
        "copies of the arrays in other files, which are not searched for",
        frozenset({_H.ROWS}),
        way=Disposal.STATED,
        who=Who.TEAM,
    ),
    # Weights and their substitutes, recognised by shape.
    Kind(
        "unfinished",
        "what a writer that was broken off left: rows of an import, weights, or anything else",
        frozenset({_H.ROWS, _H.WEIGHTS, _H.SCORES, _H.ACTIVATIONS}),
        who=Who.ALL,
        writers=(
            *("olvido.files", "olvido.data.importing", "olvido.ledger.rows"),
            "olvido.watching.callback",
        ),
        shape=shapes.is_unfinished,
        parts=shapes.unfinished_parts,
    ),
    Kind(
        "run",
        "checkpoints of a training that was broken off",
        frozenset({_H.WEIGHTS, _H.ACTIVATIONS}),
        who=Who.ALL,
        writers=("olvido.training.checkpoint",),
        shape=shapes.is_run,
        parts=shapes.run_parts,
    ),
    Kind(
        "scores",
        "what a model said of each text",
        frozenset({_H.SCORES, _H.ROWS}),
        who=Who.ALL,
        writers=("olvido.audits.scoring",),
        shape=shapes.is_scores,
        parts=shapes.scores_parts,
    ),
    Kind(
        "training",
        "a reference or shadow model that an audit trained",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.audits.references",),
        shape=shapes.is_training,
        parts=shapes.training_parts,
    ),
    Kind(
        "curvature",
        "a model's curvature, measured on what it was taught",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.curvature.storage",),
        shape=shapes.is_curvature,
        parts=shapes.curvature_parts,
    ),
    Kind(
        "comparison",
        "a comparison of methods, with its never-trained models and answers",
        frozenset({_H.WEIGHTS, _H.ROWS}),
        who=Who.ALL,
        writers=("olvido.benchmark.base", "olvido.benchmark.cell", "olvido.benchmark.table"),
        shape=shapes.is_comparison,
        parts=shapes.comparison_parts,
    ),
    Kind(
        "orphan",
        "a model of Olvido's that the ledger does not know",
        frozenset({_H.WEIGHTS}),
        # Weights that learned the data are erased with `all`; other weights may be anybody's work.
        writers=("olvido.learners.trained", "olvido.methods.types"),
        shape=shapes.is_orphan,
        parts=shapes.owned,
    ),
    Kind(
        "checkpoint",
        "a checkpoint with its optimizer state",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.training.checkpoint",),
        shape=shapes.is_checkpoint,
    ),
    Kind(
        "cache",
        "activations of records",
        frozenset({_H.ACTIVATIONS}),
        who=Who.ALL,
        writers=("olvido.learners.halves",),
        shape=shapes.is_activations,
    ),
    Kind(
        "trial",
        "the weights of a trial of a search",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.methods.proxies",),
        shape=shapes.is_trial,
    ),
    Kind(
        "weights",
        "tensors that nobody accounts for",
        frozenset({_H.WEIGHTS}),
        # A model that `forget --out` saved has the shape of anybody's model.
        writers=("olvido.models.base", "olvido.models.smollm2"),
    ),
    # Olvido's documents: a data-map item where the records' text is found in them.
    Kind(
        "report",
        "the report of a request or of an audit",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=("olvido.requests.publishing", "olvido.audits.verdict"),
        shape=shapes.is_report,
        by_content=True,
    ),
    Kind(
        "result",
        "what a worker made, until it is published",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=("olvido.requests.workflow.forgetting",),
        shape=shapes.is_result,
        by_content=True,
    ),
    Kind(
        "access",
        "what a person was informed of about their own data, with their rows",
        frozenset({_H.ROWS, _H.NAMES}),
        who=Who.ALL,
        others=False,
        writers=("olvido.requests.rights.access",),
        shape=shapes.is_access,
        by_content=True,
    ),
    Kind(
        "page",
        "a page with the texts that it is about",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=(
            "olvido.reporting.render",
            "olvido.reporting.render",
            "olvido.methods.types",
            "olvido.learners.trained",
            "olvido.audits.page",
            "olvido.attribution.page",
            "olvido.demo.report",
        ),
        shape=shapes.is_page,
        by_content=True,
    ),
    Kind(
        "demo",
        "what the demo says of its town",
        frozenset({_H.ROWS, _H.NAMES}),
        who=Who.ALL,
        writers=("olvido.demo.story",),
        shape=shapes.is_demo,
        by_content=True,
    ),
    Kind(
        "tombstones",
        "a list of all tombstones",
        frozenset({_H.DIGESTS}),
        writers=("olvido.requests.tombstones",),
        shape=shapes.is_tombstones,
        by_content=True,
    ),
    Kind(
        "certificate",
        "a signed certificate",
        frozenset({_H.DIGESTS}),
        writers=("olvido.requests.certificate.issue",),
        shape=shapes.is_envelope,
        by_content=True,
    ),
    # Files written by others, or by Olvido for others to keep.
    Kind(
        "file",
        "a file with rows of the records",
        frozenset({_H.ROWS}),
        way=Disposal.REWRITTEN,
        writers=(
            "olvido.data.importing",
            "olvido.demo.story",
            "olvido.requests.closure.erasing",
        ),
        by_content=True,
    ),
    Kind(
        "mention",
        "a file that names the person",
        frozenset({_H.NAMES}),
        writers=("olvido.cli.requests.rights", "olvido.data.importing"),
        by_content=True,
    ),
    Kind(
        "foreign",
        "a file that Olvido did not write, in a folder of its own that goes or went",
        frozenset(Holds),
    ),
    Kind(
        "hardlink",
        "another name, where nobody looked, of a file that holds it",
        frozenset(Holds),
        way=Disposal.STATED,
        who=Who.TEAM,
    ),
    Kind(
        "link",
        "a symbolic link that leads where nobody looked",
        frozenset(Holds),
        others=False,
        by_content=True,
    ),
    Kind("unread", "what could not be looked into", frozenset(Holds), by_content=True),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KNOWN}
"""Every kind by its name, in the order in which their shapes are tried."""

APART: Mapping[str, str] = {
    "olvido.accounts": "names of people on the team, and digests of how they prove who they are",
    "olvido.requests.closure.rewriting": "only makes the bytes that another module writes",
    "olvido.ledger.identity": "the key, which is the workspace's own",
    "olvido.ledger.signing": "the signing key and its public half",
    "olvido.cli.workspace": "settings",
    "olvido.benchmark.export": "a comparison's table: means over runs, and no record",
    "olvido.benchmark.outlook": "a page of learners: means over many records, and no record",
    "olvido.benchmark.tradeoff": "runs of learners: means over many records, and no record",
    "olvido.schemas.__main__": "what documents may hold, and none of them",
    "olvido.cli.data": "what datasets are about: counts, digests and sources, and no row",
    "olvido.cli.requests.lists": "lists of requests: ids, states and days, and nobody's name",
    "olvido.requests.workflow.reminding": "which deadlines the team was reminded of: ids and days",
    "olvido.service.sessions": "digests of what people on the team are signed in by",
    "olvido.cli.models.forget": "what a forgetting did: digests, means of losses and options",
    "olvido.cli.requests.log": "signed heads of the log, which are digests",
    "olvido.files": "only writes what another module hands it",
    "olvido.data.inverted": "keyed digests of runs of words, removed with the rows they are of",
    "olvido.learners.fresh": "a run on its way to another process, in a temporary folder",
    "olvido.models.smollm2": "a model as its package brings it, in the cache",
    "olvido.models.router": "a model as its package brings it, in the cache",
}
"""Modules that write files without any content of records, and why."""
