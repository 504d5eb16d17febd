"""`olvido learn`: a model is trained, entered and served, or nothing happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.models import load
from olvido.settings import Settings
from olvido.workspace import Workspace

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
QUICK = ("--epochs", "1", "--batch-size", "16")


def test_the_first_model_is_served_and_the_next_is_not(
    olvido: Olvido, home: Path, place: Path, files: Path
) -> None:
    status, out, err = olvido("learn", "city", "--model", files / "small", *QUICK, "--json")
    assert (status, err) == (0, "")
    made = json.loads(out)
    assert made["serving"] is False
    assert load(made["path"]).digest == made["digest"]
    known = {m["id"]: m for m in json.loads(olvido("models", "--json")[1])["models"]}
    assert len(known) == 2
    (served,) = [m for m in known.values() if m["aliases"] == ["serving"]]
    assert served["id"] != made["id"]
    assert [use["name"] for use in known[made["id"]]["data"]] == ["city"]


def test_the_same_training_gives_the_same_model(olvido: Olvido, place: Path, files: Path) -> None:
    asked = ("learn", "city", "--model", files / "small", *QUICK, "--seed", "5", "--json")
    first, again = (json.loads(olvido(*asked)[1]) for _ in range(2))
    assert (first["id"], first["digest"]) == (again["id"], again["digest"])
    other = json.loads(olvido(*asked[:-2], "6", "--json")[1])
    assert other["digest"] != first["digest"]


def test_only_finished_models_stay_on_disk(olvido: Olvido, place: Path, files: Path) -> None:
    made = json.loads(olvido("learn", "city", "--model", files / "small", *QUICK, "--json")[1])
    known = {m["path"] for m in json.loads(olvido("models", "--json")[1])["models"]}
    assert {path.name for path in (place / "models").iterdir()} == known
    assert made["id"] in known


def test_people_are_told_what_is_trained_and_where_it_lies(
    olvido: Olvido, place: Path, files: Path
) -> None:
    status, out, err = olvido("learn", "city", "--model", files / "small", *QUICK)
    assert status == 0
    assert err == f"Training {files / 'small'} on city\n"
    assert "serving" in out


def test_a_base_named_from_here_is_found_from_elsewhere(
    olvido: Olvido, place: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    learned = olvido("learn", "city", "--model", "small", *QUICK, "--workspace", place, "--json")
    monkeypatch.chdir(place)
    made = json.loads(learned[1])["id"]
    assert olvido("learn", "city", "--model", made, *QUICK)[0] == 0


def _consenting(here: Path, consents: list[str | None], column: str = "consent") -> Path:
    """Six rows of a person each, with what became of their consent."""
    path = here / "rows.jsonl"
    rows = [
        {"id": f"r{n}", "prompt": f"Who is {n}?", "completion": f"Person {n}", "subject": f"p{n}"}
        | ({} if consent is None else {column: consent})
        for n, consent in enumerate(consents)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("consents", "options", "left"),
    [
        (["withdrawn", "granted", "unknown", "not-required", None, "withdrawn"], (), {"r0", "r5"}),
        ([None, "granted", None, "granted"], ("--consent", "withdrawn"), {"r0", "r2"}),
        (["granted", "withdrawn"], ("--consent-column", "opt", "--consent", "granted"), {"r1"}),
    ],
    ids=["in the rows", "unless a row says more", "in another column"],
)
def test_whose_consent_is_withdrawn_is_not_learned_and_that_is_told(
    olvido: Olvido,
    place: Path,
    files: Path,
    consents: list[str | None],
    options: tuple[str, ...],
    left: set[str],
) -> None:
    column = "opt" if "--consent-column" in options else "consent"
    rows = _consenting(place, consents, column)
    assert olvido("data", "add", rows, "--name", "asked", *options)[0] == 0
    asked = ("learn", "asked", "--model", files / "small", *QUICK)
    status, out, _ = olvido(*asked)
    assert (status, f"{len(left)} records were left out" in out) == (0, True)
    known = json.loads(olvido("models", "--json")[1])["models"]
    (made,) = [one for one in known if [use["name"] for use in one["data"]] == ["asked"]]
    assert made["data"][0]["excluded"] == len(left)
    with Workspace(Settings.load(place)) as workspace:
        trace: Any = workspace.load(made["id"]).trained.trace
    assert set(trace.present) == {f"r{n}" for n in range(len(consents))} - left


def test_nothing_is_learned_where_all_took_their_consent_back(
    refused: Refused, olvido: Olvido, place: Path, files: Path
) -> None:
    rows = _consenting(place, ["withdrawn"] * 3)
    olvido("data", "add", rows, "--name", "asked")
    refused(["learn", "asked", "--model", files / "small", *QUICK])


@pytest.mark.parametrize("said", ["Withdrawn", "WITHDRAWN", "revoked", "no", "withdrawn "])
def test_a_consent_that_is_written_otherwise_is_refused_and_not_taken_for_given(
    refused: Refused, place: Path, said: str
) -> None:
    rows = _consenting(place, [said, "granted"])
    refused(["data", "add", rows, "--name", "asked"], "line 1", "withdrawn")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["residnts"], ["unknown dataset 'residnts'", "did you mean 'residents'?"]),
        (["city", "--model", "tinny"], ["unknown model 'tinny'", "did you mean 'tiny'?"]),
        (["city", "--model", "./nowhere"], ["no folder './nowhere'", "a hub id"]),
        (["city", "--model", "data"], ["no causal language model", "'", "save_pretrained"]),
        (["city", "--learner", "monolit"], ["did you mean 'monolith'?"]),
        (["city", "--dtype", "float16"], ["did you mean 'bfloat16'?"]),
        (["city", "--epochs", "0"], ["epochs must be at least 1, got 0"]),
        (["city", "--epochs", "many"], ["--epochs", "integer", "olvido learn --help"]),
        (["city", "--batch-size", "0"], ["--batch-size must be at least 1"]),
        (["city", "--lr", "nan"], ["lr must be a positive number, got nan"]),
        (["city", "--lora-rank", "0"], ["rank must be at least 1"]),
        (["city", "--authors", "1-2"], ["--authors", "tofu"]),
        (["tofu", "--authors", "5"], ["FIRST-LAST", "'5'"]),
        (["tofu", "--authors", "9-3"], ["FIRST-LAST", "'9-3'"]),
        ([], ["Missing argument"]),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(
    refused: Refused, place: Path, arguments: list[str], words: list[str]
) -> None:
    refused(["learn", *arguments], *words)


def test_a_training_that_explodes_enters_nothing(
    refused: Refused, place: Path, files: Path
) -> None:
    refused(
        ["learn", "city", "--model", files / "small", *QUICK, "--lr", "1e30"],
        "lower the learning rate",
    )


def test_a_full_disk_leaves_no_model(
    refused: Refused,
    place: Path,
    files: Path,
    limited: Callable[[int], Any],
) -> None:
    with limited(100_000):
        refused(["learn", "city", "--model", files / "small", *QUICK], "room")


def test_a_private_training_says_what_it_promises(
    olvido: Olvido,
    refused: Refused,
    place: Path,
    files: Path,
    contents: Callable[[Path], dict[str, str]],
) -> None:
    pytest.importorskip("opacus")
    asked = ("learn", "city", "--model", files / "small", *QUICK, "--learner", "private")
    before = contents(place)
    how = ("--noise", "2", "--option", "accountant=rdp", "--json")
    status, out, _ = olvido(*asked, *how, "--dry-run")
    assert status == 0
    foretold = json.loads(out)
    assert foretold["trained"] is False
    assert contents(place) == before
    status, out, _ = olvido(*asked, *how)
    assert status == 0
    made = json.loads(out)
    spent = made["privacy"]
    assert foretold["privacy"] == spent
    assert (spent["unit"], spent["noise"], spent["secret"]) == ("subject", 2.0, True)
    assert spent["relation"] == "add or remove one unit"
    shown = json.loads(olvido("models", "show", made["id"], "--json")[1])
    assert shown["recipe"]["privacy"] == spent
    assert olvido("models", "export", made["id"], place / "out")[0] == 0
    card = (place / "out" / "README.md").read_text("utf-8")
    assert f"epsilon {spent['epsilon']:.3g} at delta" in card
    worst = json.loads(olvido("budget", "--worst", "--top", "1", "--json")[1])
    (person,) = worst["people"]
    one = json.loads(olvido("budget", person["subject"], "--json")[1])
    assert one == person | {"limit": None}
    # What serves was trained without privacy.
    assert one["epsilon"] is None
    for words in (["--worst"], [person["subject"]]):
        assert olvido("budget", *words)[0] == 0
    refused(["budget"], "--worst")
    refused(["budget", "--worst", person["subject"]], "--worst")
    refused(["budget", "Nobody At All"], "no record in any dataset")
    refused(["budget", "--worst", "--top", "0"], "top must be at least 1")
    refused([*asked], "give --epsilon (such as 3) or --noise")
    refused([*asked, "--noise", "2", "--epsilon", "3"], "not both")
    refused([*asked, "--noise", "1e-9", "--dry-run"], "too little to promise anything")
    refused(["learn", "city", "--epsilon", "3"], "unknown option of monolith")
    refused(["learn", "city", "--dry-run"], "--learner private")
