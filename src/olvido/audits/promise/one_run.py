"""The door `audit_privacy`: whether a model shows more of its canaries than was promised."""

from __future__ import annotations

from typing import Any

import numpy as np

from olvido.audits.promise.bound import at_least, ceiling, p_value
from olvido.audits.promise.step import examined
from olvido.audits.scoring import ScoredModel
from olvido.errors import InputError, ParameterName, StateError, require_count
from olvido.learners.trained import Trained
from olvido.schemas.privacy import Outcome, PrivacyAudit
from olvido.statistics import LEVEL
from olvido.tasks import Task, task_of
from olvido.training.private.accounting import RELATION, Spent
from olvido.training.private.canaries import Canaries
from olvido.training.traces.private import PrivateRun, private_run

SCORE = "how much smaller the loss is than before the training"
_DOUBLED = 11
"""How often a hundred canaries are doubled before another promise is the better advice."""
_EXAMINED = 6
"""Canaries whose gradients are compared with plain ones."""


def audit_privacy(
    trained: Trained,
    *,
    tokenizer: Any | None = None,
    task: str | type[Task] | Task | None = None,
    guesses: int | None = None,
) -> PrivacyAudit:
    """Try to refute the promise of a private training, from that one training.

    The canaries whose loss fell most are guessed to have taken part, those whose loss fell least to
    have been left out, half of the guesses each; then their coins are read. How many right guesses
    a true promise allows, Steinke et al. 2023 say (see `olvido.audits.promise.bound`). Besides, a
    few steps of the learner, as it is installed here, are compared with what the proof is about.

    A promise that is not refuted is not shown to hold.

    Args:
        trained: a result of `train` with the learner `private` and canaries, also read from disk.
        tokenizer: the model's tokenizer; or pass a `task`.
        task: how records become losses, as it was trained.
        guesses: an even number, chosen before anybody looks; None: half of the canaries. The bound
            does not hold for the best of several numbers.

    Raises:
        InputError: the model was trained without canaries, or there are fewer than guesses.
        StateError: coins, canaries or the weights that the training began with are not there, or
            not the same any more.
    """
    run = private_run(trained.trace)
    thrown = None if run is None else run.canaries
    if run is None or thrown is None:
        raise InputError(
            "there is nothing to audit the promise by: train again with the learner private and "
            "its option ",
            ParameterName("canaries"),
            ", such as 200, and audit that model as the training left it",
        )
    if thrown.coins is None:
        raise StateError(
            "the coins that say which canaries took part are not there: restore canaries.json in "
            "the folder of the model"
        )
    count = 2 * (thrown.count // 4) if guesses is None else guesses
    require_count("guesses", count, least=2, most=thrown.count)
    if count % 2:
        raise InputError(f"guesses must be an even number, half for each side, got {count}")
    return _audited(trained, run, thrown, task_of(tokenizer, task), count)


def _audited(
    trained: Trained, run: PrivateRun, thrown: Canaries, task: Task, count: int
) -> PrivacyAudit:
    assert thrown.coins is not None
    assert run.origin is not None
    made, spent, began = thrown.records(task), run.spent, run.origin.module()
    before, after = (
        np.array([score.loss for score in scored.scores(made)])
        for scored in (ScoredModel(began, task), ScoredModel.of(trained, task))
    )
    fell = before - after
    if not np.isfinite(fell).all():
        raise StateError("the losses of the canaries are not finite: the model is broken")
    # Equal ones stay in their order, which knows nothing of the coins.
    order = np.argsort(-fell, kind="stable")
    there = np.array(thrown.coins.there)
    half = count // 2
    right = int(there[order[:half]].sum() + (~there[order[-half:]]).sum())
    shown = at_least(right, count, thrown.count, spent.delta)
    most = ceiling(count, thrown.count, spent.delta)
    p = p_value(right, count, thrown.count, spent.epsilon, spent.delta)
    steps = examined(began, task, made[:_EXAMINED], spent)
    broken = [step.promise for step in steps if not step.holds]
    refuted = p < 1 - LEVEL or bool(broken)
    return PrivacyAudit(
        outcome=Outcome.REFUTED if refuted else Outcome.NOT_REFUTED,
        model=trained.digest,
        began=run.origin.digest,
        epsilon=spent.epsilon,
        delta=spent.delta,
        unit=spent.unit,
        relation=RELATION,
        canaries=thrown.count,
        there=int(there.sum()),
        guesses=count,
        right=right,
        score=SCORE,
        at_least=shown,
        ceiling=most,
        confidence=LEVEL,
        p=p,
        steps=steps,
        says=_says(refuted, broken, spent, right, count, shown, most),
    )


def enough(epsilon: float, delta: float) -> int | None:
    """Canaries, to the next doubling, half of which can refute an epsilon if all are right."""
    for count in (100 * 2**doubled for doubled in range(_DOUBLED)):
        # As many units make the largest delta smaller.
        known = min(delta, 1 / (10 * count))
        if p_value(count // 2, count // 2, count, epsilon, known) < 1 - LEVEL:
            return count
    return None


def _says(
    refuted: bool,
    broken: list[str],
    spent: Spent,
    right: int,
    count: int,
    shown: float,
    most: float,
) -> str:
    guessed = (
        f"{right} of {count} guesses were right, which shows epsilon {shown:.3g} or more (95% "
        f"confidence), where {spent.epsilon:.3g} was promised at delta {spent.delta:.2g}; all of "
        f"them right would show {most:.3g}"
    )
    if refuted:
        steps = f" Of the learner's step it is not true that {', nor that '.join(broken)}."
        return f"The promise is refuted: {guessed}.{steps if broken else ''}"
    said = f"The promise is not refuted, which does not show that it holds: {guessed}."
    if most <= spent.epsilon:
        wanted = enough(spent.epsilon, spent.delta)
        more = "a smaller epsilon" if wanted is None else f"{wanted} canaries or more"
        said += f" No guesses could have refuted it: train with {more}."
    return said
