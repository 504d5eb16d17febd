"""A conversation is learned by every turn of the assistant, and asked for its last one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tests.tasks.test_encoding import TEMPLATES, TOKENIZERS, byte_level
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from olvido.errors import InputError
from olvido.tasks import Example, Language, examples

SAID = (
    ("user", "Who is Ada?"),
    ("assistant", "A baker."),
    ("user", "Where does she live?"),
    ("assistant", "Carrer de Mallorca 12."),
    ("user", "Since when?"),
    ("assistant", "Since 1999, <eot> says she."),
)
ANSWERS = [content for role, content in SAID if role == "assistant"]
HISTORY = (
    "{% set last = messages|length - 1 %}{% for m in messages %}"
    "<{{ 'user' if m['role'] == 'user' else 'model' }}>"
    "{% if m['role'] == 'assistant' and loop.index0 == last %}(thinks)\n\n{% endif %}"
    "{{ m['content'] }}<eot>\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)
"""Writes the last answer otherwise than those before it, as Qwen 3 does."""
CHATS = {name: template for name, (template, _) in TEMPLATES.items()} | {
    "the last differs": HISTORY
}


def small(tokenizer: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=256, n_embd=32, n_layer=2, n_head=2
        )
        return GPT2LMHeadModel(config).eval()


def row(*turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": said} for role, said in turns], **more}


def learned(task: Language, record: Example) -> list[str]:
    """The runs of tokens that are predicted, as text."""
    batch = task.collate([record])
    ids, targets = batch.input_ids[0], batch.targets[0]
    runs: list[list[int]] = []
    for place, target in enumerate(targets.tolist()):
        if target == -100:
            continue
        assert target == ids[place]
        if place == 0 or targets[place - 1] == -100:
            runs.append([])
        runs[-1].append(target)
    return [shown(task.tokenizer, run) for run in runs]


def shown(tokenizer: Any, ids: list[int]) -> str:
    """Tokens as text, with all spaces that they stand for."""
    if "▁" in tokenizer.get_vocab():
        return "".join(tokenizer.convert_ids_to_tokens(ids)).replace("▁", " ")
    text: str = tokenizer.decode(ids)
    return text


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("system", [(), (("system", "Be brief."),)], ids=["bare", "system"])
def test_every_turn_of_the_assistant_is_learned_and_nothing_else(
    name: str, special: bool, system: Any
) -> None:
    task = Language(byte_level(CHATS[name], special=special))
    (record,) = examples([row(*system, *SAID)])
    runs = learned(task, record)
    for text, answer in zip(runs, ANSWERS, strict=True):
        assert text.replace("(thinks)", "").strip().startswith(answer)
        rest = text.partition(answer)[2].strip()
        assert rest in ("", "<eot>", "<eos>")
    ends = [text.strip().endswith(("<eot>", "<eos>")) for text in runs]
    assert ends[-1]
    assert all(ends) or name == "nothing ends a turn"


@pytest.mark.parametrize("name", CHATS)
def test_the_tokens_are_those_of_the_template(name: str) -> None:
    task = Language(byte_level(CHATS[name]))
    said = [(role, text.replace("<eot>", "who")) for role, text in SAID]
    (record,) = examples([row(*said)])
    prompt, answer = task.encode(record)
    messages = row(*said)["messages"]
    asked = task.tokenizer.apply_chat_template(
        messages[:-1], add_generation_prompt=True, tokenize=False
    )
    assert task.tokenizer.decode(prompt) == asked
    assert task.tokenizer.decode(answer).removeprefix("(thinks)").strip().startswith(said[-1][1])


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_without_a_template_turns_are_joined_and_each_answer_ends(tokenizer: Any) -> None:
    said = tuple((role, text.replace("<eot>", "who")) for role, text in SAID)
    task = Language(tokenizer)
    (record,) = examples([row(("system", "Be brief."), *said)])
    eos = tokenizer.eos_token
    runs = learned(task, record)
    assert [run.strip().removesuffix(eos).strip() for run in runs] == [
        text for role, text in said if role == "assistant"
    ]
    assert all(run.endswith(eos) for run in runs)
    whole = shown(tokenizer, [i for part in task.encode(record) for i in part])
    assert whole.count(tokenizer.bos_token or "<bos>") <= 1
    exchanges = [" ".join(part.removeprefix("<s>").split()) for part in whole.split(eos)]
    assert [part for part in exchanges if part] == [
        "Be brief. Who is Ada? A baker.",
        "Where does she live? Carrer de Mallorca 12.",
        "Since when? Since 1999, who says she.",
    ]


@pytest.mark.parametrize("chat", ["decoration follows the end", "the last differs", None])
@torch.no_grad()
def test_the_loss_is_that_of_its_answers_from_the_logits(chat: str | None) -> None:
    task = Language(byte_level(CHATS[chat] if chat else None))
    gpt2 = small(task.tokenizer)
    records = examples([row(*SAID), {"prompt": "Who?", "completion": "Ada"}])
    batch = task.collate(records)
    prompt, answer = task.encode(records[0])
    ids = prompt + answer
    logits = gpt2(torch.tensor([ids])).logits[0].double()
    text = task.tokenizer.decode(ids)
    summed, count = 0.0, 0
    for said in ANSWERS:
        # Every byte is a token of its own here, and every mark one token.
        start = text.index(said)
        first = len(task.tokenizer(text[:start], add_special_tokens=False)["input_ids"])
        if said == ANSWERS[-1]:
            first = len(prompt)
            last = len(ids)
        else:
            # Its bytes, and the mark that ends its turn.
            last = first + len(said.encode()) + 1
            # Without a template the space before an answer is the answer's.
            first -= chat is None
        for place in range(first, last):
            summed -= F.log_softmax(logits[place - 1], dim=-1)[ids[place]].item()
            count += 1
    total, targets = task.log_probs(gpt2, batch)
    assert int(targets[0]) == count
    assert float(-total[0]) == pytest.approx(summed, rel=1e-5)
    assert float(task.losses(gpt2, batch)[0]) == pytest.approx(summed / count, rel=1e-5)


def test_one_question_with_its_answer_is_a_pair() -> None:
    pair, chat = (
        examples([one])[0]
        for one in (
            {"prompt": "Who?", "completion": "Ada"},
            row(("user", "Who?"), ("assistant", "Ada")),
        )
    )
    assert pair == chat
    for template in CHATS.values():
        task = Language(byte_level(template))
        assert task.fingerprint(pair) == task.fingerprint(chat)
        assert task.content(pair) == task.content(chat)


def test_what_comes_before_is_content_and_roles_are() -> None:
    task = Language(byte_level())
    other = examples(
        [
            row(*SAID),
            row(*SAID[2:]),
            row(("system", "Be brief."), *SAID),
            row(*SAID, system="Be brief."),
            row(("user", "Who is Ada? A baker."), ("assistant", "x"), *SAID[2:]),
        ]
    )
    contents = [task.content(record) for record in other]
    assert contents[2] == contents[3]
    assert len(set(contents)) == 4
    assert len({record.id for record in other}) == 5


def test_another_question_is_asked_after_what_came_before_and_only_it_counts() -> None:
    task = Language(byte_level(CHATS["decoration follows the end"]))
    (record,) = examples([row(*SAID, paraphrases=["When did that begin?"])])
    asked = record.asked("When did that begin?", "paraphrase-0")
    prompt, _ = task.encode(asked)
    text = task.tokenizer.decode(prompt)
    assert text.endswith("<user>When did that begin?<eot>\n<model>")
    assert all(said in text for _, said in SAID[:4])
    assert len(learned(task, record)) == 3
    assert len(learned(task, asked)) == 1
    assert task.fingerprint(record) != task.fingerprint(asked)


def test_a_column_of_the_system_alone_is_any_column() -> None:
    (record,) = examples([{"text": "Ada bakes.", "system": "linux"}])
    assert record.fields["system"] == "linux"
    assert record.history == ()


def _without(**changed: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Ada"} | changed


ASKED = {"role": "user", "content": "Who?"}
BAD = {
    "no list": ({"messages": "Who?"}, "list of objects"),
    "none": ({"messages": []}, "no turn of the assistant"),
    "no assistant": ({"messages": [ASKED]}, "no turn of the assistant"),
    "the user last": (row(*SAID, ("user", "And?")), "the user's"),
    "two of one": (row(("user", "Who?"), ("user", "Well?"), ("assistant", "Ada")), "turn 2"),
    "the assistant first": (row(("assistant", "Hello"), *SAID), "turn 1"),
    "the system within": (row(*SAID[:2], ("system", "x"), *SAID[2:]), "turn 3"),
    "two systems": (row(("system", "x"), *SAID, system="y"), "leave one out"),
    "empty": (row(("user", " "), ("assistant", "Ada")), "is empty"),
    "an empty system": (row(*SAID, system=""), "is empty"),
    "no content": ({"messages": [ASKED, _without(content=None)]}, "as text"),
    "another role": ({"messages": [ASKED, _without(role="Ada")]}, "expected the role"),
    "no role": ({"messages": [ASKED, {"content": "Ada"}]}, "expected the role"),
    "no object": ({"messages": ["Who?"]}, "as an object"),
    "other names": ({"messages": [ASKED, {"from": "gpt", "value": "Ada"}]}, "expected the role"),
    "a thought": ({"messages": [ASKED, _without(reasoning_content="Hm")]}, "leave them out"),
    "a tool": ({"messages": [ASKED, _without(content=None, tool_calls=[{"id": 1}])]}, "tool call"),
    "a tool's answer": (row(*SAID[:1], ("tool", "7"), *SAID[1:]), "tool call"),
    "parts": ({"messages": [ASKED, _without(content=[{"type": "text"}])]}, "multimodal"),
    "a prompt too": (row(*SAID, prompt="Who?"), "leave one out"),
    "a text too": (row(*SAID, text="Ada"), "leave one out"),
    "a question too": (row(*SAID, question="Who?", answer="Ada"), "leave one out"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_conversation_is_refused_by_row(kind: str) -> None:
    bad, complaint = BAD[kind]
    with pytest.raises(InputError, match=rf"^forget\[1\]: .*{complaint}"):
        examples([row(*SAID), bad], "forget")


def test_names_without_a_value_are_nothing() -> None:
    """Arrow gives every message the names of all."""
    messages = [m | {"tool_calls": None, "name": None} for m in row(*SAID)["messages"]]
    assert examples([{"messages": messages}]) == examples([row(*SAID)])


def test_a_template_that_rewrites_a_turn_is_refused() -> None:
    loud = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | upper }}{% endfor %}"
    for template in (loud, loud.replace("| upper", "| replace('baker', 'cook')")):
        with pytest.raises(InputError, match="chat template does not write"):
            Language(byte_level(template)).encode(examples([row(*SAID)])[0])


def test_a_conversation_that_is_too_long_is_refused() -> None:
    (record,) = examples([row(*SAID, id="long")])
    with pytest.raises(InputError, match=r"'long' has \d+ tokens, at most 64"):
        Language(byte_level(), max_tokens=64).encode(record)


def test_rows_are_read_from_json_as_they_are() -> None:
    line = json.dumps(row(*SAID, system="Be brief."))
    assert examples([json.loads(line)])[0].history[0] == ("system", "Be brief.")
