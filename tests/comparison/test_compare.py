"""The door: what is refused, what is kept, and what a cell is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from olvido.artifacts import parts, recognised
from olvido.comparison import cell, compare
from olvido.comparison.cell import NEVER, ORIGINAL, Order
from olvido.documents import read_document, write_document
from olvido.errors import InputError, MissingNeed, UnknownName
from olvido.forgetting import Split
from olvido.models import save
from olvido.models.tiny import tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, str]:
    """Models of random weights."""
    made = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("suspect", "never-1", "never-2")):
        model = tiny_model(len(tokenizer), seed=seed, width=32, layers=1)
        save(model, tokenizer, made / name)
    return {name: str(made / name) for name in ("suspect", "never-1", "never-2")}


@pytest.fixture
def asked(folders: dict[str, str], split: Split, tmp_path: Path) -> dict[str, Any]:
    """A comparison that would work."""
    return {
        "model": folders["suspect"],
        "forget": split.forget,
        "retain": split.retain,
        "holdout": split.holdout,
        "reference": [folders["never-1"], folders["never-2"]],
        "methods": ["npo", "graddiff"],
        "seeds": 2,
        "out": tmp_path / "compared",
    }


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """What was handed to a process of its own; none is started, and each says the same."""
    orders: list[Order] = []

    def run(*_: Any, input: str, **__: Any) -> Any:
        order = Order.from_json(input)
        orders.append(order)
        found = {"metric": "exact match", "value": 0.5, "expected": 0.1, "excess": 0.4}
        made = {
            "method": order.method,
            "seed": order.seed,
            "verdict": "pass",
            "failure": None,
            "audit": {"findings": [found | {"audit": a} for a in ("recall", "collateral")]},
        }
        write_document(made, Path(order.out))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr("olvido.comparison.base.subprocess.run", run)
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
    asked: dict[str, Any], processes: list[Order], split: Split
) -> None:
    found = compare(**asked)
    assert [(o.method, o.seed) for o in processes] == CELLS
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
    asked: dict[str, Any], processes: list[Order]
) -> None:
    def kill(title: str) -> None:
        if title.startswith("graddiff"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(**asked, stage=kill)
    assert [(o.method, o.seed) for o in processes] == CELLS[:4]
    processes.clear()
    compare(**asked)
    assert [(o.method, o.seed) for o in processes] == CELLS[4:]
    processes.clear()
    # More of the same goes on from there; other options are another cell.
    compare(**asked | {"methods": ["npo"], "seeds": 3})
    assert [(o.method, o.seed) for o in processes] == [("npo", 2)]
    processes.clear()
    compare(**asked | {"methods": ["npo"], "seeds": 1, "options": {"npo": {"lr": 1e-3}}})
    assert [(o.method, o.options) for o in processes] == [("npo", {"lr": 1e-3})]


def test_no_record_is_written_down(
    asked: dict[str, Any], processes: list[Order], split: Split
) -> None:
    compare(**asked)
    written = "".join(f.read_text("utf-8") for f in asked["out"].rglob("*") if f.is_file())
    for record in split.forget:
        assert record.prompt not in written
        assert record.completion not in written


def test_a_process_that_was_killed_is_a_row_and_is_tried_again(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr("olvido.comparison.base.subprocess.run", lambda *_, **__: killed)
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
    asked: dict[str, Any], processes: list[Order], folders: dict[str, str]
) -> None:
    with pytest.raises(InputError, match="very weights"):
        compare(**asked | {"reference": [folders["suspect"]]})
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


def test_an_order_reads_back(split: Split) -> None:
    order = Order("m", ("r",), {"forget": split.forget}, "npo", {"lr": 1e-3}, 3, "quick", None,
                  "bfloat16", "cuda", "c", "o")  # fmt: skip
    again = Order.from_json(order.to_json())
    assert again == order
    assert again.records["forget"][0].fields == split.forget[0].fields


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
    code = "from olvido.comparison.cell import peak; print(peak())"
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
    order = Order(
        folders["suspect"], (folders["never-1"],), records, "npo", {"lr": 1e-12, "epochs": 1}, 0,
        "quick", None, "float32", "cpu", str(tmp_path / "cache"), str(tmp_path / "cell.json"),
    )  # fmt: skip
    found = cell.carry_out(order)
    assert (found["verdict"], found["audit"]) == ("fail", None)
    assert "lr" in found["failure"]
    done = cell.carry_out(Order(**vars(order) | {"options": {"lr": 1e-3, "epochs": 3}}))
    assert done["audit"]["suspect"] != done["audit"]["before"]
    assert done["memory"]["peak"] >= done["memory"]["before"]
    json.dumps(done)
    as_it_was = cell.carry_out(Order(**vars(order) | {"method": ORIGINAL}))
    assert as_it_was["audit"]["suspect"] == as_it_was["audit"]["before"]


def test_a_closure_finds_a_comparison_and_every_file_of_it(
    asked: dict[str, Any], processes: list[Order]
) -> None:
    out = compare(**asked).page.parent
    kind = recognised(out)
    assert kind is not None
    assert kind.name == "comparison"
    there = {path for path in out.rglob("*") if path.is_file()}
    assert there - set(parts(out, kind)) == set()
