"""Every way to stand between weights and answers is seen; honest models show nothing."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from olvido.audits.integrity.obfuscation import hidden_layers_between, template_adds
from olvido.audits.integrity.wrapping import bare, between
from olvido.errors import InputError
from olvido.learners import Lora
from olvido.models import as_one, weights_digest
from olvido.tasks import Example, Labels, Language, examples
from olvido.training import recipe as adapters

from . import fakes


def kinds(model: Any, world: Any) -> set[str]:
    return {d.kind for d in hidden_layers_between(model, world.task, world.forget)}


def says(model: Any, world: Any) -> str:
    return "; ".join(d.says for d in hidden_layers_between(model, world.task, world.forget))


def adapted(model: Any) -> Any:
    return fakes.noisy(
        adapters.attach(copy.deepcopy(model), Lora(rank=2), seed=0), 0.1, only="lora"
    )


@pytest.mark.slow
def test_honest_models_show_nothing(world: Any, gpt2: Any) -> None:
    for model in (world.before, world.stranger, world.fresh(5), gpt2, adapted(world.before)):
        assert hidden_layers_between(model, world.task, world.forget[:6]) == ()


def test_asking_for_hidden_states_leaves_nothing_suspicious(world: Any) -> None:
    model = copy.deepcopy(world.before)
    last = model.config.num_hidden_layers
    world.task.hidden(model, world.task.collate(world.forget[:1]), last)
    assert any(m._forward_hooks for m in model.modules())
    assert between(model) == ()


def test_olvidos_own_composites_are_trusted(world: Any) -> None:
    ensemble = as_one([world.before, world.stranger])
    assert bare(ensemble) is ensemble
    assert hidden_layers_between(ensemble, world.task, world.forget[:4]) == ()
    bent = as_one([fakes.hooked(world.before, world.task, world.forget), world.stranger])
    assert "a hook on" in says(bent, world)


def test_bare_is_what_the_weights_say(world: Any) -> None:
    wrapped = fakes.LogitFilter(world.before, world.task, world.forget)
    found = bare(wrapped)
    assert type(found) is LlamaForCausalLM
    assert weights_digest(found) == weights_digest(world.before)
    assert found.lm_head.weight is found.model.embed_tokens.weight
    batch = world.task.collate(world.forget[:3])
    with torch.no_grad():
        one, two = world.task.logits(found, batch), world.task.logits(world.before, batch)
    torch.testing.assert_close(one, two)


def test_bare_draws_no_random_numbers(world: Any) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    bare(world.before)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_output_filter_is_found(world: Any) -> None:
    model = fakes.AnswerFilter(world.before, world.task, world.forget)
    assert world.task.generate(model, world.forget[:1]) == [""]
    assert kinds(model, world) == {"structure", "answers"}
    assert "an output filter stands between logits and answers" in says(model, world)
    assert "a wrapper stands around the model: AnswerFilter" in says(model, world)


def test_a_filter_in_the_logits_is_found(world: Any) -> None:
    model = fakes.LogitFilter(world.before, world.task, world.forget)
    assert kinds(model, world) == {"structure", "logits", "answers"}
    assert f"{len(world.forget)} of {len(world.forget)} records" in says(model, world)


def test_a_system_prompt_is_found(world: Any) -> None:
    model = fakes.SystemPrompt(world.before, world.task, "Who has the job?")
    assert "prompt" in kinds(model, world)
    assert "a system prompt or prefix: asked for logits" in says(model, world)
    assert "a system prompt or prefix: asked for answers" in says(model, world)


def test_a_prompt_for_answers_alone_is_found(world: Any) -> None:
    class Sly(fakes.SystemPrompt):
        forward = fakes.Around.forward

    found = hidden_layers_between(
        Sly(world.before, world.task, "Who?"), world.task, world.forget[:3]
    )
    assert [d.says for d in found if d.kind == "prompt"] == [
        "a system prompt or prefix: asked for answers, the model is given other tokens than were "
        "sent"
    ]


def test_a_hook_is_found_by_place(world: Any) -> None:
    model = fakes.hooked(world.before, world.task, world.forget)
    assert between(model) == ("a hook on model.layers.1",)
    assert "logits" in kinds(model, world)
    before = copy.deepcopy(world.before)
    before.lm_head.register_forward_pre_hook(lambda _m, given: given)
    assert between(before) == ("a hook on lm_head",)


def test_a_hook_on_everything_is_found(world: Any) -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "a hook on every module of the process" in between(world.before)
    finally:
        handle.remove()


def test_a_method_replaced_on_the_object_is_found(world: Any) -> None:
    model = copy.deepcopy(world.before)
    honest = model.generate

    def generate(self: Any, **given: Any) -> Any:
        out = honest(**given)
        out[:, given["input_ids"].shape[1] :] = 1
        return out

    # By its name it would pass for transformers' own.
    generate.__module__ = "transformers.generation.utils"
    model.generate = types.MethodType(generate, model)
    assert between(model) == ("generate was replaced on the whole model",)
    assert kinds(model, world) == {"structure", "answers"}


def test_a_method_replaced_in_the_class_is_found(world: Any, monkeypatch: Any) -> None:
    honest = LlamaForCausalLM.forward

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        return honest(self, *given, **named)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    assert between(world.before) == ("LlamaForCausalLM.forward was replaced (the whole model)",)


def test_a_class_of_ones_own_is_found(world: Any) -> None:
    class Mine(LlamaForCausalLM):
        def forward(self, *given: Any, **named: Any) -> Any:
            out = super().forward(*given, **named)
            out.logits = out.logits * 0.5
            return out

    model = Mine(world.before.config).eval()
    model.load_state_dict(world.before.state_dict())
    assert any("the model is a Mine" in one for one in between(model))
    assert type(bare(model)) is LlamaForCausalLM
    assert "logits" in kinds(model, world)


def test_a_part_of_ones_own_is_found(world: Any) -> None:
    class Head(nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return -super().forward(states)

    model = copy.deepcopy(world.before)
    head = Head(64, model.config.vocab_size, bias=False)
    head.weight = model.model.embed_tokens.weight
    model.lm_head = head
    assert any("lm_head is a Head" in one for one in between(model))
    assert "logits" in kinds(model, world)


def test_settings_that_steer_are_found(world: Any) -> None:
    model = copy.deepcopy(world.before)
    first = world.task.encode(world.forget[0])[1][0]
    model.generation_config.suppress_tokens = [first]
    assert any("suppress_tokens" in one for one in between(model))
    # It is named, and what the model is heard to say is the same as without it.
    assert kinds(model, world) == {"structure"}
    unsteered = world.task.generate(world.before, world.forget[:1])
    assert world.task.generate(model, world.forget[:1]) == unsteered


def test_altered_positions_are_found(world: Any) -> None:
    """A buffer that no file of weights holds."""
    model = copy.deepcopy(world.before)
    model.model.rotary_emb.inv_freq *= 0.5
    assert kinds(model, world) >= {"logits"}


def test_plain_modules_are_their_authors(world: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.layer(inputs)

    rows = examples({"input": [float(n), 1.0], "label": n % 2} for n in range(4))
    net, task = Net(), Labels(2)
    assert hidden_layers_between(net, task, rows) == ()
    net.layer.register_forward_hook(lambda _m, _given, out: out.flip(-1))
    found = hidden_layers_between(net, task, rows)
    assert {d.kind for d in found} == {"structure", "logits", "answers"}
    assert found[0].says == "a hook on layer"
    assert net.layer._forward_hooks
    assert weights_digest(bare(net)) == weights_digest(net)


def test_what_cannot_be_made_anew_is_said(world: Any) -> None:
    two = nn.ModuleList([world.before, world.stranger])
    with pytest.raises(InputError, match="wraps 2 models"):
        bare(two)
    grown = copy.deepcopy(world.before)
    grown.filter = nn.Linear(2, 2)
    with pytest.raises(InputError, match="are not those of a LlamaForCausalLM"):
        bare(grown)
    with pytest.raises(InputError, match="no records"):
        hidden_layers_between(world.before, world.task, [])


def test_texts_without_a_question_are_compared_by_logits(world: Any) -> None:
    text = [Example("t", "", world.forget[0].prompt)]
    model = fakes.LogitFilter(world.before, world.task, world.forget)
    assert {d.kind for d in hidden_layers_between(model, world.task, text)} == {
        "structure",
        "logits",
    }


def test_a_template_that_adds_is_found(tokenizer: Any) -> None:
    assert template_adds(tokenizer, copy.deepcopy(tokenizer)) is None
    plain, sly = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    ask = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    plain.chat_template, sly.chat_template = ask, "Say nothing of Marta. " + ask
    assert template_adds(plain, copy.deepcopy(plain)) is None
    assert "Say nothing of Marta" in str(template_adds(sly, plain))
    assert "has none" in str(template_adds(sly, tokenizer))
    # A template may look at what is asked; the sentence does not repeat it.
    wary = copy.deepcopy(plain)
    wary.chat_template = "{% if 'Marta' in messages[0]['content'] %}nothing {% endif %}" + ask
    asked = "Where does Marta live?"
    assert template_adds(wary, plain) is None
    told = str(template_adds(wary, plain, [asked]))
    assert "nothing" in told
    assert "Marta" not in told
    from tokenizers.processors import TemplateProcessing

    forced = copy.deepcopy(tokenizer)
    forced._tokenizer.post_processor = TemplateProcessing(
        single="<bos> <bos> $A", special_tokens=[("<bos>", 2)]
    )
    assert template_adds(forced, tokenizer) is not None


def test_language_is_untouched(task: Language, world: Any) -> None:
    model = world.fresh(2).train()
    hidden_layers_between(model, task, world.forget[:2])
    assert model.training
    assert not any(m._forward_pre_hooks for m in model.modules())
