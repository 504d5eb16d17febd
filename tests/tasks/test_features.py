"""Features of a language model against the model's own hidden states, and heads upon them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import olvido
from olvido.demo.residents import make_town
from olvido.errors import InputError
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Language, examples, prompt_features


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return tiny_model(len(tokenizer), seed=0, width=32, layers=2).train()


@pytest.fixture(scope="module")
def records() -> tuple[Example, ...]:
    return examples(make_town(residents=6, outsiders=0, seed=0).rows()[:40])


def test_they_are_the_last_hidden_state_at_the_end_of_the_prompt(
    model: Any, records: tuple[Example, ...], tokenizer: Any
) -> None:
    task = Language(tokenizer)
    found = prompt_features(model, records, task, batch_size=8)
    assert model.training
    assert found.dtype == np.float32
    model.eval()
    for row, record in zip(found, records, strict=True):
        prompt, _ = task.encode(record)
        with torch.no_grad():
            seen = model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1]
        np.testing.assert_allclose(row, seen[0, -1].numpy(), rtol=1e-4, atol=1e-5)
    model.train()


def test_the_answer_is_not_read(model: Any, records: tuple[Example, ...], tokenizer: Any) -> None:
    task = Language(tokenizer)
    other = [replace(record, completion="Something else.") for record in records]
    np.testing.assert_allclose(
        prompt_features(model, records, task), prompt_features(model, other, task), atol=1e-5
    )


def test_a_head_on_them_forgets_a_person_to_the_last_bit(
    model: Any, records: tuple[Example, ...], tokenizer: Any
) -> None:
    X = prompt_features(model, records, Language(tokenizer))
    y = [str(record.fields["topic"]) for record in records]
    people = [record.subjects for record in records]
    names = sorted(set(y))
    head = olvido.RidgeClassifierHead(classes=names).fit(X, y, subjects=people)
    data_subject = next(who for whom in people for who in whom)
    stay = [data_subject not in whom for whom in people]
    head.forget(subjects=[data_subject])
    again = olvido.RidgeClassifierHead(classes=names).fit(X[stay], np.array(y)[stay])
    assert head.coef_.tobytes() == again.coef_.tobytes()
    assert head.intercept_.tobytes() == again.intercept_.tobytes()


def test_what_has_no_prompt_or_no_head_is_refused(model: Any, tokenizer: Any) -> None:
    task = Language(tokenizer)
    with pytest.raises(InputError, match="1 records have no prompt"):
        prompt_features(model, examples([{"text": "Only a text."}]), task)
    with pytest.raises(InputError, match="no records"):
        prompt_features(model, (), task)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = [model]
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, **given: Any) -> Any:
            return self.inner[0](**given)

    with pytest.raises(InputError, match="the head of Whole cannot be separated from its body"):
        prompt_features(Whole(), examples([{"prompt": "Who?", "completion": "Me."}]), task)
