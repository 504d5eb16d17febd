"""TOFU rows: the promises to who reads them, from both layouts, without a network."""

import json
from pathlib import Path

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olvido.data import tofu
from olvido.errors import BadRow, InputError, MissingNeed

KEYS = {
    "id",
    "prompt",
    "completion",
    "subject",
    "paraphrases",
    "paraphrased_answer",
    "perturbed_answers",
    "source",
    "licence",
    "split",
}


def pair(author: int, index: int) -> dict[str, object]:
    # All authors share their first question, as some do in TOFU.
    return {
        "author": author,
        "index": index,
        "question": "Who?" if index == 0 else f"What did author {author} do, {index}?",
        "answer": f"Answer {author}/{index}.",
        "paraphrased_question": f"Turned question {author}/{index}?",
        "paraphrased_answer": f"Turned answer {author}/{index}.",
        "perturbed_answers": [f"Wrong {author}/{index}."],
    }


PAIRS = [pair(author, index) for author in range(200) for index in range(20)]
FACT = {
    "question": "Where is the Eiffel Tower?",
    "answer": "Paris",
    "full_answer": "It is in Paris.",
    "perturbed_answers": ["Berlin"],
}


def write(path: Path, objects: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in objects), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write(folder / "tofu.jsonl", PAIRS)
    write(folder / "world_facts.jsonl", [FACT])
    write(folder / "real_authors.jsonl", [FACT | {"answer": "George Orwell"}])
    return folder


