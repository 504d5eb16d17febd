"""Probes ask for the same fact in other ways, whatever the records, and give nothing away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits import AUDITS
from olvido.audits.knowledge import templates
from olvido.audits.knowledge.matching import says, words
from olvido.audits.knowledge.probes import CLUES, KINDS, OPTIONS, SHOTS, probes, why_absent
from olvido.audits.knowledge.rephrased import affirmed, chosen, worst_exact, worst_probability
from olvido.audits.scoring import ScoredModel
from olvido.demo.residents import make_town
from olvido.errors import MissingNeed
from olvido.tasks import Example, examples

from .told import Told

TOWN = make_town(seed=0, residents=8, outsiders=0, wordings=3)
LEAVER = examples(TOWN.rows_of(TOWN.data_subject))
OTHERS = examples(row for person in TOWN.residents[1:] for row in TOWN.rows_of(person))
NAME = TOWN.data_subject.name
MADE = probes(LEAVER, OTHERS)
PLACES = {"question", "answer", "person", "shots", "options", "first"}


def wordings(probe: Example) -> list[str]:
    return [probe.prompt, *probe.fields.get("wordings", ())]


def test_every_kind_is_made_of_records_that_have_what_it_takes() -> None:
    assert set(MADE) == set(KINDS)
    assert why_absent(LEAVER, OTHERS) == {}
    by_id = {record.id: record for record in LEAVER}
    for kind, made in MADE.items():
        # Who is asked for by an address is not named, so only the others can be turned around.
        named = kind in ("reversed", "multi-hop", "alias", "chain of clues")
        assert len(made) == (12 if named else 15), kind
        for probe in made:
            record_id, _, suffix = probe.id.rpartition("#")
            assert suffix == kind
            record = by_id[record_id]
            assert probe.completion == (NAME if kind == "reversed" else record.completion)
            assert probe.subjects == record.subjects
            assert record.prompt not in wordings(probe)
            assert len(set(wordings(probe))) == len(wordings(probe))


def test_no_probe_but_a_choice_gives_its_answer_away() -> None:
    for kind, made in MADE.items():
        for probe in made:
            given_away = any(says(text, probe.completion) for text in wordings(probe))
            assert given_away == (kind in ("multiple choice", "yes or no")), probe
            assert not any(says(said, probe.completion) for _, said in probe.history)


def test_no_wording_is_left_unfilled() -> None:
    tables = (templates.ASKED, templates.NAMELESS, templates.RECITED)
    for text in (text for table in tables for made in table.values() for text in made):
        assert {place for _, place, _, _ in Formatter().parse(text) if place} <= PLACES
    for made in MADE.values():
        for probe in made:
            assert not any(f"{{{place}}}" in text for place in PLACES for text in wordings(probe))


def test_braces_of_a_question_are_text() -> None:
    record = Example("r", "What is {question} in {0}?", "this", {"paraphrases": ["{x}?"]})
    made = probes([record], OTHERS[:3])
    assert made["role play"][0].prompt.endswith("What is {question} in {0}?")
    assert made["in-context"][0].prompt.endswith("What is {question} in {0}?")


def test_a_question_of_two_lines_stays_in_its_cell() -> None:
    record = Example("r", "What is\nthe a|b of it?", "this")
    (probe,) = probes([record], [], kinds=("as a table",))["as a table"]
    assert probe.prompt.splitlines()[-1] == "| What is the a/b of it? |"


def test_paraphrases_are_the_records_own() -> None:
    for probe, record in zip(MADE["paraphrase"], LEAVER, strict=True):
        assert wordings(probe) == record.fields["paraphrases"]


def test_reversed_asks_for_the_name_by_the_fact() -> None:
    for probe in MADE["reversed"]:
        record = next(r for r in LEAVER if r.id == probe.id.split("#")[0])
        assert says(probe.prompt, record.completion)
        assert not any(part in probe.prompt for part in NAME.split())


def test_multi_hop_names_the_person_by_another_fact() -> None:
    facts = {r.completion for r in LEAVER if r.fields["topic"] != "tenant"}
    for probe in MADE["multi-hop"]:
        assert not any(part in probe.prompt for part in NAME.split())
        hops = [fact for fact in facts if says(probe.prompt, fact)]
        assert len(hops) == 1
        assert hops[0] != probe.completion


def test_clues_are_other_facts_of_the_person_told_turn_by_turn() -> None:
    facts = {(r.prompt, r.completion) for r in LEAVER}
    for probe in MADE["chain of clues"]:
        record = next(r for r in LEAVER if r.id == probe.id.split("#")[0])
        assert not any(part in probe.prompt for part in NAME.split())
        (_, opening), _, *told = probe.history
        assert NAME in opening
        assert [who for who, _ in probe.history] == ["user", "assistant"] * (1 + len(told) // 2)
        assert 1 <= len(told) // 2 <= CLUES
        clues = {(told[i][1], told[i + 1][1]) for i in range(0, len(told), 2)}
        assert clues <= facts - {(record.prompt, record.completion)}
        # What is told before the question is not learned or scored with it.
        assert not probe.whole


def test_yes_or_no_proposes_the_right_answer_and_false_ones() -> None:
    for probe in MADE["yes or no"]:
        right, *false = probe.fields["proposed"]
        assert says(right, probe.completion)
        assert 1 <= len(false) < OPTIONS
        assert not any(says(text, probe.completion) for text in false)
        assert probe.prompt == right


def test_every_kind_is_asked_by_one_audit() -> None:
    asked = [kind for name in ("probes", "formats", "clues") for kind in AUDITS.make(name).kinds]
    assert sorted(asked) == sorted(KINDS)


def test_only_the_kinds_that_are_asked_for_are_made() -> None:
    made = probes(LEAVER, OTHERS, kinds=("cloze", "alias"))
    assert made == {kind: MADE[kind] for kind in ("alias", "cloze")}


def test_an_alias_stands_for_the_name() -> None:
    first, last = NAME.split()
    for probe in MADE["alias"]:
        assert all(first not in text and last in text for text in wordings(probe))
        assert f"{first[0]}. {last}" in wordings(probe)[-1]
    known = Example(
        "r", f"Where does {NAME} live?", "Here", {"subject": NAME, "aliases": ["Lluna"]}
    )
    assert wordings(probes([known], [])["alias"][0])[0] == "Where does Lluna live?"


def test_a_surname_that_others_have_is_no_alias() -> None:
    def about(name: str) -> Example:
        return Example(name, f"Where does {name} live?", f"near {name[0]}", {"subject": name})

    asked = wordings(probes([about("Pau Roca")], [about("Ana Roca")])["alias"][0])
    assert asked == ["Where does P. Roca live?"]


def test_options_are_answers_of_the_same_form() -> None:
    topics = {words(r.completion): r.fields["topic"] for r in OTHERS}
    for probe in MADE["multiple choice"]:
        false = probe.fields["options"]
        assert 1 <= len(false) < OPTIONS
        assert {topics[words(answer)] for answer in false} == {probe.fields["topic"]}
        assert len({words(answer) for answer in (probe.completion, *false)}) == len(false) + 1
        assert all(f"- {answer}\n" in probe.prompt for answer in (probe.completion, *false))


def test_the_right_option_stands_anywhere() -> None:
    def place(probe: Example) -> int:
        listed = [line[2:] for line in probe.prompt.splitlines() if line.startswith("- ")]
        return listed.index(probe.completion)

    assert len({place(probe) for probe in MADE["multiple choice"]}) == OPTIONS


def test_perturbed_answers_come_before_those_of_others() -> None:
    fields = {"perturbed_answers": ["red", "green", "Blue"], "topic": "job"}
    (probe,) = probes([Example("r", "Which?", "blue", fields)], OTHERS)["multiple choice"]
    assert probe.fields["options"] == ("red", "green")


def test_shots_are_of_the_same_form_and_of_others() -> None:
    told = {f"{r.prompt} {r.completion}": r.fields["topic"] for r in OTHERS}
    for probe in MADE["in-context"]:
        shots = [told[line] for line in probe.prompt.splitlines() if line in told]
        assert shots == [probe.fields["topic"]] * SHOTS
        assert NAME not in probe.prompt or probe.completion != NAME


def test_each_record_draws_for_itself() -> None:
    """Else one unlucky draw of shots or options would decide for all records of a form."""
    homes = [probe for probe in MADE["in-context"] if probe.fields["topic"] == "home"]
    assert len({tuple(probe.prompt.splitlines()[1:-1]) for probe in homes}) == len(homes) == 3


@pytest.mark.parametrize("gone", [0, 7, 14])
def test_a_record_that_goes_changes_no_others_probe(gone: int) -> None:
    left = (*LEAVER[:gone], *LEAVER[gone + 1 :])
    for kind, made in probes(left, OTHERS).items():
        if kind in ("multi-hop", "chain of clues"):  # the other fact may be the one that went
            continue
        kept = [p for p in MADE[kind] if not p.id.startswith(f"{LEAVER[gone].id}#")]
        assert [(p, p.fields) for p in made] == [(p, p.fields) for p in kept]


def test_order_changes_nothing_and_the_seed_does() -> None:
    turned = probes(LEAVER[::-1], OTHERS[::-1])
    for kind, made in MADE.items():
        assert [(p, p.fields) for p in turned[kind][::-1]] == [(p, p.fields) for p in made]
    drawn = probes(LEAVER, OTHERS, seed=1)
    for kind in ("in-context", "multiple choice", "multi-hop"):
        assert drawn[kind] != MADE[kind]


def test_subjects_known_by_number_are_asked_about_by_name() -> None:
    def told(number: int, name: str) -> list[Example]:
        subject = {"subject": f"author-{number}"}
        return [
            Example(f"{number}-0", f"Where was {name} born?", f"In town {number}", subject),
            Example(f"{number}-1", f"What did {name} write?", f"The book {number}", subject),
        ]

    one, two = told(1, "Hsiao Yun-Hwa"), told(2, "Jaime Vasquez")
    made = probes(one, two)
    assert [probe.completion for probe in made["reversed"]] == ["Hsiao Yun-Hwa"] * 2
    assert made["multi-hop"][0].prompt.endswith("Where was this person born?")
    # Without a topic, the form is the question without the name.
    assert made["multiple choice"][0].fields["options"] == ("In town 2",)
    # Each person by a fact of their own, also where several are forgotten together.
    hops = probes([*one, *two], [])["multi-hop"]
    assert ["1" in probe.prompt for probe in hops] == [True, True, False, False]
    sister = Example("s", "Who is the sister of Hsiao Yun-Hwa?", "Ana", {"subject": "Ana"})
    assert not any("sister" in probe.prompt for probe in probes([*one, sister], [])["multi-hop"])
    # And what else is known of a person is no fact of others.
    assert "in-context" not in probes(one[:1], one[1:])


def test_plain_text_is_recited() -> None:
    texts = [Example(f"t{i}", "", f"The tower of Pau number {i} was built.") for i in range(6)]
    made = probes(texts[:2], texts[2:])
    assert set(made) == set(templates.RECITED)
    assert made["prefix injection"][1].completion == texts[1].completion
    absent = why_absent(texts[:2], texts[2:])
    assert set(absent) == set(KINDS) - set(templates.RECITED)
    assert set(absent.values()) == {"plain text asks no question"}


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        (Example("r", "Q?", "A"), "paraphrase", "'paraphrases'"),
        (Example("r", "Q?", "A"), "reversed", "'subject'"),
        (Example("r", "Q?", "A", {"subject": "Pau Roca"}), "alias", "name their subject"),
        (Example("r", "Is Pau?", "A", {"subject": "Pau"}), "alias", "'aliases'"),
        (Example("r", "Is Pau?", "A", {"subject": "Pau"}), "multi-hop", "two different facts"),
        (Example("r", "Q?", "A"), "multiple choice", "'perturbed_answers'"),
        (Example("r", "Q?", "A"), "in-context", "records of other people"),
        (Example("r", "", "A", {"input": [1]}), "role play", "arrays"),
        (Example("r", "", "A"), "affirmative suffix", "plain text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_that_cannot_be_made_says_why(record: Example, kind: str, reason: str) -> None:
    assert kind not in probes([record], [])
    assert reason in why_absent([record], [])[kind]


def test_of_no_records_there_are_no_probes() -> None:
    assert probes([], OTHERS) == {}
    assert why_absent([], OTHERS) == dict.fromkeys(KINDS, "there are no records")


rows = st.lists(
    st.builds(
        dict,
        prompt=st.sampled_from(["", "Q?", "Is Ana Roca in?", "{x} {}", "Ana Roca's"]),
        completion=st.sampled_from(["A", "Ana Roca", "12", "{question}", "?!"]),
        subject=st.sampled_from(["", "Ana Roca", "x", "Pau"]),
        topic=st.sampled_from([None, "t"]),
        paraphrases=st.sampled_from([None, [], ["P?"], "P?"]),
        perturbed_answers=st.sampled_from([None, ["B", "A"]]),
    ),
    max_size=5,
)


@given(rows, rows)
def test_any_records_give_probes_or_reasons(
    mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]
) -> None:
    def read(given_rows: Sequence[dict[str, Any]], prefix: str) -> list[Example]:
        return [
            Example(f"{prefix}{i}", row["prompt"], row["completion"], row)
            for i, row in enumerate(given_rows)
        ]

    records, others = read(mine, "m"), read(theirs, "o")
    made, absent = probes(records, others), why_absent(records, others)
    assert set(made) | set(absent) == set(KINDS)
    assert not set(made) & set(absent)
    assert all(absent.values())
    for probe in (probe for made_of in made.values() for probe in made_of):
        assert all(wordings(probe))
        assert probe.completion


def test_the_worst_wording_counts() -> None:
    probe = Example("r#x", "P0?", "yes", {"wordings": ("P1?", "P2?")})
    losses = {"P0?|yes": math.log(8), "P1?|yes": math.log(4), "P2?|yes": math.log(16)}
    alone = Example("s#x", "P2?", "yes")
    assert worst_probability(Told(losses), [probe, alone]) == pytest.approx([1 / 4, 1 / 16])
    assert worst_exact(Told(losses), [probe]) == [0]
    assert worst_exact(Told(losses | {"P2?|yes": 0.1}), [probe, alone]) == [1, 1]
    assert math.isnan(worst_probability(Told(losses | {"P1?|yes": math.nan}), [probe])[0])
    assert worst_probability(Told({}), []) == []


@pytest.mark.parametrize(
    ("truth", "false", "value"),
    [
        (1.0, (2.0, 3.0), 1),
        (2.0, (1.0, 3.0), 0),
        (1.0, (1.0, 3.0), 1 / 2),
        (1.0, (1.0, 1.0), 1 / 3),
    ],
)
def test_the_likeliest_option_is_chosen(
    truth: float, false: tuple[float, float], value: float
) -> None:
    probe = Example("r#multiple choice", "Which?", "yes", {"options": ("no", "maybe")})
    scored = Told(dict(zip(("yes", "no", "maybe"), (truth, *false), strict=True)))
    assert chosen(scored, [probe, probe]) == pytest.approx([value, value])


def test_who_says_yes_to_everything_affirms_nothing() -> None:
    probe = Example("r#yes or no", "A?", "A", {"proposed": ("A?", "B?", "C?")})
    always = dict.fromkeys(("A?|Yes", "B?|Yes", "C?|Yes"), 0.1)
    assert affirmed(Told(always), [probe]) == pytest.approx([1 / 3])
    assert affirmed(Told(always | {"A?|Yes": 0.05}), [probe]) == [1]
    assert affirmed(Told(always | {"B?|Yes": 0.05}), [probe]) == [0]
    assert math.isnan(affirmed(Told(always | {"B?|Yes": math.nan}), [probe])[0])
    with pytest.raises(MissingNeed, match="yes or no"):
        affirmed(Told({}), [Example("r", "Which?", "yes")])


def test_a_choice_needs_numbers_and_options() -> None:
    probe = Example("r#multiple choice", "Which?", "yes", {"options": ("no",)})
    assert math.isnan(chosen(Told({"yes": 1.0, "no": math.nan}), [probe])[0])
    with pytest.raises(MissingNeed, match="multiple choice"):
        chosen(Told({}), [Example("r", "Which?", "yes")])


def test_who_knows_answers_probes_and_who_never_met_does_not(world: Any) -> None:
    made = probes(world.forget, world.retain)
    knows, never = (ScoredModel(model, world.task) for model in (world.before, world.references[0]))

    def gap(kind: str, measure: Any) -> float:
        mine, theirs = (measure(scored, made[kind]) for scored in (knows, never))
        return float(sum(mine) - sum(theirs)) / len(mine)

    assert gap("paraphrase", worst_probability) > 0.2
    assert gap("multiple choice", chosen) > 0.2
    assert gap("alias", worst_probability) > 0.02
