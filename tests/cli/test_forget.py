"""`olvido forget`: any saved model and any file, with no workspace; all of it or nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.methods import METHODS, Side
from olvido.methods.guarantee import Need
from olvido.methods.proxies import Yardstick
from olvido.models import load, save

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
Contents = Callable[[Path], dict[str, str]]

FIRMLY: dict[str, list[str]] = {
    "idkdpo": ["lr=1e-3"],
    "idknll": ["lr=1e-3"],
    "undial": ["lr=1e-3"],
    "task_vector": ["target=2.5"],
    "ssd": ["target=2"],
    "fisher": ["target=3.5"],
}
"""What lets a method get so far on so small a model; what its default does there, it says."""

UNTRACED = [name for name, method in METHODS.items() if method.needs <= {Need.RETAIN}]
KINDS = [*{METHODS[name].__module__.rpartition(".")[0]: name for name in UNTRACED}.values()]
"""The last of each family: what each method does is tried without commands (`tests/forgetting`)."""


@pytest.fixture
def asked(files: Path, models: Path) -> list[Any]:
    """A forgetting that would work: what a test changes in it is what goes wrong."""
    return [
        *("forget", models / "before", "--forget", files / "forget.jsonl"),
        *("--retain", files / "retain.jsonl", "--holdout", files / "holdout.jsonl"),
    ]


def _loss(model: Any, tokenizer: Any, file: Path) -> float:
    """Nats a token on the completions, by transformers alone."""
    losses = []
    for line in file.read_text("utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer(row["prompt"], return_tensors="pt").input_ids
        whole = tokenizer(f"{row['prompt']} {row['completion']}", return_tensors="pt").input_ids
        labels = whole.clone()
        labels[:, : prompt.shape[1]] = -100
        with torch.no_grad():
            losses.append(float(model(whole, labels=labels).loss))
    return sum(losses) / len(losses)


@pytest.mark.slow(but=["npo"])
@pytest.mark.parametrize("method", ["npo", *KINDS])
def test_a_saved_model_forgets_and_loads_with_transformers(
    olvido: Olvido,
    contents: Contents,
    asked: list[Any],
    models: Path,
    files: Path,
    method: str,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    untouched = contents(models / "before")
    options = [f"--option={option}" for option in FIRMLY.get(method, ())]
    status, out, err = olvido(*asked, "--out", "new", "--method", method, *options, "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    before, after = load(models / "before"), load("new")
    assert (document["before"], document["after"]) == (before.digest, after.digest)
    assert document["before"] != document["after"]
    assert document["guarantee"] == "empirical"
    assert contents(models / "before") == untouched
    model = AutoModelForCausalLM.from_pretrained("new").eval()
    tokenizer = AutoTokenizer.from_pretrained("new")
    forgot, kept = files / "forget.jsonl", files / "general.jsonl"
    assert _loss(before.model, before.tokenizer, forgot) < 0.1
    assert _loss(model, tokenizer, forgot) > 2
    assert _loss(model, tokenizer, kept) < 2


def test_another_architecture_forgets(olvido: Olvido, gpt2: Any, here: Path, files: Path) -> None:
    from olvido.models.tiny import tiny_tokenizer

    save(gpt2, tiny_tokenizer(), here / "gpt2")
    status, out, _ = olvido(
        *("forget", "gpt2", "--forget", files / "forget.jsonl", "--retain", files / "retain.jsonl"),
        *("--out", "new", "--method", "ascent", "--option", "epochs=10", "--option", "lr=1e-3"),
        "--json",
    )
    assert status == 0
    assert load("new").digest == json.loads(out)["after"] != load("gpt2").digest


def test_a_method_without_retained_records_says_no_number(
    olvido: Olvido, files: Path, models: Path
) -> None:
    def nothing(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    status, out, _ = olvido(
        *("forget", models / "before", "--forget", files / "forget.jsonl", "--out", "new"),
        *("--method", "ascent", "--option", "epochs=2", "--json"),
    )
    assert status == 0
    document = json.loads(out, parse_constant=nothing)
    assert document["retain_loss"] == {"before": None, "after": None}


def test_people_are_not_promised_what_no_audit_has_shown(olvido: Olvido, asked: list[Any]) -> None:
    status, out, err = olvido(*asked, "--out", "new", "--method", "ascent")
    assert status == 0
    assert "once 'olvido audit' has passed" in " ".join(out.split())
    assert err.splitlines()[0].startswith("Loading")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "retrain"], ["retrain needs the log of the training", "olvido learn"]),
        (["--method", "ngo"], ["unknown method 'ngo'", "did you mean 'npo'?"]),
        (["--option", "lrr=1"], ["unknown option of npo 'lrr'", "did you mean 'lr'?"]),
        (["--option", "lr"], ["name=value", "'lr'"]),
        (["--option", "lr=fast"], ["option lr of npo must be float", "'fast'"]),
        (["--option", "epochs=1.5"], ["option epochs of npo must be int"]),
        (["--option", "epochs=0"], ["epochs must be at least 1"]),
        (["--option", "lr=-1"], ["lr must be a positive number"]),
        (["--option", "regulariser=kll"], ["unknown regulariser 'kll'", "did you mean 'kl'?"]),
        (["--method", "retrain", "--option", "lr=1"], ["unknown option of retrain 'lr'"]),
        (["--seed", "first"], ["--seed", "olvido forget --help"]),
        (["--retian", "x"], ["--retian", "--retain"]),
    ],
)
def test_wrong_method_or_option(
    refused: Refused, asked: list[Any], arguments: list[str], words: list[str]
) -> None:
    refused([*asked, "--out", "new", *arguments], *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["wrong.jsonl holds no record"]),
        (b'{"prompt": "Who?", "completion": "Ana"}\n{"prompt": "W', ["wrong.jsonl, line 2"]),
        (b'{"prompt": "Who?", "completion": "Ana"}\n\xff\xfe\n', ["wrong.jsonl, line 2"]),
        (b'{"prompt": "Who?"}\n', ["wrong.jsonl, line 1", "no 'completion'"]),
        (b'{"prompt": "Who?", "completion": " "}\n', ["line 1", "'completion'", "empty"]),
        (b'{"prompt": "Who?", "completion": 7}\n', ["line 1", "'completion' as text"]),
        (b'{"question": "Who?"}\n', ["line 1", "'prompt' and 'completion'"]),
        (b"[1, 2]\n", ["wrong.jsonl, line 1"]),
        (b'{"text": "a", "id": "1"}\n{"text": "b", "id": "1"}\n', ["line 2", "in line 1"]),
    ],
    ids=["empty", "cut", "binary", "half", "blank", "number", "old names", "list", "twice"],
)
@pytest.mark.parametrize("side", ["--forget", "--retain", "--holdout"])
def test_a_wrong_file_is_named_with_its_line(
    refused: Refused, asked: list[Any], here: Path, side: str, text: bytes, words: list[str]
) -> None:
    (here / "wrong.jsonl").write_bytes(text)
    asked[asked.index(side) + 1] = "wrong.jsonl"
    refused([*asked, "--out", "new"], *words)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["--forget", "--retain", "--holdout"])
def test_a_record_too_long_is_told_with_what_can_be_done_here(
    refused: Refused, olvido: Olvido, asked: list[Any], here: Path, side: str
) -> None:
    row = {"id": "long", "prompt": "w " * 2000, "completion": "x"}
    (here / "long.jsonl").write_text(json.dumps(row) + "\n")
    asked[asked.index(side) + 1] = "long.jsonl"
    said = refused([*asked, "--out", "new"], "'long'", "split it")
    # What it advises is there on the command line.
    options = set(re.findall(r"--[a-z-]+", said))
    assert "max_tokens" not in said
    assert all(option in olvido("forget", "--help")[1] for option in options)


def test_a_record_stands_on_one_side(refused: Refused, asked: list[Any], files: Path) -> None:
    asked[asked.index("--retain") + 1] = files / "residents.jsonl"
    refused([*asked, "--out", "new"], "stand both in forget and in retain", "first:")


def test_a_method_that_needs_retained_records_says_so(
    refused: Refused, files: Path, models: Path
) -> None:
    asked = ["forget", models / "before", "--forget", files / "forget.jsonl", "--out", "new"]
    refused(asked, "npo needs records that the model shall keep")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("bevore", ["unknown model 'bevore'", "a folder"]),
        ("empty", ["no causal language model", "'empty'", "save_pretrained"]),
        ("file", ["unknown model 'file'"]),
    ],
)
def test_a_wrong_model_is_named(
    refused: Refused, asked: list[Any], here: Path, model: str, words: list[str]
) -> None:
    (here / "empty").mkdir()
    (here / "file").write_text("weights")
    asked[1] = model
    refused([*asked, "--out", "new"], *words)


@pytest.mark.parametrize("out", ["folder", "file", "file/inside", "folder/file/inside"])
def test_a_place_that_cannot_be_is_refused_before_any_work(
    refused: Refused,
    asked: list[Any],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: str,
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    (here / "folder").mkdir()
    (here / "folder" / "file").touch()
    (here / "file").touch()
    monkeypatch.setattr("olvido.models.load", loaded)
    refused([*asked, "--out", out], out)


@pytest.mark.slow(but=["npo"])
@pytest.mark.parametrize(
    ("method", "weight"),
    [*((method, math.nan) for method in UNTRACED), *((method, math.inf) for method in KINDS)],
)
def test_a_model_whose_weights_are_no_numbers_is_refused(
    refused: Refused, asked: list[Any], here: Path, models: Path, weight: float, method: str
) -> None:
    broken = load(models / "before")
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[5:50] = weight
    save(broken.model, broken.tokenizer, here / "broken")
    asked[1] = here / "broken"
    refused([*asked, "--out", "new", "--method", method], "nan")


def test_a_model_that_would_be_destroyed_is_not_written(refused: Refused, asked: list[Any]) -> None:
    options = [f"--option={option}" for option in ("lr=0.05", "epochs=40", "target=1000")]
    refused([*asked, "--out", "new", "--method", "ascent", *options], "destroyed", "lr")


def test_a_full_disk_leaves_no_model(
    refused: Refused, asked: list[Any], limited: Callable[[int], Any]
) -> None:
    with limited(100_000):
        refused([*asked, "--out", "new", "--method", "ascent"], "room")


@pytest.mark.slow
def test_a_search_tells_its_trials_and_keeps_them(
    olvido: Olvido, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Yardstick, "judge", lambda *_: (Side.GOOD, 0.0))
    asked += ["--method", "auto", "--trials", "trials", "--within", "600", "--json"]
    status, out, err = olvido(*asked, "--out", "new")
    assert (status, err) == (0, "")
    first = json.loads(out)
    assert first["trials"][-1]["taken"]
    assert "came near enough" in first["stopped"]
    status, out, err = olvido(*asked, "--out", "again")
    assert (status, err) == (0, "")
    again = json.loads(out)
    assert (again["after"], again["trials"]) == (first["after"], first["trials"])


@pytest.mark.parametrize("option", [["--within", "3"], ["--trials", "folder"]], ids=str)
def test_what_belongs_to_the_search_is_refused_elsewhere(
    refused: Refused, asked: list[Any], option: list[str]
) -> None:
    refused([*asked, "--out", "new", *option], option[0], "--method auto")


def test_a_search_without_an_aim_or_time_is_refused(
    refused: Refused, asked: list[Any], files: Path
) -> None:
    asked += ["--method", "auto", "--out", "new"]
    refused([*asked, "--within", "1e-6"], "nothing that came near enough", "have passed")
    refused([*asked, "--within", "-1"], "above 0")
    refused([*asked, "--option", "methods=retrain"], "retrain has none")
    refused([a for a in asked if a not in ("--holdout", files / "holdout.jsonl")], "reference")


@pytest.mark.parametrize("came", ["bfloat16", "float16", "float32"])
def test_a_checkpoint_of_another_type_is_told_in_a_line(
    files: Path, here: Path, olvido: Olvido, came: str
) -> None:
    """What is written is what was computed, and is audited: never rounded in silence."""
    small = load(files / "small")
    save(small.model.to(getattr(torch, came)), small.tokenizer, here / "came")
    status, out, err = olvido(
        *("forget", "came", "--forget", files / "forget.jsonl", "--out", "gone", "--json"),
        *("--method", "ascent", "--option", "epochs=2"),
    )
    assert status == 0, err
    document = json.loads(out)
    assert load("gone").digest == document["after"]
    if came == "float32":
        assert document["note"] is None
    else:
        assert came in document["note"]
        assert "float32" in document["note"]
