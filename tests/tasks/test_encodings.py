"""Records tokenized together have the tokens that each has by itself, and few are kept."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import pytest

from olvido.errors import InputError
from olvido.models.tiny import tiny_tokenizer
from olvido.tasks import Example, Language, encodings, examples
from olvido.tasks.batches import Encoded

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{{ eos_token }}{% endfor %}"
ROWS: list[dict[str, Any]] = [
    {"prompt": "Where does Ana live?", "completion": "In Gràcia."},
    {"prompt": "Where does Ana live?", "completion": "Nowhere."},
    {"prompt": "Ends with a space ", "completion": "and goes on"},
    {"prompt": "A mark <eos> within", "completion": "the text <bos>"},
    {"text": "Plain text."},
    {"text": "Plain text <eos> with a mark."},
    {"prompt": "日本", "completion": " \n🙂"},
    {
        "messages": [
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "Ana."},
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "content": "Here."},
        ]
    },
]


def no_bos() -> Any:
    """A tokenizer that adds nothing before a text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    return tokenizer


def padding() -> Any:
    """A tokenizer whose last call left padding and truncation on."""
    tokenizer = tiny_tokenizer()
    tokenizer(["one", "and two more"], padding="max_length", truncation=True, max_length=2)
    return tokenizer


class Shouting(type(tiny_tokenizer())):  # type: ignore[misc]
    """A tokenizer that changes a text in Python before Rust sees it."""

    def __call__(self, text: str, **options: Any) -> Any:
        return super().__call__(text.upper(), **options)


def shouting() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.__class__ = Shouting
    return tokenizer


@pytest.mark.parametrize("make", [tiny_tokenizer, no_bos, padding, shouting])
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("held", [0, 10_000])
def test_together_is_as_one_by_one(
    make: Any, chat: bool, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "HELD", held)
    tokenizer = make()
    if chat:
        tokenizer.chat_template = TEMPLATE
    many, single = Language(tokenizer, chat=chat), Language(tokenizer, chat=chat)
    records = examples(ROWS)
    assert many.widths(records) == [single.width(record) for record in records]
    for record in records:
        assert many.encode(record) == single.encode(record)
        assert many.fingerprint(record) == single.fingerprint(record)


@pytest.mark.parametrize("held", [0, 10_000])
def test_a_record_that_is_too_long_is_refused_among_many(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "HELD", held)
    task = Language(tiny_tokenizer(), max_tokens=20)
    fits, long = Example("a", "Who?", "x" * 12), Example("b", "Who?", "x" * 40)
    for extra in range(12):
        one = Example("c", "Who?", "x" * extra + ".")
        try:
            expected = [Language(task.tokenizer, max_tokens=20).width(one)]
        except InputError:
            continue
        assert task.widths([one]) == expected
    with pytest.raises(InputError, match="'b' has"):
        task.widths([fits, long])


def test_tokens_of_the_last_records_alone_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "MOST", 1_000)
    task = Language(tiny_tokenizer())
    records = [Example(str(i), f"Where does number {i} live?", "In Gràcia.") for i in range(3_000)]
    before = sum(type(one) is Encoded for one in gc.get_objects())
    widths = task.widths(records)
    prints = [task.fingerprint(record) for record in records]
    after = sum(type(one) is Encoded for one in gc.get_objects())
    assert after - before <= 1_000 / (min(widths) - 3)
    # Those that were dropped are made again, the same.
    assert task.widths(records) == widths
    assert [task.fingerprint(record) for record in records] == prints


def test_no_tokens_are_sent_to_another_process() -> None:
    task = Language(tiny_tokenizer())
    record = Example("a", "Where does Zurriagatxo live?", "In Gràcia.")
    task.widths([record, Example("b", "Who?", "Ana.")])
    task.fingerprint(record)
    sent = pickle.dumps(task)
    assert b"Zurriagatxo" not in sent
    assert pickle.loads(sent).fingerprint(record) == task.fingerprint(record)
