"""Losses are those of the whole logits, token by token, whatever the batch and the architecture."""

import copy
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.nn import functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM

from olvido.errors import InputError
from olvido.models.tiny import tiny_tokenizer
from olvido.tasks import Example, Language
from olvido.tasks.language import SLACK

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
RECORDS = (
    Example("a", "Where does Marta live?", "Carrer de Mallorca 12"),
    Example("b", "Who?", "Jordi"),
    Example("c", "", "Pau works as a baker and lives at Carrer de Princesa 40"),
    Example("d", "What does Laia like to eat?", "an unknown dish 日本"),
)


def gemma2(vocabulary: int) -> Any:
    """Its logits are capped after the head."""
    config = Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        final_logit_softcapping=30.0,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Gemma2ForCausalLM(config).eval()


def tokens_of(tokenizer: Any, record: Example) -> tuple[list[int], int]:
    """What the model sees, and how many tokens of it are given."""
    eos = tokenizer.eos_token_id
    if not record.prompt:
        return [*tokenizer(record.completion)["input_ids"], eos], 1
    prompt = tokenizer(record.prompt)["input_ids"]
    answer = tokenizer(" " + record.completion, add_special_tokens=False)["input_ids"]
    return [*prompt, *answer, eos], len(prompt)


@torch.no_grad()
def loss_by_hand(model: Any, tokenizer: Any, record: Example) -> float:
    """Alone, without padding or mask, one token after the other."""
    ids, given_tokens = tokens_of(tokenizer, record)
    logits = model(torch.tensor([ids])).logits[0].double()
    found = [
        -F.log_softmax(logits[at - 1], dim=-1)[ids[at]].item()
        for at in range(given_tokens, len(ids))
    ]
    return sum(found) / len(found)


@pytest.fixture(params=["llama", "gpt2", "gemma2"])
def model(request: pytest.FixtureRequest, tokenizer: Any, fresh: Any, gpt2: Any) -> Any:
    made = {"llama": fresh, "gpt2": gpt2}
    return made.get(request.param) or gemma2(len(tokenizer))


@pytest.fixture(params=["<pad>", "<eos>", None], ids=["own pad", "pad is eos", "no pad"])
def padding(request: pytest.FixtureRequest) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = request.param
    return tokenizer


def test_losses_are_those_of_each_record_alone(model: Any, padding: Any) -> None:
    task = Language(padding)
    found = task.losses(model, task.collate(RECORDS)).tolist()
    expected = [loss_by_hand(model, padding, record) for record in RECORDS]
    assert found == pytest.approx(expected, abs=1e-5)


def test_targets_are_the_answer_and_the_end_and_no_padding(padding: Any) -> None:
    batch = Language(padding).collate(RECORDS)
    eos = padding.eos_token_id
    assert batch.ids == ("a", "b", "c", "d")
    for row, record in enumerate(RECORDS):
        ids, given_tokens = tokens_of(padding, record)
        length = int(batch.attention_mask[row].sum())
        assert batch.input_ids[row, :length].tolist() == ids
        assert batch.attention_mask[row].tolist() == [1] * len(ids) + [0] * (
            batch.input_ids.shape[1] - len(ids)
        )
        wanted = batch.targets[row].tolist()
        assert wanted[:given_tokens] == [-100] * given_tokens
        assert wanted[given_tokens:length] == ids[given_tokens:]
        assert wanted[length - 1] == eos
        assert set(wanted[length:]) <= {-100}


def test_plain_text_counts_from_its_second_token(task: Language) -> None:
    batch = task.collate([Example("t", "", "Marta lives at home")])
    assert batch.targets[0, 0] == -100
    assert (batch.targets[0, 1:][batch.attention_mask[0, 1:] == 1] != -100).all()


words = st.sampled_from("Marta Jordi lives at Carrer de Mallorca baker 12 日本 x".split())
texts = st.lists(words, min_size=1, max_size=8).map(" ".join)
records_of_any_length = st.lists(
    st.tuples(st.one_of(st.just(""), texts), texts), min_size=1, max_size=6
).map(lambda pairs: tuple(Example(str(i), p, c) for i, (p, c) in enumerate(pairs)))


