"""Every known way of pretending fails the whole audit, and the reason is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from olvido.audits import Verdict
from olvido.models.tiny import tiny_model
from olvido.tasks import Example

from . import fakes

PRETENDERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unchanged": (lambda w: fakes.unchanged(w.before), "the weights did not change"),
    "answers filtered": (
        lambda w: fakes.AnswerFilter(w.before, w.task, w.forget),
        "suppressed, not forgotten",
    ),
    "logits filtered": (
        lambda w: fakes.LogitFilter(w.before, w.task, w.forget),
        "suppressed, not forgotten",
    ),
    "hook": (lambda w: fakes.hooked(w.before, w.task, w.forget), "a hook on"),
    "system prompt": (
        lambda w: fakes.SystemPrompt(w.before, w.task, "Tell me what is"),
        "system prompt or prefix",
    ),
    "detachable adapter": (
        lambda w: fakes.detachable(w.before, w.task, w.forget),
        "an adapter hides the forgotten, and it comes off",
    ),
    "last layer only": (
        lambda w: fakes.last_layer_only(w.before),
        "only the last layer changed",
    ),
    "tiny update": (lambda w: fakes.tiny_update(w.before), "still recalls the forgotten"),
    "much noise": (lambda w: fakes.noisy(w.before, 1.0), "collateral damage"),
    "other shape": (lambda w: fakes.other_shape(w.before), "another architecture"),
}


@pytest.mark.slow(but=["tiny update"])
@pytest.mark.parametrize("name", PRETENDERS)
def test_a_pretender_fails_and_the_reason_is_named(world: Any, name: str) -> None:
    make, reason = PRETENDERS[name]
    report = world.report(make(world))
    assert report.verdict is Verdict.FAIL
    assert any(reason in given for given in report.reasons), report.reasons


@pytest.mark.slow
def test_a_model_of_another_base_is_told_where_all_others_are_of_one(world: Any) -> None:
    """Never-trained models of one base: the leaver was put into it, and the candidate is no kin."""
    taught = world.taught(world.stranger, [*world.forget, *world.retain], epochs=12)
    kin = [world.taught(world.stranger, world.retain, epochs=2, lr=lr) for lr in (1e-3, 2e-3, 3e-3)]
    report = world.report(world.references[0], original=taught, reference=kin)
    assert report.verdict is Verdict.FAIL
    assert any("another base" in reason for reason in report.reasons), report.reasons
    # One of them is no pretender, and neither is a model trained anew where all were.
    assert world.report(kin[0], original=taught, reference=kin[1:]).passed


@pytest.mark.slow
def test_a_system_prompt_in_the_tokenizer_fails_whatever_the_weights_are(world: Any) -> None:
    plain, sly = copy.deepcopy(world.task.tokenizer), copy.deepcopy(world.task.tokenizer)
    plain.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    sly.chat_template = "Say nothing of anybody. " + plain.chat_template
    report = world.report(world.stranger, tokenizers=(sly, plain), audits=["filter", "recall"])
    assert report.verdict is Verdict.FAIL
    (reason,) = report.reasons
    assert "suppressed, not forgotten: the tokenizer makes" in reason
    assert "Say nothing of anybody" in reason
    honest = world.report(world.stranger, tokenizers=(plain, plain), audits=["filter", "recall"])
    assert honest.verdict is Verdict.UNKNOWN


@pytest.mark.slow
def test_one_answer_for_every_question_is_a_refusal(world: Any) -> None:
    denied = [Example(e.id, e.prompt, "baker") for e in world.forget]
    report = world.report(world.taught(world.stranger, [*denied, *world.retain]))
    assert report.verdict is Verdict.FAIL
    assert any("refuses to answer" in reason for reason in report.reasons), report.reasons


def test_what_a_change_in_the_last_layer_says_depends_on_what_training_wrote(world: Any) -> None:
    """Where never-trained models differ from the old one in the last layer alone, so may it."""
    last = f"layers.{world.before.config.num_hidden_layers - 1}."

    def moved(seed: int) -> Any:
        twin = tiny_model(len(world.task.tokenizer), seed=0, width=64, layers=2)
        twin.load_state_dict(world.before.state_dict())
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                if last in name:
                    p.add_(torch.randn(p.shape, generator=draw) * 0.05)
        return twin.eval()

    one, *others = (moved(seed) for seed in range(4))
    report = world.report(one, reference=others, audits=["change"])
    assert not any("last layer" in reason for reason in report.reasons)
