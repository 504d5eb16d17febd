"""Rows become examples, or the row that cannot is named."""

from typing import Any

import pytest

from olvido.errors import InputError
from olvido.tasks import Example, examples


@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"prompt": "Who?", "completion": "Ada"}, "Who?", "Ada"),
        ({"question": "Who?", "answer": "Ada"}, "Who?", "Ada"),
        ({"text": "Ada was here."}, "", "Ada was here."),
    ],
)
def test_the_three_kinds_of_row(row: dict[str, Any], prompt: str, completion: str) -> None:
    (example,) = examples([{**row, "topic": "people"}])
    assert (example.prompt, example.completion) == (prompt, completion)
    assert example.fields["topic"] == "people"


def test_an_id_left_out_follows_the_content() -> None:
    one, two = examples([{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "c"}])
    (again,) = examples([{"completion": "b", "prompt": "a", "topic": "other"}])
    assert one.id == again.id != two.id


def test_examples_pass_through() -> None:
    given = (Example("x", "a", "b"),)
    assert examples(given) == given


def test_an_example_takes_nothing_from_a_row_that_changes_later() -> None:
    row = {"text": "a", "topic": "before"}
    (example,) = examples([row])
    row["topic"] = "after"
    assert example.fields["topic"] == "before"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("text", "expected a dictionary, got str"),
        ({}, "expected 'prompt' and 'completion', or 'text', or 'input' and 'label'; got []"),
        ({"label": "a"}, "got ['label']"),
        ({"prompt": "a"}, "'completion' must be text, got NoneType"),
        ({"completion": "a"}, "'prompt' must be text, got NoneType"),
        ({"prompt": 3, "completion": "a"}, "'prompt' must be text, got int"),
        ({"question": "a", "answer": ["b"]}, "'answer' must be text, got list"),
        ({"prompt": "a", "completion": "  \n"}, "'completion' is empty"),
        ({"text": ""}, "'text' is empty"),
        ({"text": None}, "'text' must be text, got NoneType"),
        ({"text": "a", "id": 7}, "'id' must be text, got int"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        examples([{"text": "fine"}, row], "retain")
    message = str(caught.value)
    assert message.startswith("retain[1]: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("repeated", [{"text": "b", "id": "x"}, Example("x", "", "b")])
def test_no_id_stands_twice(repeated: Any) -> None:
    with pytest.raises(InputError, match=r"forget\[1\]: the id 'x' stands twice"):
        examples([{"text": "a", "id": "x"}, repeated], "forget")