@settings(max_examples=25)
@given(records=records_of_any_length, data=st.data())
def test_no_record_feels_the_others(
    fresh: Any, task: Language, records: Sequence[Example], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(records))
    size = data.draw(st.integers(1, len(records)))
    wider = max(map(task.width, records)) + data.draw(st.integers(0, 20))

    def losses(batches: Any) -> dict[str, float]:
        with torch.no_grad():
            return {
                i: loss
                for batch in batches
                for i, loss in zip(batch.ids, task.losses(fresh, batch).tolist(), strict=True)
            }

    alone = losses(task.collate([record]) for record in records)
    assert losses(task.batches(order, size)) == pytest.approx(alone, abs=1e-5)
    assert losses([task.collate(order, width=wider)]) == pytest.approx(alone, abs=1e-5)


@given(records=records_of_any_length, size=st.integers(1, 4))
def test_batches_hold_every_record_once(
    task: Language, records: Sequence[Example], size: int
) -> None:
    batches = list(task.batches(records, size))
    assert sorted(i for batch in batches for i in batch.ids) == sorted(r.id for r in records)
    assert all(len(batch.ids) <= size for batch in batches)


def test_answer_logits_are_the_whole_logits_at_the_answers(model: Any, task: Language) -> None:
    batch = task.collate(RECORDS)
    with torch.no_grad():
        logits, targets, rows = task.answer_logits(model, batch)
        whole = task.logits(model, batch)
    for found, target, row, column in zip(
        logits, targets, rows, torch.nonzero(batch.targets != -100)[:, 1], strict=True
    ):
        assert batch.targets[row, column] == target
        torch.testing.assert_close(found, whole[row, column - 1], atol=1e-5, rtol=0)
    assert len(logits) == int((batch.targets != -100).sum())


def test_a_cap_on_the_logits_is_seen_while_they_are_still_small(tokenizer: Any) -> None:
    task, model = Language(tokenizer), gemma2(len(tokenizer))
    task.losses(model, task.collate(RECORDS))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40)
        found = task.losses(model, task.collate(RECORDS)).tolist()
    expected = [loss_by_hand(model, tokenizer, record) for record in RECORDS]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_first_loss_of_a_model_draws_no_more_than_the_next(tokenizer: Any, gpt2: Any) -> None:
    task, model = Language(tokenizer), copy.deepcopy(gpt2).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first = task.losses(model, task.collate(RECORDS))
        torch.manual_seed(0)
        second = task.losses(model, task.collate(RECORDS))
    assert torch.equal(first, second)
    assert model.training


def test_log_probs_sum_what_losses_average(fresh: Any, task: Language) -> None:
    batch = task.collate(RECORDS)
    total, count = task.log_probs(fresh, batch)
    torch.testing.assert_close(-total / count, task.losses(fresh, batch))
    assert count.tolist() == (batch.targets != -100).sum(1).tolist()


