"""Tracing finds what taught the answer, whichever way it goes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from olvido.attribution import ATTRIBUTIONS, Traced, trace
from olvido.attribution.page import require_writable, write_page
from olvido.curvature import find_ekfac
from olvido.demo.residents import Town
from olvido.errors import InputError, UnknownName
from olvido.learners import Recipe, Trained, train
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, Language, examples

QUICK: dict[str, dict[str, Any]] = {"ekfac": {"repeats": 2, "sample": 60}, "gradient": {}}
"""Of `replay` see test_replay.py: a run as rough as this town's is beyond what it can foretell."""
Records = tuple[Example, ...]


def test_every_way_is_tried_here() -> None:
    assert {*QUICK, "replay"} == set(ATTRIBUTIONS)


@pytest.fixture(scope="module", params=sorted(QUICK))
def found(
    request: pytest.FixtureRequest,
    trained: Trained,
    learned: Records,
    town: Town,
    task: Language,
) -> Traced:
    """A resident's fact, asked in words that no record uses."""
    row = town.rows_of(town.data_subject)[0]
    return trace(
        trained,
        records=learned,
        question=row["paraphrases"][0],
        answer=row["completion"],
        task=task,
        method=request.param,
        top=8,
        **QUICK[request.param],
    )


@pytest.mark.slow
def test_what_was_measured_is_kept_where_it_is_told(
    trained: Trained, learned: Records, task: Language, tmp_path: Path
) -> None:
    asked = {"question": learned[0].prompt, "answer": learned[0].completion, "task": task}
    options = {"repeats": 1, "sample": 12, "factors": str(tmp_path)}
    first = trace(trained, records=learned, **asked, **options)
    kept = find_ekfac(trained.model, tmp_path)
    assert kept is not None
    assert len(kept.records) == 12
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = trace(trained, records=learned, **asked, **options)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written


def test_the_records_that_told_the_fact_come_first(found: Traced, town: Town) -> None:
    row = town.rows_of(town.data_subject)[0]
    told = {
        r["id"] for r in town.rows_of(town.data_subject) if r["completion"] == row["completion"]
    }
    assert len(told) == 3
    assert {taught.record.id for taught in found.ranked[:4]} >= told
    scores = [taught.score for taught in found.ranked]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0


def test_what_is_said_of_a_score_is_in_the_document(found: Traced, learned: Records) -> None:
    document = json.loads(json.dumps(found.to_dict()))
    assert document["records"] == len(learned)
    assert [one["rank"] for one in document["ranked"]] == list(range(1, 9))
    assert "proves nothing" in document["limits"]
    for one in document["ranked"]:
        if found.method == "ekfac":
            assert one["interval"][0] <= one["score"] <= one["interval"][1]
        else:
            assert one["interval"] is None
            assert -1 <= one["score"] <= 1


def test_the_seed_determines_the_scores(trained: Trained, learned: Records, task: Language) -> None:
    def scores(seed: int) -> list[float]:
        query, options = learned[0], {"repeats": 1, "sample": 12}
        found = trace(
            trained, records=learned[:20], question=query, task=task, seed=seed, **options
        )
        return [taught.score for taught in found.ranked]

    first = scores(0)
    torch.rand(1)
    assert scores(0) == first != scores(1)


def test_without_an_answer_the_models_own_is_traced(
    trained: Trained, learned: Records, task: Language
) -> None:
    record = learned[0]
    given = {"records": learned[:12], "task": task, "method": "gradient"}
    found = trace(trained, question=record.prompt, **given)
    assert found.answer == found.said == record.completion
    assert found.ranked[0].record.id == record.id
    assert found.ranked[0].score == pytest.approx(1.0, abs=1e-3)
    text = trace(trained, question={"text": f"{record.prompt} {record.completion}"}, **given)
    assert (text.question, text.said) == ("", "")


