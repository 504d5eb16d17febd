"""One training with canaries: a leak is shown, a promise that is kept is not accused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.schemas.published import misfits
from tests.training.private.frauds import FRAUDS, no_noise
from torch import nn

from olvido.audits import audit_privacy
from olvido.audits.promise import one_run
from olvido.audits.promise.bound import at_least, ceiling
from olvido.audits.promise.one_run import enough
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.learners import Private, PrivateRun, Recipe, Trained, train
from olvido.models import load, weights_digest
from olvido.schemas.privacy import Outcome, PrivacyAudit
from olvido.tasks import Example, Labels, Language, examples
from olvido.training.traces.private import private_run

pytest.importorskip("opacus")

TASK = Labels(["a", "b"], shape=(400,))
RECIPE = Recipe(batch_size=20, epochs=20, lr=0.1, optimizer="sgd", beta1=0.0)


def people() -> tuple[Example, ...]:
    draw = np.random.default_rng(0)
    return examples(
        {
            "id": str(n),
            "input": draw.standard_normal(400).astype(np.float32),
            "label": "ab"[n % 2],
            "subject": f"person {n}",
        }
        for n in range(20)
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(400, 2))


def learned(**options: Any) -> Trained:
    about = {"noise": 9.0, "accountant": "rdp", "canaries": 60, **options}
    return train(
        network(), records=people(), task=TASK, recipe=RECIPE, learner=Private(**about), seed=3
    )


@pytest.fixture(scope="module")
def honest() -> Trained:
    return learned()


@pytest.fixture(scope="module")
def noiseless() -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        no_noise(patch)
        return learned(noise_seed=0)


def run_of(trained: Trained) -> PrivateRun:
    run = private_run(trained.trace)
    assert run is not None
    return run


def test_a_promise_that_is_kept_is_not_refuted(honest: Trained) -> None:
    before = honest.digest
    found = audit_privacy(honest, task=TASK)
    assert weights_digest(honest.model) == before
    assert found.outcome is Outcome.NOT_REFUTED
    assert "does not show that it holds" in found.says
    assert (found.canaries, found.guesses) == (60, 30)
    spent = run_of(honest).spent
    assert (found.epsilon, found.delta, found.unit) == (spent.epsilon, spent.delta, "subject")
    assert found.ceiling == ceiling(30, 60, spent.delta)
    assert found.at_least <= found.epsilon < found.ceiling
    assert all(step.holds for step in found.steps)
    assert misfits("privacy-audit", found.to_dict()) == []
    assert PrivacyAudit.read(json.loads(json.dumps(found.to_dict()))) == found


def test_a_training_without_noise_is_refuted_by_guesses_alone(noiseless: Trained) -> None:
    """The fraud is gone where the audit runs, so that no step shows it."""
    found = audit_privacy(noiseless, task=TASK)
    assert all(step.holds for step in found.steps)
    assert found.outcome is Outcome.REFUTED
    assert found.p < 0.05
    assert found.at_least == at_least(found.right, 30, 60, found.delta) > found.epsilon
    assert f"{found.right} of 30 guesses were right" in found.says


@pytest.mark.slow(but=["accumulation_clipped_once"])
@pytest.mark.parametrize("fraud", FRAUDS, ids=lambda fraud: fraud.__name__)
def test_a_fraud_that_is_installed_is_refuted_by_its_step(
    fraud: Any, small: Any, task: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = examples({"prompt": f"Is it {n}?", "completion": "yes"} for n in "abc")
    fraud(monkeypatch)
    made = train(
        small, records=rows, task=task, recipe=Recipe(batch_size=4, epochs=1),
        learner=Private(noise=4.0, accountant="rdp", canaries=6),
    )  # fmt: skip
    found = audit_privacy(made, task=task)
    broken = [step.promise for step in found.steps if not step.holds]
    assert broken
    assert found.outcome is Outcome.REFUTED
    assert all(promise in found.says for promise in broken)


def test_guesses_follow_the_loss_and_not_the_coins(
    honest: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes the coins changes which guesses are right, and no guess."""
    run = run_of(honest)
    assert run.canaries is not None
    assert run.canaries.coins is not None
    flipped = replace(run.canaries.coins, there=tuple(not one for one in run.canaries.coins.there))
    other = replace(run, canaries=replace(run.canaries, coins=flipped))
    one = audit_privacy(honest, task=TASK)
    two = audit_privacy(replace(honest, trace=other), task=TASK)
    assert one.right + two.right == one.guesses
    assert one.there + two.there == one.canaries


def test_canaries_are_units_and_no_records(honest: Trained) -> None:
    run = run_of(honest)
    assert (run.spent.units, run.spent.delta) == (80, 1 / 800)
    assert set(run.present) == {str(n) for n in range(20)}
    # And are foretold as such, before there are any.
    learner = Private(noise=9.0, accountant="rdp", canaries=60)
    assert learner.foretell(people(), RECIPE) == run.spent