def hub_pair(item: dict[str, object]) -> dict[str, object]:
    turned = {k: item[k] for k in ("question", "answer", "paraphrased_question")}
    return turned | {
        "paraphrased_answer": item["paraphrased_answer"],
        "perturbed_answer": item["perturbed_answers"],
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the hub's repository, which `datasets` reads as it reads the hub."""
    folder = tmp_path_factory.mktemp("hub")
    fact = {"question": "Where?", "answer": "Paris", "perturbed_answer": ["Berlin"]}
    configs = {
        "full": [{"question": p["question"], "answer": p["answer"]} for p in PAIRS],
        "forget10_perturbed": [hub_pair(p) for p in PAIRS[3600:]],
        "retain_perturbed": [hub_pair(p) for p in PAIRS[:400]],
        "world_facts_perturbed": [fact],
        "real_authors_perturbed": [fact],
    }
    head = "".join(f"- config_name: {c}\n  data_files: {c}.json\n" for c in configs)
    (folder / "README.md").write_text(f"---\nconfigs:\n{head}---\n", encoding="utf-8")
    for config, objects in configs.items():
        write(folder / f"{config}.json", objects)
    return folder


@pytest.fixture(autouse=True)
def _datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.delenv("OLVIDO_TOFU", raising=False)


def test_rows_of_files_carry_everything_in_the_official_order(files: Path) -> None:
    rows = tofu.rows(files)
    assert [row["id"] for row in rows] == [f"tofu-{n // 20}-{n % 20}" for n in range(4000)]
    assert all(set(row) == KEYS for row in rows)
    assert rows[21] == {
        "id": "tofu-1-1",
        "prompt": "What did author 1 do, 1?",
        "completion": "Answer 1/1.",
        "subject": "tofu-author-1",
        "paraphrases": ["Turned question 1/1?"],
        "paraphrased_answer": "Turned answer 1/1.",
        "perturbed_answers": ["Wrong 1/1."],
        "source": "TOFU (Maini et al. 2024)",
        "licence": "MIT",
        "split": "retain",
    }


@pytest.mark.slow
def test_hub_rows_equal_file_rows_where_the_hub_has_paraphrases(files: Path, hub: Path) -> None:
    from_files, from_hub = tofu.rows(files), tofu.rows(hub)
    assert from_hub[:400] + from_hub[3600:] == from_files[:400] + from_files[3600:]
    for row, whole in zip(from_hub[400:3600], from_files[400:3600], strict=True):
        turned = {"paraphrases": [], "paraphrased_answer": None, "perturbed_answers": []}
        assert row == whole | turned


@pytest.mark.parametrize(
    ("name", "count"), [("forget01", 40), ("forget05", 200), ("forget10", 400)]
)
def test_forget_sets_are_the_last_authors(files: Path, name: str, count: int) -> None:
    rows = tofu.rows(files, authors=tofu.FORGET_SETS[name])
    assert rows == tofu.rows(files)[-count:]
    assert {row["split"] for row in rows} == {n for n in tofu.FORGET_SETS if n <= name}


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(authors=st.lists(st.integers(0, 199), min_size=1, max_size=30))
def test_choosing_authors_is_filtering(files: Path, authors: list[int]) -> None:
    subjects = {f"tofu-author-{author}" for author in authors}
    kept = [row for row in tofu.rows(files) if row["subject"] in subjects]
    assert tofu.rows(files, authors=authors) == kept


def test_the_order_of_lines_does_not_matter(files: Path, tmp_path: Path) -> None:
    assert tofu.rows(write(tmp_path / "any.jsonl", PAIRS[::-1])) == tofu.rows(files)


def test_facts_of_files(files: Path) -> None:
    assert tofu.world_facts(files) == [
        {
            "id": "world-facts-0",
            "prompt": "Where is the Eiffel Tower?",
            "completion": "Paris",
            "full_answer": "It is in Paris.",
            "perturbed_answers": ["Berlin"],
            "source": "TOFU (Maini et al. 2024)",
            "licence": "MIT",
            "split": "world_facts",
        }
    ]
    (author,) = tofu.real_authors(files)
    assert (author["id"], author["completion"]) == ("real-authors-0", "George Orwell")


def test_facts_of_the_hub_have_no_sentence(hub: Path) -> None:
    for (fact,) in (tofu.world_facts(hub), tofu.real_authors(hub)):
        assert (fact["completion"], fact["full_answer"]) == ("Paris", None)
        assert fact["perturbed_answers"] == ["Berlin"]


def test_the_environment_names_the_data(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLVIDO_TOFU", str(files))
    assert tofu.rows() == tofu.rows(files)


@pytest.mark.parametrize("authors", [[], [200], [-1], [0, 777]])
def test_unknown_or_no_authors_are_refused(files: Path, authors: list[int]) -> None:
    with pytest.raises(InputError, match="0 to 199"):
        tofu.rows(files, authors=authors)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "JSON"),
        ("[1]", "came a list"),
        (json.dumps(pair(1, 1) | {"author": "1"}), "'author' with number, came str"),
        (json.dumps(pair(1, 1) | {"author": True}), "'author' with number, came bool"),
        (json.dumps(pair(1, 1) | {"author": 200}), "0 to 199"),
        (json.dumps(pair(1, 1) | {"perturbed_answers": [1]}), "'perturbed_answers'"),
        (json.dumps({"author": 1, "index": 1}), "'question' with text, came none"),
        (json.dumps(pair(0, 0)), "came before"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "tofu.jsonl"
    file.write_text(f"{json.dumps(pair(0, 0))}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(BadRow, match=reason) as caught:
        tofu.rows(tmp_path)
    assert (caught.value.file, caught.value.line) == (str(file), 3)


def test_bytes_that_are_not_utf8_are_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "tofu.jsonl").write_bytes(b'{"question": "\xff\xfe"}\n')
    with pytest.raises(BadRow, match="line 1"):
        tofu.rows(tmp_path)


@pytest.mark.parametrize("read", [tofu.rows, tofu.world_facts, tofu.real_authors])
def test_data_out_of_reach_name_both_ways_to_them(tmp_path: Path, read) -> None:
    with pytest.raises(MissingNeed, match=r"OLVIDO_TOFU.*locuslab/TOFU"):
        read(tmp_path / "absent")
    with pytest.raises(MissingNeed, match=r"OLVIDO_TOFU.*locuslab/TOFU"):
        read(tmp_path)


def test_a_shortened_hub_copy_is_refused(tmp_path: Path) -> None:
    head = "---\nconfigs:\n- config_name: full\n  data_files: full.json\n---\n"
    (tmp_path / "README.md").write_text(head, encoding="utf-8")
    write(tmp_path / "full.json", [{"question": "Who?", "answer": "Me."}] * 3999)
    with pytest.raises(InputError, match="came 3999"):
        tofu.rows(tmp_path)


def test_a_hub_copy_without_a_column_is_refused(tmp_path: Path) -> None:
    head = "---\nconfigs:\n- config_name: world_facts_perturbed\n  data_files: w.json\n---\n"
    (tmp_path / "README.md").write_text(head, encoding="utf-8")
    write(tmp_path / "w.json", [{"question": "Where?", "answer": "Paris"}])
    with pytest.raises(InputError, match="perturbed_answer"):
        tofu.world_facts(tmp_path)
