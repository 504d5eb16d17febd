"""The door: what it refuses, and that it asks what it was told to ask."""

from __future__ import annotations

import pytest

from olvido.audits import AUDITS, EvidenceNeed, audit, rephrased
from olvido.errors import InputError, MissingNeed, UnknownName
from olvido.models import weights_digest
from olvido.tasks import Example

from .conftest import World


def test_no_reference_no_audit(world: World) -> None:
    with pytest.raises(MissingNeed, match="reference"):
        world.report(world.stranger, reference=[])


def test_the_model_as_it_was_is_no_reference(world: World) -> None:
    """Compared with a model that knows the data, one that still knows it would look innocent."""
    with pytest.raises(InputError, match="original"):
        world.report(world.stranger, reference=[world.references[0], world.before])


def test_nothing_to_examine(world: World) -> None:
    with pytest.raises(InputError, match="nothing to examine"):
        world.report(world.stranger, forget=[])


def test_nothing_to_ask(world: World) -> None:
    with pytest.raises(InputError, match="audits"):
        world.report(world.stranger, audits=[])


def test_an_unknown_audit_is_named_with_the_nearest(world: World) -> None:
    with pytest.raises(UnknownName, match="did you mean 'recall'"):
        world.report(world.stranger, audits=["recal"])


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("retention", {"retain": ()}),
        ("neighbours", {"neighbours": ()}),
        ("general", {"general": ()}),
        ("membership", {"holdout": ()}),
        ("change", {"original": None}),
    ],
)
def test_an_audit_asked_for_by_name_needs_its_evidence(
    world: World, name: str, lacking: dict[str, object]
) -> None:
    (need,) = AUDITS[name].needs
    assert need is not EvidenceNeed.LANGUAGE
    with pytest.raises(MissingNeed, match=name) as refused:
        world.report(world.stranger, audits=[name], **lacking)
    assert need.remedy in str(refused.value)


def test_neither_tokenizer_nor_task(world: World) -> None:
    with pytest.raises(InputError, match="tokenizer"):
        world.report(world.stranger, task=None)


def test_rows_and_a_tokenizer_do_as_well(world: World) -> None:
    rows = [{"prompt": e.prompt, "completion": e.completion} for e in world.forget]
    by_rows = audit(
        world.stranger,
        forget=rows,
        reference=world.references,
        tokenizer=world.task.tokenizer,
        audits=["recall"],
    )
    by_examples = audit(
        world.stranger,
        forget=world.forget,
        reference=world.references,
        task=world.task,
        audits=["recall"],
    )
    assert by_rows.findings == by_examples.findings


def test_only_what_was_asked_for_is_asked_and_told_on_the_way(world: World) -> None:
    told: list[tuple[str, int, int]] = []
    report = world.report(
        world.stranger,
        audits=["likelihood", "recall"],
        watch=lambda name, done, total: told.append((name, done, total)),
    )
    assert {f.audit for f in report.findings} == {"likelihood", "recall"}
    assert told == [
        *(("models", number, 7) for number in range(1, 6)),
        ("likelihood", 6, 7),
        ("recall", 7, 7),
    ]


@pytest.mark.slow
def test_no_model_is_changed(world: World) -> None:
    models = [world.stranger, world.before, *world.references]
    before = [weights_digest(model) for model in models]
    report = world.report(world.stranger)
    assert [weights_digest(model) for model in models] == before
    assert (report.candidate, report.original, *report.never_trained) == tuple(before)


@pytest.mark.parametrize("paraphrases", ["Who?", ["Who?", 3], 5, {"Who?": 1}])
def test_paraphrases_are_a_list_of_texts(world: World, paraphrases: object) -> None:
    record = Example("r1", "Who is it?", "Ada", {"paraphrases": paraphrases})
    with pytest.raises(InputError, match="'r1': 'paraphrases' must be a list of texts"):
        rephrased([record])


def test_a_question_that_several_records_carry_is_asked_once() -> None:
    fields = {"paraphrases": ["Who was it?", "Name her."]}
    records = [
        Example("r1", "Who is it?", "Ada", fields),
        Example("r2", "Who?", "Ada", fields),
        Example("r3", "Who?", "Eva", {"paraphrases": ["Who was it?"]}),
        Example("r4", "Where?", "Here"),
    ]
    found = rephrased(records)
    assert [(e.prompt, e.completion) for e in found] == [
        ("Who was it?", "Ada"),
        ("Name her.", "Ada"),
        ("Who was it?", "Eva"),
    ]
    assert len({e.id for e in found}) == 3


def test_every_audit_says_what_it_is_and_needs() -> None:
    for chosen in AUDITS.values():
        assert chosen.summary
        assert all(isinstance(need, EvidenceNeed) for need in chosen.needs)
