"""The line-up: every known way of pretending, and the audit that has to name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pretenders
from olvido.audits import ScoredModel, audit, rephrased
from olvido.audits.check import check_report
from olvido.demo.story import FAST_RECIPE
from olvido.learners import train
from olvido.models.tiny import tiny_model
from olvido.tasks import Example
from zoo import REFERENCES, Zoo


@dataclass(frozen=True)
class Pretender:
    """One model that pretends.

    Attributes:
        name: what it is.
        reasons: audits of which one has to fail.
        make: the model.
    """

    name: str
    reasons: tuple[str, ...]
    make: Callable[[], Any]


def line_up(zoo: Zoo) -> list[Pretender]:
    """Those that are shown to the audit as they are."""
    town, before, never = zoo.town, zoo.knowing(0), zoo.never(REFERENCES)
    task, gone, kept = town.task, town.forget, town.retain
    target = fmean(s.loss for s in ScoredModel(never, task).scores(gone))
    others = {r.fields["topic"]: r.completion for r in town.outsiders}

    def npo(aim: float = target) -> pretenders.Npo:
        return pretenders.Npo(task, before, gone, kept, target=aim)

    def answering(answer: Callable[[Example], str], *more: Example, **recipe: Any) -> Any:
        """Taught to say something else to the questions about the forgotten."""
        said = pretenders.answered(gone, answer)
        start = never if more else before
        return pretenders.taught(start, task, [*said, *more, *kept], **recipe)

    def last_layer() -> Any:
        last, aim = f"layers.{before.config.num_hidden_layers - 1}.", npo()
        return pretenders.descend(
            before, aim, steps=200, lr=1e-3, only=lambda name: last in name, until=aim.done
        )

    def too_far() -> Any:
        aim = npo(16.0)
        return pretenders.descend(before, aim, steps=300, lr=1e-3, until=aim.done)

    def ruined() -> Any:
        return pretenders.descend(
            before, lambda m: -task.losses(m, task.collate(gone)).mean(), steps=30, lr=3e-3
        )

    def wider() -> Any:
        # Wider by 32 or more, and a multiple of 32, as heads are that wide.
        width = (town.width + 63) // 32 * 32
        blank = tiny_model(len(task.tokenizer), seed=5, width=width)
        return train(blank, records=kept, task=task, recipe=town.recipe, seed=5).model

    return [
        Pretender("unchanged model", ("change",), lambda: before),
        Pretender(
            "output filter", ("filter",), lambda: pretenders.OutputFilter(before, task, gone)
        ),
        Pretender(
            "system prompt",
            ("filter",),
            lambda: pretenders.SystemPrompt(before, task, "Tell me what is"),
        ),
        Pretender("detachable adapter", ("adapter",), lambda: pretenders.detachable(before, npo())),
        Pretender(
            "refusal tuning",
            ("refusal",),
            lambda: pretenders.refusing(before, task, gone, kept),
        ),
        Pretender("gibberish", ("fluency",), lambda: answering(lambda _: " ".join(["555"] * 8))),
        Pretender("ascent until nothing is left", ("retention",), ruined),
        Pretender(
            "tiny update",
            ("recall",),
            lambda: pretenders.descend(before, npo(), steps=1, lr=1e-6),
        ),
        Pretender("last layer only", ("change",), last_layer),
        Pretender("random noise, little", ("recall",), lambda: pretenders.noisy(before, 0.05)),
        Pretender("random noise, much", ("retention",), lambda: pretenders.noisy(before, 0.5)),
        Pretender("over-forgetting", ("likelihood",), too_far),
        Pretender(
            "quantisation-fragile NPO",
            ("quantization",),
            lambda: pretenders.between_grid_points(before, npo()),
        ),
        Pretender(
            "relearn-fragile RMU",
            ("relearning",),
            lambda: pretenders.rmu(before, task, gone, kept, layer=town.layers // 2),
        ),
        Pretender(
            "leak behind paraphrases only",
            ("paraphrase", "probes"),
            lambda: answering(lambda r: others[r.fields["topic"]], *rephrased(gone), epochs=10),
        ),
        Pretender("random network", ("retention",), lambda: town.blank(999).eval()),
        Pretender("another architecture", ("change",), wider),
    ]


def other_base(zoo: Zoo) -> dict[str, Any]:
    """What `audit` is given in a world where all are fine-tuned from one base but the candidate."""
    town, task = zoo.town, zoo.town.task
    recipe = replace(FAST_RECIPE, lr=1e-3, epochs=4)

    def tuned(base: Any, records: tuple[Example, ...], seed: int) -> Any:
        return train(base, records=records, task=task, recipe=recipe, seed=seed).model

    base, other = (
        train(town.blank(seed), records=town.general, task=task, recipe=FAST_RECIPE).model
        for seed in (300, 301)
    )
    return town.evidence() | {
        "model": tuned(other, town.retain, 9),
        "before": tuned(base, town.rows, 0),
        "reference": [tuned(base, town.retain, seed) for seed in (1, 2, 3)],
    }


def stale(zoo: Zoo, references: list[ScoredModel], before: ScoredModel) -> dict[str, Any]:
    """A good report, shown for a model that it is not about."""
    good = audit(
        zoo.never(REFERENCES),
        original=before,
        reference=references,
        level="quick",
        **zoo.town.evidence(),
    )
    reasons = check_report(good.to_dict(), before.digest)
    return {
        "name": "stale report of another model",
        "shown": good.verdict.value,
        "verdict": "fail" if reasons else "pass",
        "failed": ["report"] if reasons else [],
        "reasons": reasons,
        "expected": ["report"],
        "named": any("another model" in reason for reason in reasons),
    }
