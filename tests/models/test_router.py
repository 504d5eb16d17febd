"""A router finds the nearest taught question, and forgets one as if it had never known it."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from olvido.demo.residents import Town
from olvido.errors import DigestMismatch, InputError, UnknownName
from olvido.models import weights_digest
from olvido.models.router import RoutedQuestion, Router, embedding


@pytest.fixture(scope="module")
def entries(town: Town) -> list[RoutedQuestion]:
    """Every question of the town, two residents a module."""
    return [
        RoutedQuestion(row["id"], row["prompt"], f"module-{resident.number // 2:03d}")
        for resident in town.residents
        for row in town.rows_of(resident)
    ]


@pytest.fixture(scope="module")
def router(entries: list[RoutedQuestion]) -> Router:
    return Router("ngrams").add(entries)


def test_every_taught_question_goes_home(router: Router, entries: list[RoutedQuestion]) -> None:
    routes = router.route([entry.question for entry in entries])
    assert routes == [entry.module for entry in entries]


def test_routes_are_those_of_a_search_through_all_pairs(
    router: Router, entries: list[RoutedQuestion], town: Town
) -> None:
    asked = [
        paraphrase
        for resident in (*town.residents, *town.outsiders)
        for row in town.rows_of(resident)[:5]
        for paraphrase in row["paraphrases"][:2]
    ]
    embed = embedding("ngrams").together
    taught = {entry.id: embed([entry.question])[0].double() for entry in entries}
    expected: list[str | None] = []
    for question in asked:
        vector = embed([question])[0].double()
        row = max(entries, key=lambda entry: float(vector @ taught[entry.id]))
        near = float(vector @ taught[row.id]) >= router.threshold
        expected.append(row.module if near else None)
    assert router.route(asked) == expected
    assert None in expected
    assert len(set(expected)) > 3


def test_the_order_of_adding_leaves_no_mark(router: Router, entries: list[RoutedQuestion]) -> None:
    shuffled = random.Random(0).sample(entries, len(entries))
    again = Router("ngrams").add(shuffled[:50]).add(shuffled[50:])
    assert weights_digest(again) == weights_digest(router)
    assert again.ids == tuple(sorted(router.ids))


def test_a_deleted_row_is_as_if_it_had_never_been(
    router: Router, entries: list[RoutedQuestion]
) -> None:
    gone = {entry.id for entry in entries[::7]}
    left = router.without(gone)
    never = Router("ngrams").add(entry for entry in entries if entry.id not in gone)
    assert weights_digest(left) == weights_digest(never) != weights_digest(router)
    assert (left.ids, left.module_names) == (never.ids, never.module_names)
    assert len(router.ids) == len(entries)


def test_a_module_leaves_with_all_its_rows(router: Router, entries: list[RoutedQuestion]) -> None:
    left = router.without_module("module-002")
    assert "module-002" not in left.module_names
    never = Router("ngrams").add(entry for entry in entries if entry.module != "module-002")
    assert weights_digest(left) == weights_digest(never)


def test_without_its_last_row_it_is_a_new_one_and_answers_nothing(router: Router) -> None:
    empty = router.without(router.ids)
    assert weights_digest(empty) == weights_digest(Router("ngrams"))
    assert empty.route(["Who?", ""]) == [None, None]


def test_the_digest_tells_where_questions_go() -> None:
    digests = {
        weights_digest(Router("ngrams", threshold).add([RoutedQuestion(id, "Who is it?", module)]))
        for id, module, threshold in [
            ("a", "module-0", None),
            ("b", "module-0", None),
            ("a", "module-1", None),
            ("a", "module-0", 0.7),
        ]
    }
    assert len(digests) == 4


def test_of_two_equal_questions_the_first_id_answers() -> None:
    rows = [RoutedQuestion(id, "Who is it?", f"module-{id}") for id in "cab"]
    assert Router("ngrams").add(rows).route(["Who is it?"]) == ["module-a"]


@pytest.mark.parametrize("question", ["", "  "])
def test_an_empty_question_is_for_nobody(router: Router, question: str) -> None:
    assert Router("ngrams", -1.0).add([RoutedQuestion("a", "Who?", "module-0")]).route(
        [question]
    ) == [None]
    with pytest.raises(InputError, match="'new' asks nothing"):
        router.add([RoutedQuestion("new", question, "module-0")])


def test_it_stays_in_single_precision(router: Router, entries: list[RoutedQuestion]) -> None:
    before = weights_digest(router)
    assert weights_digest(router.to(torch.bfloat16)) == before


def test_it_comes_back_from_its_files_and_no_question_lies_in_them(
    router: Router, entries: list[RoutedQuestion], tmp_path: Path
) -> None:
    router.save(tmp_path)
    again = Router.load(tmp_path)
    assert weights_digest(again) == weights_digest(router)
    assert (again.ids, again.module_names) == (router.ids, router.module_names)
    assert (again.embedding, again.threshold) == ("ngrams", router.threshold)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert entries[0].question.encode() not in written


def test_rows_and_vectors_of_two_routers_are_refused(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path)
    document = json.loads((tmp_path / "router.json").read_text())
    document["modules"][0] = "module-005"
    (tmp_path / "router.json").write_text(json.dumps(document))
    with pytest.raises(DigestMismatch, match=r"router\.json"):
        Router.load(tmp_path)


def test_a_vector_too_few_is_refused(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path)
    tensors = load_file(tmp_path / "router.safetensors")
    save_file({**tensors, "vectors": tensors["vectors"][1:]}, tmp_path / "router.safetensors")
    with pytest.raises(InputError, match="one vector a row"):
        Router.load(tmp_path)


def test_what_is_not_there_cannot_leave(router: Router) -> None:
    with pytest.raises(InputError, match=r"1 of 2 records .*'nobody'"):
        router.without(["nobody", router.ids[0]])


def test_an_id_stands_once(router: Router) -> None:
    with pytest.raises(InputError, match="already"):
        router.add([RoutedQuestion(router.ids[0], "Who?", "module-000")])
    with pytest.raises(InputError, match="already"):
        router.add(
            [
                RoutedQuestion("new", "Who?", "module-000"),
                RoutedQuestion("new", "Where?", "module-000"),
            ]
        )


def test_bad_arguments() -> None:
    with pytest.raises(UnknownName, match="did you mean 'ngrams'"):
        Router("ngram")
    with pytest.raises(InputError, match="cosine"):
        Router("ngrams", 1.5)
