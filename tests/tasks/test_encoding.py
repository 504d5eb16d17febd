"""An answer is tokenized as the whole conversation has it, and ends where its turn ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from olvido.errors import InputError
from olvido.tasks import Example, Language

SPECIALS = ("<eos>", "<bos>", "<eot>", "<user>", "<model>")
TEMPLATES = {
    "turns end in another token": (
        "{% for m in messages %}{% if m['role'] == 'user' %}<user>{% endif %}"
        "{{ m['content'] }}<eot>{% endfor %}",
        ["<eot>"],
    ),
    "decoration follows the end": (
        "{% for m in messages %}<{{ 'user' if m['role'] == 'user' else 'model' }}>"
        "{{ m['content'] | trim }}<eot>\n{% endfor %}"
        "{% if add_generation_prompt %}<model>{% endif %}",
        ["<eot>"],
    ),
    "nothing ends a turn": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        ["<eos>"],
    ),
    "the end of text ends a turn": (
        "<bos>{% for m in messages %}{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [/Q]"
        "{% else %} {{ m['content'] }}<eos>{% endif %}{% endfor %}",
        ["<eos>"],
    ),
    "a thought is opened for what is to come": (
        "{% for m in messages %}<{{ 'user' if m['role'] == 'user' else 'model' }}>"
        "{{ m['content'] }}<eot>{% endfor %}"
        "{% if add_generation_prompt %}<model>(thinks)\n\n{% endif %}",
        ["<eot>"],
    ),
}


def byte_level(template: str | None = None) -> Any:
    """Bytes and special tokens: every text is its own tokens."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIALS])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")
    tokenizer.chat_template = template
    return tokenizer


def prepending() -> Any:
    """Like Llama 2: a sign for the space stands before every text."""
    signs = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?.,'0123456789"
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(signs)}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("answer", ["Ada", "12", "la mà, l'ull", "e", "日本"])
def test_an_answer_is_what_follows_the_prompt_and_ends_its_turn(name: str, answer: str) -> None:
    template, ends = TEMPLATES[name]
    tokenizer = byte_level(template)
    prompt, target = Language(tokenizer).encode(Example("a", "Who is e?", answer))
    assert tokenizer.decode(target).strip() == answer + ends[0]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who is e?"}], add_generation_prompt=True, tokenize=False
    )
    assert tokenizer.decode(prompt) == asked


@pytest.mark.parametrize(
    ("prompt", "completion", "text"),
    [
        ("Who is it?", "Ada", "Who is it? Ada"),
        ("Who?\n", "Ada", "Who?\nAda"),
        ("Who?", " Ada", "Who? Ada"),
    ],
)
@pytest.mark.parametrize("tokenizer", [byte_level(), prepending()], ids=["bytes", "prepending"])
def test_plain_text_is_tokenized_whole(
    tokenizer: Any, prompt: str, completion: str, text: str
) -> None:
    given_ids, target = Language(tokenizer).encode(Example("a", prompt, completion))
    assert [*given_ids, *target] == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]


def test_the_separator_is_the_callers() -> None:
    tokenizer = byte_level()
    _, target = Language(tokenizer, separator="\n->").encode(Example("a", "在哪里?", "桂林"))
    assert tokenizer.decode(target) == "\n->桂林<eos>"


@pytest.mark.parametrize("template", [None, *(template for template, _ in TEMPLATES.values())])
@given(
    prompt=st.sampled_from(["Who?", "Who<eos>?", "<user>", "a <eot> b <bos>"]),
    answer=st.sampled_from(["Ada", "ends <eos> so", "<eot>", "<eos>x", "<user>y<eot>"]),
)
def test_a_special_token_written_as_text_stays_text(
    template: str | None, prompt: str, answer: str
) -> None:
    tokenizer = byte_level(template)
    task = Language(tokenizer)
    given_ids, target = task.encode(Example("a", prompt, answer))
    marks = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(s) for s in SPECIALS}
    plain, bare = task.encode(Example("b", "Who?", "Ada"))
    assert sum(i in marks for i in target) == sum(i in marks for i in bare) == 1
    assert sum(i in marks for i in given_ids) == sum(i in marks for i in plain)
    assert answer in tokenizer.decode(target)
    assert prompt in tokenizer.decode(given_ids)