def test_who_was_left_out_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other content in their place gives the same bits; in the others' place it does not."""
    first = learned(noise_seed=5)
    canaries = run_of(first).canaries
    assert canaries is not None
    assert canaries.coins is not None
    there = canaries.coins.there

    def exchanged(which: bool) -> Trained:
        from olvido.learners import private
        from olvido.training.private.canaries import canaries as make

        def other(*args: Any, **options: Any) -> tuple[Example, ...]:
            made = make(*args, **options)
            return tuple(
                replace(one, fields={"input": -one.fields["input"]}) if taken is which else one
                for one, taken in zip(made, there, strict=True)
            )

        with monkeypatch.context() as patch:
            patch.setattr(private, "canaries", other)
            return learned(noise_seed=5)

    assert exchanged(False).digest == first.digest
    assert exchanged(True).digest != first.digest


def test_a_promise_above_the_ceiling_says_what_would_do(honest: Trained) -> None:
    found = audit_privacy(honest, task=TASK, guesses=4)
    assert found.ceiling < found.epsilon
    assert "No guesses could have refuted it: train with" in found.says
    wanted = enough(3.0, 1e-4)
    assert wanted is not None
    assert ceiling(wanted // 2, wanted, 1e-4) > 3.0 >= ceiling(wanted // 4, wanted // 2, 1e-4)
    assert enough(50.0, 1e-4) is None


@pytest.mark.slow
def test_it_is_audited_from_disk_too(small: Any, task: Language, tmp_path: Path) -> None:
    rows = examples({"prompt": f"Is it {n}?", "completion": "yes"} for n in "abc")
    made = train(
        small, records=rows, task=task, recipe=Recipe(batch_size=4, epochs=1),
        learner=Private(noise=4.0, accountant="rdp", canaries=20),
    )  # fmt: skip
    small.save_pretrained(tmp_path / "base")
    task.tokenizer.save_pretrained(tmp_path / "base")
    folder = tmp_path / "made"
    made.save(folder, task.tokenizer, base=str(tmp_path / "base"))
    note = (folder / "olvido.json").read_text()
    coins = json.loads((folder / "canaries.json").read_text())
    assert coins["there"] not in note
    assert "canary-" not in note
    tokenizer = load(folder).tokenizer
    back = audit_privacy(Trained.load(folder), tokenizer=tokenizer)
    assert back == audit_privacy(made, task=task).but(steps=back.steps)
    (folder / "canaries.json").write_text(json.dumps(coins | {"there": "1" * 20}))
    with pytest.raises(DigestMismatch, match="coins"):
        Trained.load(folder)
    (folder / "canaries.json").unlink()
    with pytest.raises(StateError, match=r"restore canaries\.json"):
        audit_privacy(Trained.load(folder), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("guesses", "said"), [(0, "at least 2"), (7, "even"), (62, "60"), (1.5, "1.5")]
)
def test_guesses_that_cannot_be_are_refused(honest: Trained, guesses: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        audit_privacy(honest, task=TASK, guesses=guesses)


def test_without_canaries_there_is_nothing_to_audit(honest: Trained) -> None:
    for trained in (learned(canaries=0), Trained.untraced(honest.model)):
        with pytest.raises(InputError, match="canaries"):
            audit_privacy(trained, task=TASK)


@pytest.mark.parametrize(
    ("canaries", "said"), [(-1, "at least 0"), (2.5, "whole"), (True, "whole")]
)
def test_a_number_of_canaries_that_is_none_is_refused(canaries: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        learned(canaries=canaries)


def test_one_person_cannot_hide_among_canaries() -> None:
    with pytest.raises(InputError, match="2 units or more"):
        train(network(), records=people()[:1], task=TASK, recipe=RECIPE,
              learner=Private(noise=9.0, accountant="rdp", canaries=60))  # fmt: skip


def test_a_record_that_is_called_like_a_canary_is_refused() -> None:
    rows = (*people(), replace(people()[0], id="canary-3-7"))
    with pytest.raises(InputError, match="canary-3-7"):
        train(network(), records=rows, task=TASK, recipe=RECIPE, seed=3,
              learner=Private(noise=9.0, accountant="rdp", canaries=60))  # fmt: skip


def test_a_broken_model_is_no_evidence(honest: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        loss = float("nan")

    class Scored:
        def __init__(self, *_: Any) -> None: ...

        of = classmethod(lambda cls, *_: cls())

        def scores(self, records: Sequence[Example]) -> list[Silent]:
            return [Silent()] * len(records)

    monkeypatch.setattr(one_run, "ScoredModel", Scored)
    with pytest.raises(StateError, match="not finite"):
        audit_privacy(honest, task=TASK)
