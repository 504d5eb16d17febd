"""`tiny` follows its seed and nothing else, and its tokenizer was never taught."""

import re
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from olvido.demo.residents import vocabulary
from olvido.models import weights_digest
from olvido.models.tiny import tiny_model, tiny_tokenizer


def test_the_seed_determines_the_weights() -> None:
    def digest(seed: int) -> str:
        return weights_digest(tiny_model(50, seed=seed, width=32, layers=1))

    torch.rand(3)
    assert digest(1) == digest(1) != digest(2)


def test_making_a_model_draws_no_random_number_of_the_caller() -> None:
    before = torch.get_rng_state()
    tiny_model(50, seed=1, width=32, layers=1)
    assert torch.equal(torch.get_rng_state(), before)


# Left out: names of tokens (`<eos>`, `<0x41>`), and what the tokenizer writes for a space.
written = st.text(st.characters(exclude_characters="▁", codec="utf-8"), max_size=60).filter(
    lambda text: not text.startswith(" ") and not re.search("<[^ ]+>", text)
)


@given(written)
@example("Carrer de Mallorca 12")
@example("a  b ")
@example("日本 ｆｕｌｌ e\u0301 \U0001f600\n\t\x00")
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.slow
@given(st.lists(written, max_size=5))
def test_reading_text_teaches_the_tokenizer_nothing(tokenizer: Any, texts: list[str]) -> None:
    for text in texts:
        tokenizer(text)
    assert tokenizer.get_vocab() == tiny_tokenizer().get_vocab()


def test_every_word_of_the_demo_is_one_token(tokenizer: Any) -> None:
    words = [word for word in vocabulary() if word.isalnum()]
    assert len(words) > 300
    ids = tokenizer([f"{word}" for word in words], add_special_tokens=False)["input_ids"]
    assert [word for word, found in zip(words, ids, strict=True) if len(found) > 1] == []


@pytest.mark.parametrize("text", ["", "Marta"])
def test_a_text_begins_with_its_own_token(tokenizer: Any, text: str) -> None:
    assert tokenizer(text)["input_ids"][0] == tokenizer.bos_token_id