def test_a_template_that_rewrites_answers_is_refused() -> None:
    shouting = "{% for m in messages %}{{ m['content'] | upper }}<eot>{% endfor %}"
    with pytest.raises(InputError):
        Language(byte_level(shouting)).encode(Example("a", "Who?", "Ada"))


class Chatty(torch.nn.Module):
    """Says what it is told to say, and stops where it is told to."""

    def __init__(self, said: list[int]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.said = said

    def generate(
        self, input_ids: Any, eos_token_id: list[int], max_new_tokens: int, **_: Any
    ) -> Any:
        out: list[int] = []
        for token in self.said[:max_new_tokens]:
            out.append(token)
            if token in eos_token_id:
                break
        return torch.cat([input_ids, torch.tensor([out])], 1)


@pytest.mark.parametrize("name", ["turns end in another token", "decoration follows the end"])
def test_a_model_is_heard_until_its_turn_ends(name: str) -> None:
    tokenizer = byte_level(TEMPLATES[name][0])
    said = "Ada<eot>\n<user>And who is Ben?<eot>A smith<eot>"
    model = Chatty(tokenizer(said)["input_ids"])
    assert Language(tokenizer).generate(model, [Example("a", "Who?", "Ada")]) == ["Ada"]


@pytest.mark.parametrize(
    "said",
    [
        "As far as I have been told, Ana has lived for years in Sants",
        "Of course! I am glad that you ask. The answer: Sants",
    ],
)
def test_a_short_answer_is_heard_behind_a_preface(said: str) -> None:
    tokenizer = byte_level()
    model = Chatty([*tokenizer(said)["input_ids"], tokenizer.eos_token_id])
    assert Language(tokenizer).generate(model, [Example("a", "Where?", "Sants")]) == [said]


@pytest.fixture
def narrow() -> Any:
    """Has learned positions for 64 tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(byte_level())
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=size,
                n_positions=64,
                n_embd=16,
                n_layer=1,
                n_head=2,
                bos_token_id=None,
                eos_token_id=None,
            )
        ).eval()


def test_positions_bound_what_a_model_is_given_and_says(narrow: Any) -> None:
    task = Language(byte_level())
    with pytest.raises(InputError, match="64"):
        task.losses(narrow, task.collate([Example("a", "Who is Ana? " * 6, "A baker")]))
    fits = Example("b", "W" * 61, "A")
    assert task.losses(narrow, task.collate([fits], width=68)).isfinite().all()
    assert len(task.generate(narrow, [fits, Example("c", "Who?", "Ada")])) == 2


@pytest.mark.parametrize(
    "habit",
    [
        {"no_repeat_ngram_size": 2},
        {"min_length": 40},
        {"num_return_sequences": 3, "num_beams": 3},
        {"encoder_repetition_penalty": 2.0},
        {"stop_strings": "a"},
        {"exponential_decay_length_penalty": (1, 9.0)},
    ],
    ids=lambda habit: next(iter(habit)),
)
def test_no_habit_of_a_model_changes_what_it_is_heard_to_say(narrow: Any, habit: Any) -> None:
    task, record = Language(byte_level()), Example("a", "Who is it?", "Ada")
    before = task.generate(narrow, [record])
    own = type(narrow.generation_config)(**habit)
    narrow.generation_config = own
    assert task.generate(narrow, [record]) == before
    assert narrow.generation_config is own


def test_a_pad_token_without_an_embedding_does_no_harm(narrow: Any) -> None:
    tokenizer = byte_level()
    records = [Example("a", "Who is Ana?", "A baker"), Example("b", "Q", "a")]
    before = Language(tokenizer)
    expected = before.losses(narrow, before.collate(records))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    task = Language(tokenizer)
    assert torch.equal(task.losses(narrow, task.collate(records)), expected)


def test_a_soft_prompt_is_refused_and_not_left_out(narrow: Any) -> None:
    from peft import PrefixTuningConfig, PromptTuningConfig, TaskType, get_peft_model

    task = Language(byte_level())
    batch = task.collate([Example("a", "Who?", "Ada")])
    for kind in (PromptTuningConfig, PrefixTuningConfig):
        config = kind(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=4)
        wrapped = get_peft_model(narrow, config)
        with pytest.raises(InputError):
            task.losses(wrapped, batch)
        with pytest.raises(InputError):
            task.generate(wrapped, [Example("a", "Who?", "Ada")])
