"""One leaves after another: the last forgetting is as good as the first, and nobody comes back."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.learners import Trained
from olvido.methods import forget
from olvido.methods.gradient.calibration import holdout_losses
from olvido.methods.proxies import observe
from olvido.tasks import Example, Language, examples

LEAVERS = 4


def said(model: Any, records: tuple[Example, ...], task: Language) -> float:
    """Share of the records that the model would say."""
    return fmean(seen.recalled for seen in observe(model, records, task).values())


@pytest.mark.slow
def test_the_last_of_many_forgettings_is_as_good_as_the_first(
    trained: Trained, town: Town, learned: tuple[Example, ...], task: Language
) -> None:
    data_subjects = town.residents[:LEAVERS]
    holdout_losses = [row for person in town.outsiders for row in town.rows_of(person)]
    of = {person: examples(town.rows_of(person)) for person in data_subjects}
    # What nobody was taught is said by chance: a job, a dish.
    chance = said(trained.model, examples(holdout_losses), task)
    now, gone = trained, set[str]()
    for person in data_subjects:
        gone |= {record.id for record in of[person]}
        outcome = forget(
            now,
            forget=of[person],
            retain=[record for record in learned if record.id not in gone],
            holdout=holdout_losses,
            task=task,
            method="npo",
            lr=4e-4,
        )
        now = Trained(outcome.model, outcome.digest, outcome.trace)
        assert said(now.model, of[person], task) <= chance + 0.1, person.number
        assert outcome.retain_loss[1] < 0.1
    for person in data_subjects:
        assert said(now.model, of[person], task) <= chance + 0.1, f"{person.number} is back"
    retain_count = tuple(record for record in learned if record.id not in gone)
    assert said(now.model, retain_count, task) >= said(trained.model, retain_count, task) - 0.02
    assert now.trace.leaving(()) == (trained.trace, gone)
    assert gone.isdisjoint(now.trace.present)


@pytest.mark.slow
def test_every_forgetting_aims_at_what_strangers_were_to_the_model_as_it_was_trained(
    trained: Trained, town: Town, learned: tuple[Example, ...], task: Language
) -> None:
    first = examples(town.rows_of(town.residents[0]))
    own = {record.id for record in first}
    met = examples(row for person in town.outsiders[::2] for row in town.rows_of(person))
    new = examples(row for person in town.outsiders[1::2] for row in town.rows_of(person))
    once = forget(
        trained,
        forget=first,
        retain=[record for record in learned if record.id not in own],
        holdout=met,
        task=task,
        lr=4e-4,
    )
    after = Trained(once.model, once.digest, once.trace)
    before = holdout_losses(trained, met, task)
    as_it_is = holdout_losses(Trained.untraced(once.model), met, task)
    assert all(abs(as_it_is[i] - loss) > 1e-3 for i, loss in before.items())
    assert holdout_losses(after, met, task) == before
    # Told by content, and of whom nothing is remembered what the model says now.
    renamed = [Example("x" + r.id, r.prompt, r.completion, r.fields) for r in met]
    assert holdout_losses(after, renamed, task) == {"x" + i: loss for i, loss in before.items()}
    assert holdout_losses(after, new, task) == holdout_losses(
        Trained.untraced(once.model), new, task
    )
    assert once.trace.previous == trained.trace


@pytest.mark.slow
def test_who_left_before_may_not_be_kept(
    trained: Trained, town: Town, learned: tuple[Example, ...], task: Language
) -> None:
    """A regulariser on them would teach them again: so it does, which is why the flow leaves them
    out."""
    first, second = (examples(town.rows_of(person)) for person in town.residents[:2])
    own = {record.id for record in (*first, *second)}
    others = tuple(record for record in learned if record.id not in own)
    holdout_losses = [row for person in town.outsiders for row in town.rows_of(person)]
    given: dict[str, Any] = {"holdout": holdout_losses, "task": task, "method": "npo", "lr": 4e-4}
    once = forget(trained, forget=first, retain=(*others, *second), **given)
    right = forget(once.model, forget=second, retain=others, **given)
    wrong = forget(once.model, forget=second, retain=(*others, *first), **given)
    assert said(right.model, first, task) < 0.2
    assert said(wrong.model, first, task) > 0.5
