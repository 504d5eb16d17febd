"""A beginning that texts share is read once, and nothing comes out otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Language
from olvido.tasks.generation import goes_on, once_allowed, reading_once, shared_tokens

LONG = " ".join(f"Carrer de Mallorca {n}, Carrer de Provença {n}." for n in range(10))


@pytest.fixture(autouse=True)
def _nothing_is_learned() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def model(task: Language) -> Any:
    # Larger than life, so that what is wrong shows.
    made = tiny_model(len(task.tokenizer), seed=3, width=64, layers=2).eval()
    made.get_input_embeddings().weight.data.mul_(5)
    return made


def answers(prompt: str, count: int = 5) -> list[Example]:
    return [Example(f"{n}", prompt, "paella " * n + "calçots") for n in range(1, count + 1)]


def logits(task: Language, model: Any, records: list[Example]) -> tuple[torch.Tensor, int]:
    """Of all answers, and how many tokens went through the embeddings."""
    read: list[int] = []
    batch = task.collate(records)
    heard = model.get_input_embeddings().register_forward_hook(
        lambda _m, given, _o: read.append(given[0].numel())
    )
    task.answer_logits(model, batch)  # what is tried once is not counted
    read.clear()
    found = task.answer_logits(model, batch)[0]
    heard.remove()
    return found, sum(read)


def plain(task: Language, model: Any, records: list[Example]) -> torch.Tensor:
    found = []
    for record in records:
        prompt, answer = task.encode(record)
        whole = model(input_ids=torch.tensor([prompt + answer])).logits[0]
        found.append(whole[len(prompt) - 1 : -1])
    return torch.cat(found)


def test_a_long_question_is_read_once_for_all_its_answers(task: Language, model: Any) -> None:
    records = answers(LONG)
    found, read = logits(task, model, records)
    torch.testing.assert_close(found, plain(task, model, records), atol=1e-4, rtol=0)
    batch = task.collate(records)
    shared = shared_tokens(batch)
    assert shared == len(task.encode(records[0])[0]) - 1
    assert read == shared + batch.input_ids[:, shared:].numel() < batch.cost / 2


@pytest.mark.parametrize("other", ["Where", "Mercat"])
def test_questions_that_part_ways_share_what_they_begin_with(
    task: Language, model: Any, other: str
) -> None:
    records = [*answers(LONG), Example("x", f"{LONG} {other} is it?", "paella")]
    found, _ = logits(task, model, records)
    torch.testing.assert_close(found, plain(task, model, records), atol=1e-4, rtol=0)


def test_answers_that_begin_alike_are_all_asked_for(task: Language) -> None:
    """The first answer token is read off the last token that is shared."""
    batch = task.collate([Example("a", LONG, "paella"), *answers(LONG)])
    first = int((batch.targets != -100).int().argmax(dim=1).min())
    assert shared_tokens(batch) == first - 1


def test_what_saves_little_is_read_as_ever(task: Language, model: Any) -> None:
    for records in (answers("Where is it?"), answers(LONG, 1), [Example("p", "", LONG)]):
        assert shared_tokens(task.collate(records)) == 0
    batch = task.collate(answers("Where is it?"))
    assert logits(task, model, answers("Where is it?"))[1] == batch.cost


def test_what_is_learned_from_is_read_whole(task: Language, model: Any) -> None:
    records = answers(LONG)
    with torch.enable_grad():
        found, read = logits(task, model, records)
    assert read == task.collate(records).cost
    assert found.requires_grad


def gradients(task: Language, model: Any, records: list[Example]) -> list[torch.Tensor]:
    """Of all weights, by different weights for each token's loss; the model is in training."""
    with torch.enable_grad():
        model.train().zero_grad()
        found, targets, _ = task.answer_logits(model, task.collate(records))
        losses = torch.nn.functional.cross_entropy(found, targets, reduction="none")
        (losses * torch.linspace(0.5, 2, len(losses))).sum().backward()
    model.eval()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_a_method_reads_a_beginning_once_with_the_same_gradient(
    task: Language, model: Any, gpt2: Any
) -> None:
    short = " ".join(["paella", "trinxat"] * 20)
    for one, records in ((model, answers(LONG)), (gpt2, answers(short))):
        for module in one.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for name in [name for name in vars(one.config) if name.endswith(("pdrop", "dropout"))]:
            setattr(one.config, name, 0.0)
        whole = gradients(task, one, records)
        heard: list[int] = []
        hook = one.get_input_embeddings().register_forward_hook(
            lambda _m, given, _o, heard=heard: heard.append(given[0].numel())
        )
        with reading_once():
            once = gradients(task, one, records)
        hook.remove()
        # The last two passes: the beginning, and the rest.
        assert sum(heard[-2:]) < task.collate(records).cost / 2
        assert len(whole) == len(once) == len(list(one.parameters()))
        size = torch.cat([g.flatten() for g in whole]).norm()
        apart = torch.cat([(a - b).flatten() for a, b in zip(whole, once, strict=True)]).norm()
        assert apart <= 1e-5 * size


def test_what_chance_drops_or_checkpoints_compute_again_is_read_whole(
    task: Language, model: Any
) -> None:
    records = answers(LONG)
    batch = task.collate(records)
    model.add_module("chance", torch.nn.Dropout(0.1))
    with torch.enable_grad(), reading_once():
        assert once_allowed(model.eval())
        assert not once_allowed(model.train())
        assert logits(task, model, records)[1] == batch.cost
        model.chance.p = 0.0
        assert once_allowed(model)
        model.config.attention_dropout = 0.1
        assert not once_allowed(model)
        model.config.attention_dropout = 0.0
        model.activation_checkpointing_enable()
        assert not once_allowed(model)


def test_a_model_that_forgets_what_it_read_is_asked_the_long_way(
    task: Language, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the way of going on, a wrong value never comes out of it."""
    body, records = model.base_model, answers(LONG)
    truth = plain(task, model, records)
    forward = type(body).forward

    def forgetful(self: Any, *args: Any, past_key_values: Any = None, **more: Any) -> Any:
        if past_key_values is not None:
            more["attention_mask"] = more["attention_mask"][:, -more["input_ids"].shape[1] :]
        return forward(self, *args, **more)

    monkeypatch.setattr(type(body), "forward", forgetful)
    batch = task.collate(records)
    assert not goes_on(body, batch, shared_tokens(batch))
    found = Language(task.tokenizer).answer_logits(model, batch)[0]
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)


def test_other_architectures_go_on_as_well(task: Language, gpt2: Any) -> None:
    long = " ".join(["paella", "trinxat"] * 20)
    records = [Example(f"{n}", long, "calçots " * (n % 5 + 1)) for n in range(16)]
    batch = task.collate(records)
    assert shared_tokens(batch) > 0
    found, read = logits(task, gpt2, records)
    torch.testing.assert_close(found, plain(task, gpt2, records), atol=1e-4, rtol=0)
    assert read < batch.cost
