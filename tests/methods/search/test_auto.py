"""The search: what it takes, what it costs, where it stops, and what it never does twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.errors import InputError, MissingNeed, NothingFits, StateError, UnknownName
from olvido.learners import Progress, Trained
from olvido.methods import METHODS, Outcome, Side, Split, forget, predict, proxies
from olvido.methods.auto import Auto
from olvido.methods.losses.npo import NPO
from olvido.methods.types import Run
from olvido.models import weights_digest
from olvido.tasks import Language


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The rates at which NPO was run."""
    rates: list[float] = []
    run = NPO.run

    def counted(self: NPO, *given: Any, **named: Any) -> Any:
        rates.append(self.recipe.lr)
        return run(self, *given, **named)

    monkeypatch.setattr(NPO, "run", counted)
    return rates


def sought(trained: Trained, split: Split, task: Language, **options: Any) -> Outcome:
    given = {
        "forget": split.forget,
        "retain": split.retain,
        "holdout": split.holdout,
        "task": task,
        "method": "auto",
        **options,
    }
    return forget(trained, **given)


@pytest.fixture(scope="module")
def found(
    trained: Trained, split: Split, task: Language, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    """A search that kept its trials. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("search") / "trials"
    return sought(trained, split, task, trials=str(folder)), folder


def test_the_model_it_takes_is_good_by_every_proxy(
    found: tuple[Outcome, Path], trained: Trained, split: Split, task: Language
) -> None:
    outcome, _ = found
    (taken,) = [trial for trial in outcome.trials if trial.taken]
    assert taken is outcome.trials[-1]
    assert [t.side for t in outcome.trials] == [*([t.side for t in outcome.trials[:-1]]), Side.GOOD]
    assert not any(t.side is Side.GOOD for t in outcome.trials[:-1])
    yardstick = proxies.Yardstick(trained.model, split, task)
    again = yardstick.measure(outcome.model)
    assert again == pytest.approx(taken.proxies)
    assert yardstick.judge(again)[0] is Side.GOOD
    assert outcome.forget_loss[1] == pytest.approx(yardstick.expected.loss, rel=0.15)
    assert outcome.digest == weights_digest(outcome.model) != outcome.before


def test_every_trial_is_counted(found: tuple[Outcome, Path]) -> None:
    outcome, _ = found
    assert outcome.cost.tokens > sum(trial.tokens for trial in outcome.trials)
    assert outcome.cost.seconds is not None
    assert outcome.cost.seconds > sum(trial.seconds for trial in outcome.trials)
    assert outcome.cost.retraining is not None
    written = json.loads(json.dumps(outcome.to_dict()))
    assert len(written["trials"]) == len(outcome.trials)
    assert written["trials"][-1]["taken"]
    assert {"lr", "epochs"} <= set(written["trials"][-1]["options"])
    assert written["guarantee"] == "empirical"


@pytest.mark.slow
def test_a_finished_trial_is_never_done_again(
    found: tuple[Outcome, Path],
    trained: Trained,
    split: Split,
    task: Language,
    tmp_path: Path,
    runs: list[float],
) -> None:
    outcome, folder = found
    shutil.copytree(folder, tmp_path / "trials")
    again = sought(trained, split, task, trials=str(tmp_path / "trials"))
    assert runs == []
    assert again.digest == outcome.digest
    assert again.trials == outcome.trials
    assert again.history == outcome.history
    # What was spent was spent.
    assert again.cost.tokens == pytest.approx(outcome.cost.tokens)
    assert again.cost.seconds is not None
    assert again.cost.seconds > sum(trial.seconds for trial in outcome.trials)
    # Another seed is another search.
    with pytest.raises(NothingFits):
        sought(trained, split, task, trials=str(tmp_path / "trials"), seed=1, within=1e-6)
    # The numbers without the weights: the trial has to be done once more.
    for file in (tmp_path / "trials").glob("*.safetensors"):
        file.unlink()
    assert sought(trained, split, task, trials=str(tmp_path / "trials")).digest == outcome.digest
    assert len(runs) == 1


@pytest.mark.slow
def test_a_search_that_was_cut_off_goes_on_where_it_was(
    trained: Trained,
    split: Split,
    task: Language,
    tmp_path: Path,
    runs: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing fits into such a band, so that every trial is no good.
    monkeypatch.setitem(proxies.BANDS, "loss", proxies.Band(-1e-9, 1e-9, "loss"))
    folder = tmp_path / "trials"
    wanted = {"methods": "npo", "most": 2, "trials": str(folder)}

    def kill(progress: Progress) -> None:
        if len(runs) == 2 and progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sought(trained, split, task, watch=kill, **wanted)
    assert len(runs) == 2
    assert len(list(folder.iterdir())) == 1, "one had finished"
    with pytest.raises(NothingFits, match="none of 2 trials") as caught:
        sought(trained, split, task, **wanted)
    first, second, again = runs
    assert again == second != first
    assert [trial.options["lr"] for trial in caught.value.trials] == [first, second]


@pytest.fixture
def unmoved(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rates at which NPO was asked to run, which here does nothing."""
    rates: list[float] = []

    def run(self: NPO, trained: Trained, *_: Any, **__: Any) -> Run:
        rates.append(self.recipe.lr)
        return Run(trained.model, trained.trace, 1.0, "nothing was done")

    monkeypatch.setattr(NPO, "run", run)
    return rates


@pytest.mark.parametrize(
    ("side", "factor"), [(Side.TOO_LITTLE, 2.0), (Side.TOO_MUCH, 0.5), (Side.HARM, 0.5)]
)
def test_it_goes_down_where_too_much_and_up_where_too_little(
    trained: Trained,
    split: Split,
    task: Language,
    unmoved: list[float],
    monkeypatch: pytest.MonkeyPatch,
    side: Side,
    factor: float,
) -> None:
    monkeypatch.setattr(proxies.Yardstick, "judge", lambda *_: (side, 2.0))
    with pytest.raises(NothingFits):
        sought(trained, split, task, methods="npo", most=2)
    first, second = unmoved
    assert second == pytest.approx(factor * first)


@pytest.mark.slow
def test_the_next_method_is_tried_where_one_does_not_come_near(
    trained: Trained,
    split: Split,
    task: Language,
    unmoved: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = proxies.Yardstick.judge

    def lenient(self: Any, found: Any) -> tuple[Side, float]:
        return judge(self, found) if found["recall"] > 0.1 else (Side.GOOD, 0.0)

    monkeypatch.setattr(proxies.Yardstick, "judge", lenient)
    outcome = sought(trained, split, task, methods="npo,graddiff", most=1)
    assert len(unmoved) == 1
    assert [(t.method, t.side) for t in outcome.trials] == [
        ("npo", Side.TOO_LITTLE),
        ("graddiff", Side.GOOD),
    ]
    assert "graddiff at lr" in outcome.stopped


@pytest.mark.slow
def test_a_trial_that_leads_elsewhere_is_given_up(
    trained: Trained, split: Split, task: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the steps where nothing moves; a few where everything does."""
    for factor, steps, side in ((1e-6, 15, Side.TOO_LITTLE), (1e3, 5, Side.HARM)):
        monkeypatch.setattr(NPO, "base_lr", 1e-4 * factor)
        with pytest.raises(NothingFits) as caught:
            sought(trained, split, task, methods="npo", most=1)
        (trial,) = caught.value.trials
        assert trial.side is side
        given_up, _, rest = trial.stopped.partition(" of ")
        assert given_up.startswith("given up after ")
        assert int(given_up.rpartition(" ")[2]) <= steps
        assert rest.endswith("which lead elsewhere")


def test_when_time_is_up_the_best_is_named_and_nothing_given(
    trained: Trained, split: Split, task: Language, unmoved: list[float]
) -> None:
    with pytest.raises(NothingFits, match=r"The best was npo at lr .*tolerated") as caught:
        sought(trained, split, task, methods="npo", most=1)
    assert len(caught.value.trials) == 1
    ended = "the 1e-06 s there were have passed"
    with pytest.raises(NothingFits, match=ended) as caught:
        sought(trained, split, task, within=1e-6)
    assert caught.value.trials == ()


@pytest.mark.slow
def test_a_never_trained_model_tells_where_to_stop(
    trained: Trained, fresh: Any, split: Split, task: Language
) -> None:
    """One that knows nothing at all stands far off, and is aimed at all the same."""
    aim = proxies.observe(fresh, split.forget, task)
    far = sum(s.loss for s in aim.values()) / len(aim)
    outcome = forget(
        trained,
        forget=split.forget,
        retain=split.retain,
        reference=fresh,
        task=task,
        method="npo",
        lr=3e-4,
        epochs=60,
    )
    assert "reached" in outcome.stopped
    assert outcome.forget_loss[1] == pytest.approx(far, rel=0.15)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"most": 0}, InputError, "most must be at least 1"),
        ({"within": 0.0}, InputError, "above 0"),
        ({"within": float("nan")}, InputError, "above 0"),
        ({"methods": "retrain"}, InputError, "retrain has none"),
        ({"methods": "auto"}, InputError, "auto has none"),
        ({"methods": "npo,arithmetic"}, InputError, "arithmetic does not go by that"),
        ({"methods": "npoo"}, UnknownName, "did you mean 'npo'"),
        ({"methods": ""}, UnknownName, "method ''"),
        ({"regulariser": "nothing"}, UnknownName, "regulariser"),
        ({"lr": 1e-3}, UnknownName, "option of auto"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_anything_runs(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        METHODS.make("auto", options)


def test_it_needs_to_know_where_never_learned_lies(
    trained: Trained, split: Split, task: Language
) -> None:
    with pytest.raises(MissingNeed, match=r"auto needs .*holdout.*reference"):
        sought(trained, split, task, holdout=())
    with pytest.raises(MissingNeed, match="auto needs"):
        predict(trained, Split(split.forget, split.retain), task, method="auto", options={})
    with pytest.raises(MissingNeed, match=r"\(retain\)"):
        sought(trained, split, task, retain=())


def test_the_cost_of_a_trial_is_foretold(
    found: tuple[Outcome, Path], trained: Trained, split: Split, task: Language
) -> None:
    foretold = predict(trained, split, task, method="auto", options={})
    assert foretold.tokens == pytest.approx(found[0].trials[0].tokens, rel=0.5)


def test_trials_that_are_no_trials_are_refused(
    trained: Trained, split: Split, task: Language, found: tuple[Outcome, Path], tmp_path: Path
) -> None:
    shutil.copytree(found[1], tmp_path / "trials")
    for file in (tmp_path / "trials").glob("*.json"):
        file.write_text('{"history": []}')
    with pytest.raises(StateError, match="no finished trial"):
        sought(trained, split, task, trials=str(tmp_path / "trials"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no folder"):
        sought(trained, split, task, trials=str(tmp_path / "file"))


def test_it_is_called_as_a_method_is() -> None:
    assert METHODS["auto"] is Auto
    assert not any(isinstance(p, torch.nn.Module) for p in vars(Auto()).values())