def test_losses_carry_gradients(fresh: Any, task: Language) -> None:
    model = copy.deepcopy(fresh)
    task.losses(model, task.collate(RECORDS)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_hidden_states_lead_to_the_logits(fresh: Any, task: Language) -> None:
    batch = task.collate(RECORDS)
    with torch.no_grad():
        first, last = task.hidden(fresh, batch, 0), task.hidden(fresh, batch, 2)
        torch.testing.assert_close(first, fresh.get_input_embeddings()(batch.input_ids))
        torch.testing.assert_close(
            fresh.get_output_embeddings()(last), task.logits(fresh, batch), atol=1e-5, rtol=0
        )


def greedy(model: Any, tokenizer: Any, prompt: Sequence[int], most: int) -> list[int]:
    """The likeliest token, again and again, without cache, padding or batch."""
    ids = list(prompt)
    while len(ids) < len(prompt) + most:
        logits: Tensor = model(torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return ids[len(prompt) :]


def test_generation_is_greedy(trained: Any, tokenizer: Any, task: Language, split: Any) -> None:
    model = trained.model
    asked = [*split.retain[::17], *split.holdout[:2], Example("s", "Who?", "Jordi")]
    found = task.generate(model, asked, 3)
    with torch.no_grad():
        for record, answer in zip(asked, found, strict=True):
            ids = greedy(model, tokenizer, tokenizer(record.prompt)["input_ids"], 64)
            whole = tokenizer.decode(ids, skip_special_tokens=True).strip()
            # Generation may stop early, but not before a right answer could have ended.
            assert whole.startswith(answer)
            if ids[-1] == tokenizer.eos_token_id:
                assert answer == whole
            else:
                assert len(answer) > len(record.completion)


@pytest.mark.parametrize("habit", [{"repetition_penalty": 5.0}, {"num_beams": 3}], ids=str)
def test_the_habits_that_a_model_brings_are_set_aside(
    fresh: Any, task: Language, split: Any, habit: dict[str, Any]
) -> None:
    model = copy.deepcopy(fresh)
    for name, value in habit.items():
        setattr(model.generation_config, name, value)
    asked = split.forget[:4]
    assert task.generate(model, asked) == task.generate(fresh, asked)


@pytest.fixture
def words_alone(fresh: Any, tokenizer: Any) -> tuple[Any, dict[str, float]]:
    """A model that says each of 120 words with a probability of its own, whatever it is asked."""
    model = copy.deepcopy(fresh)
    words = [token[1:] for token in tokenizer.get_vocab() if token[1:].isalpha() and "▁" in token]
    meant = {word: 1 / (10 + at) for at, word in enumerate(sorted(words)[:120])}
    logits = torch.full((len(tokenizer),), -torch.inf)
    for word, weight in meant.items():
        logits[tokenizer.convert_tokens_to_ids(f"▁{word}")] = math.log(weight)

    def instead(_: Any, __: Any, out: Any) -> Any:
        out.logits = logits.expand(out.logits.shape).clone()
        return out

    model.register_forward_hook(instead)
    return model, {word: weight / sum(meant.values()) for word, weight in meant.items()}


@pytest.mark.slow(but=["{}"])
@pytest.mark.parametrize(
    "habit", [{}, {"top_k": 5}, {"top_p": 0.3}, {"temperature": 0.1}, {"min_p": 0.5}], ids=str
)
def test_samples_have_every_word_as_often_as_the_model_means_it(
    words_alone: Any, task: Language, habit: dict[str, Any]
) -> None:
    model, meant = words_alone
    for name, value in habit.items():
        setattr(model.generation_config, name, value)
    texts = task.sample(model, [RECORDS[0], RECORDS[3]], 100, seed=0)
    said = Counter(word for answers in texts for text in answers for word in text.split())
    assert set(said) == set(meant)
    expected = [share * said.total() for share in meant.values()]
    assert chisquare([said[word] for word in meant], expected).pvalue > 0.01


def test_samples_come_in_the_records_order_and_end_where_answers_end(
    trained: Any, task: Language, split: Any
) -> None:
    asked = [*split.retain[::40], RECORDS[1]]
    found = task.sample(trained.model, asked, 5, seed=3, size=7)
    assert [len(answers) for answers in found] == [5] * len(asked)
    for record, answers in zip(asked[:-1], found, strict=False):
        # It knows them by heart: most of what it draws is what it would say.
        assert sum(answer == record.completion for answer in answers) >= 3, record.id
    for record, answers in zip(asked, found, strict=True):
        limit = 1.5 * len(task.encode(record)[1]) + SLACK
        assert all(len(task.tokenizer(a)["input_ids"]) <= limit + 1 for a in answers)


def test_the_same_seed_draws_the_same_and_leaves_the_random_state_alone(
    fresh: Any, task: Language
) -> None:
    state = torch.get_rng_state()
    once, again, other = (task.sample(fresh, RECORDS[:2], 3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert once == again
    assert once != other
    assert len({answer for answers in once for answer in answers}) == 6


def test_no_sample_is_no_sampling(fresh: Any, task: Language) -> None:
    with pytest.raises(InputError, match="k=0"):
        task.sample(fresh, RECORDS, 0, seed=0)
    assert task.sample(fresh, [], 2, seed=0) == []


def test_a_model_recites_what_it_learned(trained: Any, task: Language, split: Any) -> None:
    asked = split.retain[:20]
    found = task.generate(trained.model, asked)
    right = sum(a == r.completion for a, r in zip(found, asked, strict=True))
    assert right >= 18


def test_a_chat_template_is_used_where_there_is_one() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    record = Example("a", "Where?", "Here")

    def seen(task: Language) -> str:
        text: str = tokenizer.decode(task.encode(record)[0])
        return text

    assert seen(Language(tokenizer)) == "<user>Where?<assistant>"
    assert seen(Language(tokenizer, chat=False)) == "<bos> Where?"
    answer = Language(tokenizer).encode(record)[1]
    assert tokenizer.decode(answer) == "Here<eos>"


def test_a_chat_template_asked_for_must_be_there(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="this one has none"):
        Language(tokenizer, chat=True)


def test_a_tokenizer_must_know_how_to_end() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"set tokenizer\.eos_token"):
        Language(tokenizer)


def test_a_record_too_long_is_refused_and_not_cut(tokenizer: Any) -> None:
    record = Example("long", "Who?", "word " * 30)
    length = sum(map(len, Language(tokenizer).encode(record)))
    assert sum(map(len, Language(tokenizer, max_tokens=length).encode(record))) == length
    with pytest.raises(InputError, match=f"'long' has {length} tokens, at most {length - 1} fit"):
        Language(tokenizer, max_tokens=length - 1).collate([record])


def test_a_blank_is_two_ends_of_text_and_moves_no_other_row(fresh: Any, padding: Any) -> None:
    task, eos = Language(padding), padding.eos_token_id
    batch = task.collate([RECORDS[0], None, RECORDS[1]])
    assert batch.ids == ("a", "", "b")
    width = batch.input_ids.shape[1]
    assert batch.input_ids[1, :2].tolist() == [eos, eos]
    assert batch.attention_mask[1].tolist() == [1, 1] + [0] * (width - 2)
    assert batch.targets[1].tolist() == [-100, eos] + [-100] * (width - 2)
    found = task.losses(fresh, batch)
    assert found[1].isfinite()
    expected = [loss_by_hand(fresh, padding, RECORDS[i]) for i in (0, 1)]
    assert found[[0, 2]].tolist() == pytest.approx(expected, abs=1e-5)
    assert task.collate([None]).cost == 4


def test_content_is_prompt_and_completion_and_which_is_which(task: Language) -> None:
    content = task.content(Example("a", "Who?", "Ada", {"topic": "people"}))
    assert content == task.content(Example("b", "Who?", "Ada")) == b'["Who?", "Ada"]'
    others = [("", "Who? Ada"), ("Who? Ada", ""), ("Ada", "Who?"), ("Who?", "ada"), ('"', '"')]
    assert len({content, *(task.content(Example("a", p, c)) for p, c in others)}) == 6


def bert(kind: Any, **changed: Any) -> Any:
    from transformers import BertConfig

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return kind(BertConfig(vocab_size=848, num_attention_heads=2, **sizes, **changed))


@pytest.mark.parametrize("taught", [False, True])
def test_a_model_that_reads_its_own_answers_is_refused(task: Language, taught: bool) -> None:
    from transformers import (
        BertForMaskedLM,
        DistilBertConfig,
        DistilBertForMaskedLM,
        ModernBertConfig,
        ModernBertForMaskedLM,
    )

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    torch.manual_seed(0)
    distilled = DistilBertForMaskedLM(
        DistilBertConfig(vocab_size=848, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    )
    modern = ModernBertForMaskedLM(
        ModernBertConfig(vocab_size=848, num_attention_heads=2, pad_token_id=0, **small)
    )
    batch = task.collate(RECORDS)
    for encoder in (bert(BertForMaskedLM), distilled, modern):
        if taught:
            # Trained by somebody else, who never asked.
            steps = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
            for _ in range(3):
                found = encoder(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    labels=batch.input_ids,
                )
                found.loss.backward()
                steps.step()
                steps.zero_grad()
        with pytest.raises(InputError, match="no causal language model"):
            task.losses(encoder, batch)


def test_a_model_that_looks_back_alone_is_taken_whatever_it_was_made_of(task: Language) -> None:
    from transformers import BertLMHeadModel, MixtralConfig, MixtralForCausalLM

    experts = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=848,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=4,
        )
    )
    batch = task.collate(RECORDS)
    for model in (bert(BertLMHeadModel, is_decoder=True), experts, experts.to(torch.bfloat16)):
        assert torch.isfinite(task.losses(model, batch)).all()
