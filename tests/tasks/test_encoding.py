"""An answer is tokenized as the whole conversation has it, and ends where its turn ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
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


def byte_level(
    template: str | None = None, *, special: bool = True, prefix_space: bool = False
) -> Any:
    """Bytes and special tokens: every text is its own tokens.

    Args:
        template: for chats.
        special: whether the tokens of turns are called so; many who add them do not.
        prefix_space: put a space before every text, as Bloom and RoBERTa do.
    """
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<eos>", special=True)])
    made.add_tokens([AddedToken(text, special=special) for text in SPECIALS[1:]])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")
    tokenizer.chat_template = template
    return tokenizer


LLAMA = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def pieces(normalizer: Any = None, pre: Any = None, around: str = "$A") -> Any:
    """Signs alone, of which one stands for the space: like Llama 2, as it is here by itself."""
    signs = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?.,'0123456789"
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(signs)}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    if pre is None:
        made.normalizer = normalizer or LLAMA
    else:
        made.pre_tokenizer = pre
    made.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )


TOKENIZERS = {
    "bytes": byte_level(),
    "bytes behind a space": byte_level(prefix_space=True),
    "prepending": pieces(),
    "prepending, opened": pieces(around="<s> $A"),
    "prepending, opened and closed": pieces(around="<s> $A </s>"),
    "stripping": pieces(normalizers.Sequence([normalizers.Strip(), LLAMA])),
    "a space before every piece": pieces(pre=pre_tokenizers.Metaspace(prepend_scheme="always")),
    "a space before the first": pieces(pre=pre_tokenizers.Metaspace(prepend_scheme="first")),
    "no space of its own": pieces(pre=pre_tokenizers.Metaspace(prepend_scheme="never")),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("answer", ["Ada", "12", "la mà, l'ull", "e", "日本", "a <eot> b"])
def test_an_answer_is_what_follows_the_prompt_and_ends_its_turn(
    name: str, special: bool, answer: str
) -> None:
    template, ends = TEMPLATES[name]
    tokenizer = byte_level(template, special=special)
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
@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_plain_text_is_tokenized_whole(
    tokenizer: Any, prompt: str, completion: str, text: str
) -> None:
    given_ids, target = Language(tokenizer).encode(Example("a", prompt, completion))
    whole = tokenizer(text)["input_ids"]
    ended = whole[-1] == tokenizer.eos_token_id
    assert [*given_ids, *target] == (whole if ended else [*whole, tokenizer.eos_token_id])


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
@pytest.mark.parametrize("special", [True, False])
def test_a_model_is_heard_until_its_turn_ends(name: str, special: bool) -> None:
    tokenizer = byte_level(TEMPLATES[name][0], special=special)
    said = "Ada<eot>\n<user>And who is Ben?<eot>A smith<eot>"
    model = Chatty(tokenizer(said)["input_ids"])
    assert Language(tokenizer).generate(model, [Example("a", "Who?", "Ada")]) == ["Ada"]


@pytest.mark.parametrize(
    "said",
    [
        "As far as I have been told, Ana has lived for years in Sants",
        "Of course! I am glad that you ask. The answer: Sants",
        "Claro. Según los datos del padrón municipal, vive en Sants",
        "**Answer**\n\n- person: Ana\n- known since: 2019\n- quarter: Sants",
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
    for most in (1, 64):
        assert task.generate(narrow, [fits, fits], most) == task.generate(narrow, [fits]) * 2


def test_a_long_question_takes_no_room_from_those_beside_it(narrow: Any) -> None:
    """Three tokens would not do to say an answer: it would pass for forgotten."""
    task = Language(byte_level())
    asked = [Example("a", "Who?", "Ada"), Example("b", "W" * 61, "A"), Example("c", "W" * 9, "B")]
    alone = [task.generate(narrow, [record])[0] for record in asked]
    assert task.generate(narrow, asked) == alone
    assert len(alone[0]) > 3


@pytest.mark.parametrize(("prompt", "answer"), [(80, 1), (64, 1), (60, 10)])
def test_what_has_no_room_for_an_answer_is_refused_and_not_silent(
    narrow: Any, prompt: int, answer: int
) -> None:
    task, record = Language(byte_level()), Example("a", "W" * prompt, "A" * answer)
    fits = Example("b", "Who?", "Ada")
    for ask in (task.generate, lambda m, some: task.sample(m, some, 2, seed=0)):
        with pytest.raises(InputError, match="64"):
            ask(narrow, [fits, record])


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


PADS: dict[str, Callable[[Any], object]] = {
    "added": lambda t: t.add_special_tokens({"pad_token": "[PAD]"}),
    "behind others that were added": lambda t: (
        t.add_tokens(["[A]", "[B]"]),
        t.add_special_tokens({"pad_token": "[PAD]"}),
    ),
    "on the left": lambda t: (
        t.add_special_tokens({"pad_token": "[PAD]"}),
        setattr(t, "padding_side", "left"),
    ),
    "the end of text": lambda t: setattr(t, "pad_token", "<eos>"),
    "the end of a turn": lambda t: setattr(t, "pad_token", "<eot>"),
}


@pytest.mark.parametrize("pad", PADS)
def test_a_pad_token_without_an_embedding_does_no_harm(narrow: Any, pad: str) -> None:
    tokenizer = byte_level()
    records = [Example("a", "Who is Ana?", "A baker"), Example("b", "Q", "a")]
    before = Language(tokenizer)
    expected = before.losses(narrow, before.collate(records))
    said = before.generate(narrow, records)
    PADS[pad](tokenizer)
    task = Language(tokenizer)
    assert torch.equal(task.losses(narrow, task.collate(records)), expected)
    assert task.generate(narrow, records) == said


def test_a_soft_prompt_is_refused_and_not_left_out(narrow: Any) -> None:
    import peft

    task = Language(byte_level())
    batch = task.collate([Example("a", "Who?", "Ada")])
    kinds = (
        peft.PromptTuningConfig,
        peft.PrefixTuningConfig,
        partial(peft.PromptEncoderConfig, encoder_hidden_size=8),
        partial(peft.MultitaskPromptTuningConfig, num_tasks=2),
    )
    for kind in kinds:
        config = kind(task_type=peft.TaskType.CAUSAL_LM, num_virtual_tokens=4)
        wrapped = peft.get_peft_model(copy.deepcopy(narrow), config)
        with pytest.raises(InputError):
            task.losses(wrapped, batch)
        with pytest.raises(InputError):
            task.generate(wrapped, [Example("a", "Who?", "Ada")])
