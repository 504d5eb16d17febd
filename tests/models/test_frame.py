"""The question is found in a prompt, whatever the template puts around it."""

import copy
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.models.routed import PromptTemplate
from olvido.tasks import Language

TEMPLATE = (
    "{{ bos_token }}Be kind.{{ eos_token }}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="module", params=["plain", "chat"])
def asked(request: Any, tokenizer: Any) -> Language:
    if request.param == "plain":
        return Language(tokenizer)
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = TEMPLATE
    return Language(chatty)


def test_every_question_of_the_town_is_found_in_its_prompt(asked: Language, town: Town) -> None:
    template = PromptTemplate.of(asked.encode_prompt)
    assert bool(template.suffix) == asked.chat
    for row in (row for resident in town.residents for row in town.rows_of(resident)):
        prompt = asked.encode_prompt(row["prompt"])
        found = template.question(asked.tokenizer, prompt, whole=True)
        assert found == row["prompt"]


def test_an_answer_after_the_question_is_left_out(asked: Language) -> None:
    template = PromptTemplate.of(asked.encode_prompt)
    answer = asked.tokenizer(" In Gràcia. Is it?", add_special_tokens=False)["input_ids"]
    ids = [*asked.encode_prompt("Where does Marta live?"), *answer]
    assert template.question(asked.tokenizer, ids, whole=False) == "Where does Marta live?"


def test_without_a_question_mark_or_suffix_all_of_the_text_asks(tokenizer: Any) -> None:
    template = PromptTemplate.of(Language(tokenizer).encode_prompt)
    ids = tokenizer("The home of Marta is")["input_ids"]
    assert template.question(tokenizer, ids, whole=False) == "The home of Marta is"
    two = tokenizer("Who? Marta?")["input_ids"]
    assert template.question(tokenizer, two, whole=False) == "Who?"
    assert template.question(tokenizer, two, whole=True) == "Who? Marta?"


@pytest.mark.parametrize(
    ("ids", "inside"),
    [
        ([1, 2, 7, 8, 3, 4], [7, 8]),
        ([0, 0, 1, 2, 7, 3, 4, 9, 3, 4], [7]),
        ([7, 8, 3, 4], [7, 8]),
        ([1, 2, 7, 3], [7, 3]),
        ([1, 2, 3, 4], []),
        ([], []),
    ],
)
def test_between_the_first_prefix_and_the_first_suffix(ids: list[int], inside: list[int]) -> None:
    assert PromptTemplate((1, 2), (3, 4)).inside(ids) == inside
