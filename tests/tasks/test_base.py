"""Rows become examples, or the row that cannot is named."""

from typing import Any

import numpy as np
import pytest

from olvido.errors import InputError
from olvido.tasks import Example, Labels, examples


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
        (
            {},
            "'completion', or 'text', or 'messages', or 'input' and 'label'; got []",
        ),
        ({"label": "a"}, "got ['label']"),
        ({"prompt": "a"}, "'completion' must be text, got NoneType"),
        ({"completion": "a"}, "'prompt' must be text, got NoneType"),
        ({"prompt": 3, "completion": "a"}, "'prompt' must be text, got int"),
        ({"question": "a", "answer": ["b"]}, "'answer' must be text, got list"),
        ({"prompt": "a", "completion": "  \n"}, "'completion' is empty"),
        ({"text": ""}, "'text' is empty"),
        ({"text": None}, "expected 'prompt' and 'completion', or 'text'"),
        ({"prompt": "Who \ud800?", "completion": "a"}, "half a character"),
        ({"text": "a", "id": "\udfff"}, "'id' holds half a character"),
        ({"text": "a", "subject": "Ana \ud83d"}, "'subject' holds half a character"),
        ({"text": "a", "paraphrases": ["b", "\ud800"]}, "'paraphrases' holds half"),
        ({"text": "a", "meta": {"by": {"\udc00": 1}}}, "'meta' holds half"),
        ({"input": [1.0], "label": "\ud800"}, "'label' holds half a character"),
        ({"text": "a", "subject": 4711.0}, "'subject' must be a name, a whole number or a list"),
        ({"text": "a", "subject": float("nan")}, "got float: leave it out"),
        ({"text": "a", "subject": True}, "got bool"),
        ({"text": "a", "subject": b"Ana"}, "got bytes"),
        ({"text": "a", "subject": {"name": "Ana"}}, "got dict"),
        ({"text": "a", "subjects": ["Ana", None]}, "got NoneType"),
        ({"text": "a", "subjects": [["Ana"]]}, "got list"),
        ({"text": "a", "id": True}, "'id' must be text or a whole number, got bool"),
        ({"text": "a", "id": 7.5}, "'id' must be text or a whole number, got float"),
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


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "a", "id": 7}, "7"),
        ({"text": "a", "id": 0}, "0"),
        ({"text": "a", "id": np.int64(12)}, "12"),
        ({"text": "a", "id": "x", "prompt": None, "completion": None}, "x"),
    ],
)
def test_ids_are_text_or_whole_numbers_and_none_is_nothing(row: Any, expected: str) -> None:
    (example,) = examples([row])
    assert (example.id, example.completion) == (expected, "a")


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"subject": 4711}, ("4711",)),
        ({"subject": 0}, ("0",)),
        ({"subjects": ["Ana", 12]}, ("Ana", "12")),
        ({"subjects": None, "subject": "Ana"}, ("Ana",)),
        ({"subjects": [], "subject": ""}, ()),
        ({"subject": np.int64(4712)}, ("4712",)),
        ({"subject": 10**20}, ("1" + "0" * 20,)),
        ({"subject": -3}, ("-3",)),
        ({"subjects": np.array([12, 13])}, ("12", "13")),
        ({"subjects": ("Ana", "Joan")}, ("Ana", "Joan")),
    ],
)
def test_subjects_may_be_numbers(about: Any, expected: tuple[str, ...]) -> None:
    assert examples([{"text": "a", **about}])[0].subjects == expected


def test_equal_rows_without_ids_are_records_of_their_own() -> None:
    read = examples([{"text": "a"}, {"text": "a"}, {"text": "b"}, {"text": "a", "id": None}])
    assert len({example.id for example in read}) == 4
    assert [example.completion for example in read] == ["a", "a", "b", "a"]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "answer": "Ada"},
        {"text": "a", "subject": "Ana", "topic": "x"},
        {"input": [[1.0, 2.0]], "label": "cat"},
        {"input": np.zeros((1, 2), np.uint8), "label": 0},
    ],
)
@pytest.mark.parametrize("times", [2, 5])
def test_equal_rows_of_every_kind_are_read_and_named_alike_again(row: Any, times: int) -> None:
    read = examples([row] * times)
    assert len({example.id for example in read}) == times
    assert [example.id for example in read] == [example.id for example in examples([row] * times)]
    assert {Labels(["cat", "0"]).content(e) if "input" in row else e.completion for e in read} == {
        Labels(["cat", "0"]).content(read[0]) if "input" in row else read[0].completion
    }
