"""The entry point `compare_learners()`: the same records learned in several ways, and for each way
what its model can do beside what it keeps of single people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch.nn import Module

from olvido.audits import ScoredModel
from olvido.audits.attacks.membership import loss_attack
from olvido.audits.knowledge.exposure import canaries, exposure, with_alternatives
from olvido.audits.knowledge.extraction import extraction_strength
from olvido.audits.knowledge.recall import exact
from olvido.benchmark.base import Stage, digest_of
from olvido.benchmark.outlook import picture, remarks_on, rows_of, write_page
from olvido.benchmark.ways import row_of
from olvido.errors import (
    InputError,
    MissingExtra,
    MissingNeed,
    OlvidoError,
    ParameterName,
    require_count,
)
from olvido.files import read_document, write, write_document
from olvido.learners import LEARNERS, RECIPES, Learner, Private, Recipe, Watcher, train
from olvido.ledger.facts import PRIVATE
from olvido.models import load, weights_digest
from olvido.registry import plain, settings
from olvido.schemas.comparison import LearnerRow, LearnersDocument
from olvido.statistics import auc
from olvido.tasks import Example, Language, examples
from olvido.tasks.base import Row
from olvido.training.traces.private import spent_by

USUAL = ("monolith", "private@8", "private@3", "private@1")
PLANTED = 16
"""Canaries that are learned, and as many of the same making that are not."""
BEFORE = "before training"
"""The row of the model that every training begins with."""
FILE = "learners.json"
Begin = Callable[[int], tuple[Module, Any]]
"""Makes the model that a training with this seed begins with, and its tokenizer."""


@dataclass(frozen=True)
class Compared:
    """A learner of a comparison, and its row in the table."""

    row: str
    learner: Learner


@dataclass(frozen=True)
class TradeOff:
    """The result of a comparison of learners.

    Attributes:
        document: the full result, as plain values; also `learners.json` in the folder.
        page: the HTML page.
        picture: its chart alone, as SVG. Both are None without the extra `report`.
    """

    document: dict[str, Any]
    page: Path | None
    picture: Path | None


def compare_learners(
    model: str | Path | Module,
    *,
    records: Iterable[Row | Example],
    holdout: Iterable[Row | Example],
    out: Path | str,
    general: Iterable[Row | Example] = (),
    learners: Sequence[str | type[Learner] | Learner] = USUAL,
    tokenizer: Any | None = None,
    recipe: Recipe | None = None,
    seeds: int = 1,
    chat: bool | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    stage: Stage = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> TradeOff:
    """Train on the same records with several learners, and measure what each model keeps.

    Into the records go 16 canaries, each about an invented person of its own. What every private
    training will promise is computed before the first of them begins. Models are not kept. A
    measured run is written when it is done, and an interrupted comparison continues.

    Args:
        model: what every training begins with: a name, a folder, a hub id, or a module.
        records: what is learned; `subject` or `subjects` name the people whom they are about.
        holdout: records of the same kind about other people, which are not learned.
        out: a folder for the results; a new one, or one where this comparison was begun.
        general: common knowledge that is learned too; how much of it is kept shows the quality.
        learners: names, classes or objects; `private@3` is the learner private with epsilon 3.
        tokenizer: of a model that is a module.
        recipe: of all trainings; None: the model's own. `batch_size` counts people where a
            learner draws people.
        seeds: runs of each learner.
        chat: use the tokenizer's chat template; None: where there is one.
        dtype: type of the weights; `device`: their device.
        stage: called with the name of each stage.
        tell: called with what each private training will promise.

    Raises:
        InputError: records that cannot be read, or a learner that cannot promise what it should.
        MissingExtra: no accountant is installed.
        MissingNeed: no records, no holdout, or no tokenizer.
        UnknownName: no such learner.
    """
    out = Path(out)
    wanted = compared(learners)
    require_count(ParameterName("seeds"), seeds, most=1_000)
    sides = {
        "records": examples(records, "records"),
        "holdout": examples(holdout, "holdout"),
        "general": examples(general, "general"),
    }
    for name in ("records", "holdout"):
        if not sides[name]:
            raise MissingNeed(
                "learners are compared on records that are learned and on others of the same kind "
                "that are not: give both (",
                ParameterName(name),
                " is empty)",
            )
    recipe = recipe or RECIPES.get(str(model), Recipe())
    begin = _beginning(model, tokenizer, dtype, device)
    first, words = begin(0)
    task = Language(words, chat=chat)
    kept = tuple({e.id: e for e in (*sides["records"], *sides["general"])}.values())
    _refuse_shared(kept, sides["holdout"], task)
    taught = (*kept, *canaries(PLANTED, 0))
    for one in wanted:
        if isinstance(one.learner, Private):
            tell(f"{one.row} will promise {one.learner.foretell(taught, recipe)}.")
    plan: dict[str, Any] = {
        "model": weights_digest(first),
        "records": {name: digest_of(some, task) for name, some in sides.items()},
        "recipe": dict(recipe.to_dict()),
        "chat": chat,
        "device": device,
    }
    cells, runs = _begun(out, plan), _Runs(begin, kept, sides, recipe, chat)
    asked = [(BEFORE, 0), *((one.row, seed) for seed in range(seeds) for one in wanted)]
    known = {one.row: one.learner for one in wanted}
    done = {(cell["learner"], cell["seed"]) for cell in cells}
    document: dict[str, Any] = {}
    for number, (row, seed) in enumerate(asked, 1):
        if (row, seed) not in done:
            watch = stage(f"{row}, {number} of {len(asked)}")
            cells.append(runs.cell(row, known.get(row), seed, watch))
        document = _document(plan, seeds, sides, cells)
        write_document(document, out / FILE)
    try:
        drawn = picture(document)
        write_page(document, out / "index.html")
    except MissingExtra as error:
        warnings.warn(f"the comparison has no page: {error}", stacklevel=2)
        return TradeOff(document, None, None)
    write(out / "tradeoff.svg", str(drawn))
    return TradeOff(document, out / "index.html", out / "tradeoff.svg")


def compared(learners: Sequence[str | type[Learner] | Learner]) -> list[Compared]:
    """The learners of a comparison.

    Raises:
        UnknownName: no such learner.
        InputError: none, one of them twice, a number behind @ that is no epsilon, or a private one
            without a promise.

    >>> compared(["monolith", "private@3"])[1].learner
    Private(epsilon=3.0)
    """
    found = []
    for given in learners:
        options: dict[str, Any] = {}
        if isinstance(given, str):
            given, at, number = given.partition("@")
            kind = LEARNERS.find(given)
            if at:
                options = {"epsilon": _epsilon(given, kind, number)}
        made = LEARNERS.make(given, options)
        if isinstance(made, Private) and made.epsilon is None and made.noise is None:
            raise InputError(
                f"{PRIVATE} promises nothing without an epsilon: write it behind an @, as "
                f"{PRIVATE}@3"
            )
        name = LEARNERS.name_of(given)
        found.append(
            Compared(
                f"{name}@{number}" if options else row_of(name, plain(settings(made), name)), made
            )
        )
    rows = [one.row for one in found]
    if not rows or len(set(rows)) < len(rows):
        raise InputError(f"give one or more learners, each once, got {rows}")
    return found


def _epsilon(name: str, kind: type[Learner], number: str) -> float:
    """The number behind an @.

    Raises:
        InputError: it is no positive number, or the learner has no epsilon.
    """
    if not issubclass(kind, Private):
        raise InputError(
            f"only {PRIVATE} has an epsilon, and {name}@{number} gives one to {name}: write {name}"
        )
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < np.inf:
        raise InputError(
            f"behind {name}@ stands an epsilon, a positive number such as {name}@3; got {number!r}"
        )
    return value


def _beginning(model: str | Path | Module, tokenizer: Any | None, dtype: str, device: str) -> Begin:
    """Makes the model and the tokenizer that a training with a seed begins with."""
    if not isinstance(model, Module):

        def read(seed: int) -> tuple[Module, Any]:
            loaded = load(model, seed=seed, dtype=dtype, device=device)
            return loaded.model, loaded.tokenizer

        return read
    if tokenizer is None:
        raise MissingNeed(
            "a model that is given as a module needs its ", ParameterName("tokenizer")
        )
    return lambda _: (model, tokenizer)


def _refuse_shared(kept: Sequence[Example], holdout: Sequence[Example], task: Language) -> None:
    """Refuse a holdout that is learned: every measure against it would be of nothing."""
    learned = {task.content(record) for record in kept}
    shared = {record.id for record in kept} & {record.id for record in holdout}
    shared |= {record.id for record in holdout if task.content(record) in learned}
    if shared:
        raise InputError(
            f"{len(shared)} records of the holdout are among those that are learned (such as "
            f"{min(shared)!r}): give records about people of whom nothing is learned"
        )


def _begun(out: Path, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs of a comparison that were done before; a folder of something else is refused."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder: name a new one for the comparison")
    if (out / FILE).exists():
        before = read_document(out / FILE)
        if before["plan"] != plan:
            raise InputError(
                f"{out} holds another comparison (its model, records or recipe are others): name a "
                "new folder"
            )
        return list(before["cells"])
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something else: name a new folder for the comparison")
    return []


@dataclass(frozen=True)
class _Runs:
    """What all trainings of a comparison share."""

    begin: Begin
    kept: Sequence[Example]
    sides: Mapping[str, Sequence[Example]]
    recipe: Recipe
    chat: bool | None

    def cell(
        self, row: str, learner: Learner | None, seed: int, watch: Watcher | None
    ) -> dict[str, Any]:
        """One training, and what is measured of its model."""
        model, words = self.begin(seed)
        task = Language(words, chat=self.chat)
        made = canaries(2 * PLANTED, seed)
        planted, absent = made[:PLANTED], made[PLANTED:]
        found: dict[str, Any] = {"learner": row, "seed": seed, "failure": None, "promise": None}
        if learner is not None:
            try:
                trained = train(
                    model,
                    records=(*self.kept, *planted),
                    task=task,
                    recipe=self.recipe,
                    seed=seed,
                    learner=learner,
                    watch=watch,
                )
            except OlvidoError as error:
                return found | {"failure": str(error), "measured": None}
            model, spent = trained.model, spent_by(trained.trace)
            found["promise"] = None if spent is None else spent.to_dict()
            found["seconds"] = trained.trace.seconds
        return found | {"measured": measured(ScoredModel(model, task), self.sides, planted, absent)}


def measured(
    scored: ScoredModel,
    sides: Mapping[str, Sequence[Example]],
    planted: Sequence[Example],
    absent: Sequence[Example],
) -> dict[str, float | None]:
    """What a model can do, and what it keeps: see `olvido.benchmark.outlook.MEASURES`.

    Args:
        scored: the model.
        sides: records by their names in `compare_learners`.
        planted, absent: canaries that were learned, and others.
    """
    general = sides["general"]
    common = {record.id for record in general}
    people = [record for record in sides["records"] if record.id not in common]
    members = people or list(sides["records"])
    holdout = sides["holdout"]
    # Everything in one pass, so that records of like length share a batch.
    scored.scores([*members, *general, *holdout])
    losses = [np.array(loss_attack(scored, some)) for some in (members, holdout)]
    bits = [fmean(exposure(scored, with_alternatives(some, ()))) for some in (planted, absent)]
    return {
        "general": fmean(exact(scored, general)) if general else None,
        "holdout_loss": -float(losses[1].mean()),
        "extraction": fmean(extraction_strength(scored, members)),
        "extraction_holdout": fmean(extraction_strength(scored, holdout)),
        "membership": auc(*losses),
        "exposure": bits[0],
        "exposure_absent": bits[1],
    }


def _document(
    plan: Mapping[str, Any],
    seeds: int,
    sides: Mapping[str, Sequence[Example]],
    cells: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    rows = rows_of(cells)
    return LearnersDocument(
        plan=dict(plan),
        seeds=seeds,
        records={**{name: len(some) for name, some in sides.items()}, "planted": PLANTED},
        rows=tuple(LearnerRow(**row) for row in rows),
        remarks=tuple(remarks_on(rows, cells)),
        cells=tuple(dict(cell) for cell in cells),
    ).to_dict()
