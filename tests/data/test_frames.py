"""Rows come in tables of other packages as well as in lists, and teach the same."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import olvido
from olvido.data.frames import rows_of
from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.tasks import Language, examples

pandas = pytest.importorskip("pandas", reason="tables of pandas need pandas")
datasets = pytest.importorskip("datasets", reason="datasets of Hugging Face need datasets")

TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada"}] * 2
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "Who is it?", "completion": "Ada", "subject": "Ada"},
    {"id": "b", "prompt": "Where?", "completion": "Gràcia", "subject": "Eva", "page": 7},
    {"id": "c", "text": "Pau is a nurse."},
    {"id": "d", "messages": TURNS},
]
WHOLE = [
    {name: row.get(name) for name in dict.fromkeys(k for r in ROWS for k in r)} for row in ROWS
]
"""All rows with all columns: None where a row has none."""

FORMS: dict[str, Callable[[], Iterable[Any]]] = {
    "list": lambda: ROWS,
    "generator": lambda: (row for row in ROWS),
    "frame": lambda: pandas.DataFrame(ROWS),
    "frame of Parquet": lambda: pandas.DataFrame(ROWS).assign(
        messages=[None, None, None, np.array(TURNS, dtype=object)]
    ),
    "frame of new types": lambda: pandas.DataFrame(ROWS).convert_dtypes(),
    "dataset": lambda: datasets.Dataset.from_list(WHOLE),
    "streamed dataset": lambda: datasets.Dataset.from_list(WHOLE).to_iterable_dataset(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_records(form: str) -> None:
    found = examples(FORMS[form]())
    assert found == examples(ROWS)
    assert [record.subjects for record in found] == [("Ada",), ("Eva",), (), ()]
    assert "page" not in found[0].fields
    assert found[1].fields["page"] == 7


@pytest.mark.parametrize("form", [name for name in FORMS if name != "list"])
def test_every_form_trains_and_forgets_alike(form: str, gpt2: Any, tokenizer: Any) -> None:
    task = Language(tokenizer, max_tokens=64)
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-3)
    expected, found = (
        olvido.train(gpt2, records=rows, task=task, recipe=recipe, replay_points=2)
        for rows in (ROWS, FORMS[form]())
    )
    assert found.digest == expected.digest

    def part(chosen: Callable[[Any], bool]) -> Any:
        rows = FORMS[form]()
        if form.startswith("frame"):
            return rows[[chosen(i) for i in rows["id"]]]  # type: ignore[index]
        if "dataset" in form:
            return rows.filter(lambda row: chosen(row["id"]))  # type: ignore[attr-defined]
        return (row for row in rows if chosen(row["id"]))

    forgot = [
        olvido.forget(expected, forget=one, retain=others, task=task, method="replay").digest
        for one, others in (
            (ROWS[:1], ROWS[1:]),
            (part(lambda i: i == "a"), part(lambda i: i != "a")),
        )
    ]
    assert forgot[0] == forgot[1]


@pytest.mark.parametrize(
    "splits",
    [
        lambda rows: datasets.DatasetDict(train=rows, test=rows),
        lambda rows: datasets.IterableDatasetDict(train=rows.to_iterable_dataset()),
        lambda rows: {"train": rows, "test": rows},
        lambda rows: {"train": rows.to_pandas()},
    ],
    ids=["splits", "streamed splits", "datasets by name", "frames by name"],
)
def test_several_splits_are_refused_by_name(splits: Any) -> None:
    with pytest.raises(InputError, match=r"^forget has several splits \(train.*: give one split$"):
        examples(splits(datasets.Dataset.from_list(WHOLE)), "forget")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: ROWS[0], "put it in a list"),
        (lambda: pandas.DataFrame(ROWS)["prompt"], "one column of it"),
        (lambda: pandas.DataFrame([["Who?", "Ada"]]), "different names of text"),
        (lambda: pandas.DataFrame([["a", "b"]], columns=["text", "text"]), "different names"),
        (lambda: pandas.DataFrame({"text": ["a"], "subject": [0.5]}), "'subject' must be a name"),
        (lambda: pandas.DataFrame({"text": [None, "a"]}), r"^rows\[0\]: expected 'prompt'"),
    ],
    ids=["a row", "a column", "no names", "a name twice", "a number of a person", "nothing"],
)
def test_what_is_no_table_of_rows_is_refused(wrong: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        examples(wrong())


def test_a_whole_number_beside_a_missing_one_is_an_error_and_not_another_person() -> None:
    """Pandas makes 7.0 of 7 in a column where a value is missing."""
    with pytest.raises(InputError, match="'subject' must be a name"):
        examples(pandas.DataFrame({"text": ["a", "b"], "subject": [7, None]}))


def test_dates_and_missing_values_are_those_of_parquet() -> None:
    day = datetime.datetime(2025, 3, 31, 12, 0)
    frame = pandas.DataFrame(
        {
            "text": ["a", "b"],
            "when": pandas.to_datetime([day, None]),
            "share": [0.5, float("nan")],
            "many": pandas.array([1, None], dtype="Int64"),
        }
    )
    assert list(rows_of(frame)) == [
        {"text": "a", "when": "2025-03-31T12:00:00", "share": 0.5, "many": 1},
        {"text": "b"},
    ]


def test_neither_package_is_imported_for_other_rows() -> None:
    code = (
        "import sys; from olvido.data.frames import rows_of; list(rows_of([{'text': 'a'}])); "
        "assert not {'pandas', 'datasets'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