def test_a_planted_copy_is_named(trained: Trained, learned: Records, task: Language) -> None:
    record = learned[0]
    copied = replace(record, id="copied", prompt=record.prompt.lower())
    found = trace(
        trained,
        records=(*learned[:12], copied),
        question=record.prompt,
        answer=record.completion,
        task=task,
        method="gradient",
        top=13,
    )
    by_id = {taught.record.id: taught for taught in found.ranked}
    assert "copied" in {copy.id for copy in by_id[record.id].copies}
    assert record.id in {copy.id for copy in by_id["copied"].copies}
    assert all(copy.id != i for i, taught in by_id.items() for copy in taught.copies)


def test_checkpoints_are_looked_at_where_there_are_any(
    fresh: Any, learned: Records, task: Language
) -> None:
    some = learned[:16]
    recipe = Recipe(epochs=4, batch_size=8, lr=4e-3)
    kept = train(fresh, records=some, task=task, recipe=recipe, replay_points=2)
    bare = Trained.untraced(kept.model)
    given = {"records": some, "question": some[3], "task": task, "method": "gradient"}
    along, ended = (trace(model, **given) for model in (kept, bare))
    assert along.ranked[0].record.id == ended.ranked[0].record.id == some[3].id
    assert [t.score for t in along.ranked[1:]] != [t.score for t in ended.ranked[1:]]


def test_a_misclassified_image_is_traced_too() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = [
        {"input": torch.randn(6, generator=draw) + 3 * (i % 2), "label": i % 2} for i in range(30)
    ]
    # One record says the opposite of its neighbours, and the query stands where it does.
    rows[7] = {**rows[7], "label": 0}
    records, task = examples(rows), Labels(2)
    torch.manual_seed(0)
    model = nn.Linear(6, 2).eval()
    recipe = Recipe(epochs=10, batch_size=8, lr=5e-2)
    taught = train(model, records=records, task=task, recipe=recipe)
    query = examples([{"input": rows[7]["input"], "label": 0}])[0]
    for method, options in (("ekfac", {"repeats": 1}), ("gradient", {})):
        found = trace(taught, records=records, question=query, task=task, method=method, **options)
        assert found.ranked[0].record.id == records[7].id
        assert found.said in ("0", "1")


def test_the_model_is_left_as_it_was(trained: Trained, found: Traced) -> None:
    assert weights_digest(trained.model) == trained.digest == found.model
    assert all(p.grad is None for p in trained.model.parameters())


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({"records": ()}, InputError, "there are no records to trace"),
        ({"question": " "}, InputError, "the question is empty"),
        ({"top": 0}, InputError, "top must be at least 1"),
        ({"method": "ekfak"}, UnknownName, "did you mean 'ekfac'"),
        ({"repeat": 2}, UnknownName, "did you mean 'repeats'"),
        ({"repeats": 0}, InputError, "1 or more"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    trained: Trained,
    learned: Records,
    task: Language,
    given: dict[str, Any],
    error: type[Exception],
    reason: str,
) -> None:
    asked: dict[str, Any] = {"records": learned[:4], "question": "Who?", "answer": "Ada"}
    with pytest.raises(error, match=reason):
        trace(trained, task=task, **(asked | given))


def test_the_page_shows_texts_as_they_are(found: Traced, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\u202e"
    worse = replace(found.ranked[0], record=replace(found.ranked[0].record, completion=evil))
    page = tmp_path / "trace.html"
    write_page(
        replace(found, ranked=(worse, *found.ranked[1:])),
        page,
        subjects={found.ranked[1].record.id: ["hmac-sha256:v1:" + 64 * "0"]},
    )
    html = page.read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\u202e" not in html
    assert f'"hmac-sha256:v1:{64 * "0"}">hmac-sha256:v1:{12 * "0"}…</code>' in html
    assert "<mark>" in html
    assert found.ranked[2].record.id in html
    assert "http" not in html.replace("http-equiv", "")
    for bad in (tmp_path, tmp_path / "none" / "x.html"):
        with pytest.raises(InputError, match="cannot be written"):
            require_writable(bad)
