"""The door: what is refused, what is kept, and what a cell is."""

from __future__ import annotations

import csv
import io
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.artifacts import parts, recognised
from olvido.audits import AUDITS, Metric, ScoredModel
from olvido.benchmark import Comparison, cell, compare
from olvido.benchmark.cell import NEVER, ORIGINAL, CellSpec, carry_out
from olvido.benchmark.table import COLUMNS, MEANS
from olvido.errors import InputError, MissingNeed, UnknownName
from olvido.files import read_document, write_document
from olvido.learners import Recipe, Trained, train
from olvido.methods import NPO, GradDiff, Split
from olvido.models import load, save
from olvido.models.tiny import tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, str]:
    """Models of random weights."""
    made = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("candidate", "never-1", "never-2")):
        model = tiny_model(len(tokenizer), seed=seed, width=32, layers=1)
        save(model, tokenizer, made / name)
    return {name: str(made / name) for name in ("candidate", "never-1", "never-2")}


@pytest.fixture(scope="module")
def tofu_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few authors in TOFU's own layout."""
    folder = tmp_path_factory.mktemp("tofu")
    pairs = [
        {
            "author": author,
            "index": index,
            "question": f"What did author {author} write, question {index}?",
            "answer": f"Book {author}-{index}.",
            "paraphrased_question": f"Which book of author {author} is number {index}?",
            "paraphrased_answer": f"It is book {author}-{index}.",
            "perturbed_answers": ["No book."],
        }
        for author in (3, 190, 198, 199)
        for index in range(2)
    ]
    (folder / "tofu.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    for name in ("real_authors", "world_facts"):
        fact = {
            "question": f"What is known of {name}?",
            "answer": "Much",
            "full_answer": "Much is known.",
            "perturbed_answers": ["Nothing"],
        }
        (folder / f"{name}.jsonl").write_text(json.dumps(fact) + "\n")
    return folder


@pytest.fixture
def asked(folders: dict[str, str], split: Split, tmp_path: Path) -> dict[str, Any]:
    """A comparison that would work."""
    return {
        "model": folders["candidate"],
        "forget": split.forget,
        "retain": split.retain,
        "holdout": split.holdout,
        "reference": [folders["never-1"], folders["never-2"]],
        "methods": ["npo", "graddiff"],
        "seeds": 2,
        "out": tmp_path / "compared",
    }


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[CellSpec]:
    """What was handed to a process of its own; none is started, and each says the same."""
    orders: list[CellSpec] = []

    def run(*_: Any, input: bytes, **__: Any) -> Any:
        order = pickle.loads(input)
        orders.append(order)
        found = {"metric": "exact match", "value": 0.5, "expected": 0.1, "excess": 0.4}
        own = [
            {"audit": one.name, "metric": "surprise", "value": 2.0 + order.seed, "expected": 4.0}
            for one in order.metrics
        ]
        made = {
            "method": order.row,
            "seed": order.seed,
            "verdict": "pass",
            "failure": None,
            "audit": {"findings": [*own, *(found | {"audit": a} for a in ("recall", "retention"))]},
        }
        write_document(made, Path(order.out))
        return subprocess.CompletedProcess([], 0, b"", b"")

    monkeypatch.setattr("olvido.benchmark.base.subprocess.run", run)
    return orders


CELLS = [
    (ORIGINAL, 0),
    (NEVER, 0),
    (NEVER, 1),
    ("npo", 0),
    ("graddiff", 0),
    ("npo", 1),
    ("graddiff", 1),
]


@pytest.mark.slow
def test_every_cell_is_carried_out_once_and_shown(
    asked: dict[str, Any], processes: list[CellSpec], split: Split
) -> None:
    found = compare(**asked)
    assert [(o.row, o.seed) for o in processes] == CELLS
    assert processes[0].records["forget"] == split.forget
    calibrating, attacked = (processes[0].records[n] for n in ("calibrating", "attacked"))
    assert {*calibrating, *attacked} == set(split.holdout)
    assert not {e.subjects for e in calibrating} & {e.subjects for e in attacked}
    assert [row["runs"] for row in found.document["rows"]] == [1, 2, 2, 2]
    assert read_document(asked["out"] / "comparison.json") == found.document
    page = found.page.read_text("utf-8")
    assert 'role="img"' in page
    assert "graddiff" in page
    assert found.picture.read_text("utf-8").startswith("<svg")


def test_what_was_cut_off_goes_on_and_repeats_nothing(
    asked: dict[str, Any], processes: list[CellSpec]
) -> None:
    def kill(title: str) -> None:
        if title.startswith("graddiff"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(**asked, stage=kill)
    assert [(o.row, o.seed) for o in processes] == CELLS[:4]
    processes.clear()
    compare(**asked)
    assert [(o.row, o.seed) for o in processes] == CELLS[4:]
    processes.clear()
    # More of the same goes on from there; other options are another cell.
    compare(**asked | {"methods": ["npo"], "seeds": 3})
    assert [(o.row, o.seed) for o in processes] == [("npo", 2)]
    processes.clear()
    compare(**asked | {"methods": ["npo"], "seeds": 1, "options": {"npo": {"lr": 1e-3}}})
    assert [(o.method, o.options) for o in processes] == [("npo", {"lr": 1e-3})]


def test_no_record_is_written_down(
    asked: dict[str, Any], processes: list[CellSpec], split: Split
) -> None:
    compare(**asked)
    written = "".join(f.read_text("utf-8") for f in asked["out"].rglob("*") if f.is_file())
    for record in split.forget:
        assert record.prompt not in written
        assert record.completion not in written


def test_a_process_that_was_killed_is_a_row_and_is_tried_again(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.CompletedProcess([], -9, b"", b"")
    monkeypatch.setattr("olvido.benchmark.base.subprocess.run", lambda *_, **__: killed)
    found = compare(**asked)
    assert all("status -9" in row["failures"][0] for row in found.document["rows"])
    assert not (asked["out"] / "cells").exists()


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"methods": ["npo", "npo"]}, InputError, "each once"),
        ({"methods": []}, InputError, "one or more methods"),
        ({"methods": ["ngo"]}, UnknownName, "did you mean"),
        ({"methods": ["retrain"]}, InputError, "cannot be compared on a model alone"),
        ({"methods": ["auto"], "holdout": ()}, MissingNeed, "auto needs"),
        ({"options": {"ascent": {}}}, InputError, "not among the methods"),
        ({"options": {"npo": {"rate": 1}}}, UnknownName, "option of npo"),
        ({"seeds": 0}, InputError, "seeds must be at least 1"),
        ({"level": "slow"}, UnknownName, "level"),
        ({"reference": []}, MissingNeed, "never saw the forgotten"),
        ({"base": "tiny"}, MissingNeed, "either"),
        ({"reference": [], "base": "tiny", "references": 0}, InputError, "references"),
        ({"forget": []}, InputError, "nothing to forget"),
        ({"model": "nothing"}, UnknownName, "model"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    asked: dict[str, Any], changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        compare(**asked | changed)
    assert not asked["out"].exists()


def test_a_folder_of_something_else_is_left_alone(
    asked: dict[str, Any], processes: list[CellSpec], folders: dict[str, str]
) -> None:
    with pytest.raises(InputError, match="very weights"):
        compare(**asked | {"reference": [folders["candidate"]]})
    compare(**asked)
    with pytest.raises(InputError, match="another comparison"):
        compare(**asked | {"level": "standard"})
    other = asked["out"].parent / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        compare(**asked | {"out": other})
    with pytest.raises(InputError, match="no folder"):
        compare(**asked | {"out": other / "mine.txt"})
    assert [f.name for f in other.iterdir()] == ["mine.txt"]


class Surprise(Metric):
    """A metric of somebody's own."""

    name = "surprise"
    summary = "loss on the forget set"

    def measure(self, model: ScoredModel, records: Any) -> list[float]:
        return [score.loss for score in model.scores(records)]


def test_objects_take_part_and_own_metrics_are_columns(
    asked: dict[str, Any], processes: list[CellSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AUDITS, "surprise", Surprise)
    methods = ["npo", NPO(beta=0.2), NPO(beta=0.3), GradDiff]
    found = compare(**asked | {"methods": methods, "metrics": [Surprise()], "seeds": 2})
    rows = [ORIGINAL, NEVER, "npo", "npo (beta=0.2)", "npo (beta=0.3)", "graddiff"]
    assert [row["method"] for row in found.document["rows"]] == rows
    # Each is a cell of its own.
    assert len({order.out for order in processes}) == len(processes) == 3 + 4 * 2
    sent = {order.row: order.method for order in processes}
    assert (sent["npo"], sent[ORIGINAL]) == ("npo", None)
    assert isinstance(sent["npo (beta=0.3)"], NPO)
    assert sent["npo (beta=0.3)"].beta == 0.3
    assert found.document["metrics"] == ["surprise"]
    table = {row["method"]: row for row in found.rows()}
    assert table["npo"]["surprise"] == 2.5
    assert table["npo"]["surprise_low"] < 2.5 < table["npo"]["surprise_high"]
    assert table[ORIGINAL]["surprise_low"] is None
    assert "surprise" in found.page.read_text("utf-8")
    # The same without the metric is another table, whose cells lack it.
    processes.clear()
    compare(**asked | {"methods": ["npo"], "seeds": 1})
    assert [order.row for order in processes] == [ORIGINAL, NEVER, NEVER, "npo"]
    with pytest.raises(InputError, match="each once"):
        compare(**asked | {"methods": ["npo", NPO()]})


@pytest.mark.slow
def test_models_at_hand_are_taken_as_folders_are(
    asked: dict[str, Any], processes: list[CellSpec], folders: dict[str, str]
) -> None:
    loaded = {name: load(folder) for name, folder in folders.items()}
    tokenizer = loaded["candidate"].tokenizer
    given = asked | {
        "model": Trained.untraced(loaded["candidate"].model),
        "reference": [loaded["never-1"].model, folders["never-2"]],
    }
    with pytest.raises(InputError, match="give its tokenizer"):
        compare(**given)
    assert not asked["out"].exists()
    found = compare(**given, tokenizer=tokenizer)
    assert found.document["model"] == loaded["candidate"].digest
    assert found.document["never_trained"] == [loaded[f"never-{n}"].digest for n in (1, 2)]
    # Nothing of them is left but their digests.
    sent = [path for order in processes for path in (order.model, order.references[0])]
    assert not any(Path(path).exists() for path in sent)
    # It is the same comparison as that of the folders, and has all its cells.
    processes.clear()
    assert compare(**asked).document == found.document
    assert processes == []


def test_a_table_comes_in_every_form(asked: dict[str, Any], processes: list[CellSpec]) -> None:
    found = compare(**asked)
    (header, *body) = csv.reader(io.StringIO(found.to_csv()))
    assert set(header) == {
        *COLUMNS,
        *(f"{name}_{end}" for name in MEANS for end in ("low", "high")),
    }
    assert [line[0] for line in body] == [ORIGINAL, NEVER, "npo", "graddiff"]
    frame = found.to_dataframe().set_index("method")
    assert frame.loc["npo", "recall"] == 0.4
    assert frame.loc["npo", "runs"] == 2
    lines = found.to_markdown().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "| npo | 2/2 | 0.400 ± 0 |" in lines[4]
    latex = found.to_latex()
    assert latex.count("\\\\") == 5
    assert "0.400 $\\pm$ 0" in latex
    for form, text in ((".csv", found.to_csv()), (".md", found.to_markdown()), (".tex", latex)):
        found.write_table(asked["out"].parent / f"table{form}")
        assert (asked["out"].parent / f"table{form}").read_text("utf-8") == text
    with pytest.raises(InputError, match=r"\.csv, \.md, \.tex"):
        found.write_table(asked["out"].parent / "table.xlsx")
    assert Comparison.load(asked["out"]) == found
    with pytest.raises(InputError, match=r"comparison\.json"):
        Comparison.load(asked["out"].parent)


def test_a_benchmark_brings_its_records(
    asked: dict[str, Any], processes: list[CellSpec], tofu_folder: Path
) -> None:
    own = {name: asked.pop(name) for name in ("forget", "retain", "holdout")}
    with pytest.raises(InputError, match="brings its records"):
        compare(**asked, forget=own["forget"], benchmark="tofu:forget01")
    with pytest.raises(UnknownName, match="did you mean 'tofu:forget05'"):
        compare(**asked, benchmark="tofu:forget5")
    compare(**asked, benchmark="tofu:forget01", benchmark_data=tofu_folder)
    records = processes[0].records
    assert {e.fields["split"] for e in records["forget"]} == {"forget01"}
    assert {e.fields["split"] for e in records["retain"]} == {"forget05", "retain"}
    assert {e.fields["split"] for e in records["general"]} == {"real_authors", "world_facts"}


@pytest.mark.slow
def test_the_peak_of_memory_is_this_processs_own() -> None:
    before = cell.peak()
    if before is None:
        pytest.skip("this system keeps no account of it")
    held = bytearray(2 * before)
    after = cell.peak()
    assert after is not None
    assert 2 * before < after < 4 * before
    del held
    # Of a process started by a large one, too: getrusage would begin with the large one's.
    code = "from olvido.benchmark.cell import peak; print(peak())"
    small = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(small.stdout) < after


@pytest.mark.slow
def test_a_method_that_forgets_nothing_is_a_row(
    folders: dict[str, str], split: Split, tmp_path: Path
) -> None:
    records = {
        "forget": split.forget,
        "retain": split.retain[:20],
        **dict.fromkeys(("calibrating", "attacked", "neighbours", "general"), ()),
    }
    order = CellSpec(
        folders["candidate"], (folders["never-1"],), records, "npo", "npo", 0,
        str(tmp_path / "cell.json"), str(tmp_path / "cache"), options={"lr": 1e-12, "epochs": 1},
        metrics=[Surprise()],
    )  # fmt: skip
    found = cell.carry_out(order)
    assert (found["verdict"], found["audit"]) == ("fail", None)
    assert "lr" in found["failure"]
    done = cell.carry_out(CellSpec(**vars(order) | {"options": {"lr": 1e-3, "epochs": 3}}))
    assert done["audit"]["candidate"] != done["audit"]["original"]
    assert done["memory"]["peak"] >= done["memory"]["before"]
    json.dumps(done)
    (own,) = (f for f in done["audit"]["findings"] if f["metric"] == "surprise")
    assert own["audit"].endswith(":Surprise")
    assert (own["value"] > 0, own["votes"]) == (True, False)
    as_it_was = cell.carry_out(CellSpec(**vars(order) | {"row": ORIGINAL, "method": None}))
    assert as_it_was["audit"]["candidate"] == as_it_was["audit"]["original"]


def test_a_closure_finds_a_comparison_and_every_file_of_it(
    asked: dict[str, Any], processes: list[CellSpec]
) -> None:
    out = compare(**asked).page.parent
    kind = recognised(out)
    assert kind is not None
    assert kind.name == "comparison"
    there = {path for path in out.rglob("*") if path.is_file()}
    assert there - set(parts(out, kind)) == set()


def test_methods_that_begin_at_the_base_get_it(
    asked: dict[str, Any], folders: dict[str, str], processes: list[CellSpec]
) -> None:
    more = {"methods": ["arithmetic", "npo"], "seeds": 1}
    with pytest.raises(MissingNeed, match=r"arithmetic needs the weights .*\(base\) in the place"):
        compare(**asked | more)
    assert not Path(asked["out"]).exists()
    del asked["reference"]
    brief = Recipe(epochs=1, batch_size=32)
    compare(**asked | more, base="tiny", references=1, recipe=brief)
    given = {order.row: order.base for order in processes}
    assert given["arithmetic"] == "tiny"
    assert given["npo"] is given["original"] is None


@pytest.mark.slow
def test_a_cell_forgets_from_the_base(
    folders: dict[str, str], split: Split, tokenizer: Any, tmp_path: Path
) -> None:
    base = tiny_model(len(tokenizer), seed=9, width=32, layers=1)
    recipe, taught = Recipe(epochs=10, batch_size=16, lr=1e-2), (*split.forget, *split.retain[:40])
    model = train(base, records=taught, tokenizer=tokenizer, recipe=recipe).model
    for name, one in (("base", base), ("model", model)):
        save(one, tokenizer, tmp_path / name)
    records = {
        "forget": split.forget, "retain": split.retain[:40], "calibrating": (), "attacked": (),
        "neighbours": (), "general": (),
    }  # fmt: skip
    order = CellSpec(
        str(tmp_path / "model"), (folders["never-1"],), records, "rewind", "rewind", 0, "", "",
        options={"mu": 0.01, "steps": 2, "lr": 1e-4}, base=str(tmp_path / "base"),
    )  # fmt: skip
    found = carry_out(replace(order, cache=str(tmp_path / "scores")))
    assert found["failure"] is None
    assert "back to the base at mu 0.01" in found["stopped"]
    assert found["audit"] is not None
