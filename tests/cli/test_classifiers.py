"""A classifier of arrays in a workspace, by the command line: from its rows to its certificate."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Olvido
from tests.outside import CLASSES, begin_modernbert, begin_vit, notes, pictures

from olvido.files import read_document
from olvido.models import load, weights_digest
from olvido.models.tiny import tiny_tokenizer

ROOT = Path(__file__).parents[2]
PEOPLE, EACH = 8, 4
ANA = "Ana Soler"
SHORT = ("--epochs", "3", "--batch-size", "8", "--lr", "1e-2")


def archive(path: Path, *, people: int = PEOPLE, first: int = 0, width: int = 6) -> Path:
    """Vectors of some people; each person's lie near a place of their own."""
    draw = np.random.default_rng(first)
    who = np.repeat(np.arange(people), EACH)
    places = draw.normal(size=(people, width))
    np.savez(
        path,
        input=(places[who] + 0.1 * draw.normal(size=(len(who), width))).astype(np.float32),
        label=who % 2,
        subject=np.array([ANA if first + one == 0 else f"Person {first + one:03}" for one in who]),
        id=np.array([f"{first:03}-{number}" for number in range(len(who))]),
    )
    return path


@pytest.fixture
def said(olvido: Olvido) -> Callable[..., Any]:
    """Runs a command that must succeed; gives its document."""

    def call(*arguments: Any) -> Any:
        status, out, err = olvido(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def place(here: Path, said: Callable[..., Any]) -> Path:
    """A workspace with the vectors of some people."""
    said("init")
    said("data", "add", archive(here / "people.npz"), "--name", "people")
    (here / "people.npz").unlink()
    return here


def rows_in(place: Path) -> int:
    (path,) = (place / "data").glob("*.parquet")
    return int(pq.read_metadata(path).num_rows)


def believed(place: Path, path: str) -> None:
    """The certificate is believed by the script that knows nothing of Olvido."""
    check = runpy.run_path(str(ROOT / "docs" / "verify_certificate.py"))["check"]
    assert check(read_document(Path(path)), (place / "olvido-signing.pub").read_bytes()) == []


@pytest.mark.slow
def test_from_rows_to_a_closed_request(place: Path, said: Callable[..., Any]) -> None:
    learned = said("learn", "people", *SHORT)
    recipe = said("models", "show", "serving")["recipe"]
    assert (recipe["base"], recipe["task"], recipe["classes"]) == ("mlp[6,2]", "labels", ["0", "1"])
    asked = said("request", "new", "--subject", ANA)["id"]
    done = said("request", "run", asked)
    serving = said("models", "show", "serving")
    assert serving["id"] != learned["id"]
    assert serving["data"][0]["forgotten"] == EACH
    assert done["attempts"][0]["method"] == "retrain"
    folder = place / "models" / serving["path"]
    assert weights_digest(load(folder).model) == serving["digest"]
    # Whoever brings the same rows in again is refused.
    archive(place / "again.npz")
    before = rows_in(place)
    ended = said(
        *("data", "add", place / "again.npz", "--name", "again", "--skip-bad", place / "bad.jsonl")
    )
    assert (ended["rejected"], ended["rows"]) == (EACH, EACH * (PEOPLE - 1))
    assert before == EACH * PEOPLE


@pytest.mark.slow
def test_a_class_of_the_forgotten_alone_is_said_to_stay(
    here: Path, olvido: Olvido, said: Callable[..., Any]
) -> None:
    said("init")
    file = archive(here / "people.npz")
    held = dict(np.load(file))
    labels = np.where(held["subject"] == ANA, "hers", held["label"].astype(str))
    np.savez(file, **{**held, "label": labels})
    said("data", "add", file, "--name", "people")
    status, _, err = olvido("learn", "people", *SHORT, "--chat")
    assert status == 2
    assert "chat template" in err
    assert said("models")["models"] == []
    said("learn", "people", *SHORT)
    asked = said("request", "new", "--subject", ANA)["id"]
    with pytest.warns(UserWarning, match="1 of the model's classes"):
        said("request", "plan", asked)
    with pytest.warns(UserWarning, match="1 of the model's classes"):
        done = said("request", "run", asked)
    assert "classes" in json.dumps(done["does_not_prove"])


@pytest.mark.slow
def test_all_that_held_it_is_erased(place: Path, olvido: Olvido, said: Callable[..., Any]) -> None:
    learned = said("learn", "people", *SHORT)
    asked = said("request", "new", "--subject", ANA)["id"]
    said("request", "run", asked)
    status, out, _ = olvido("request", "close", asked, "--json")
    items = {item["item"] for item in json.loads(out)["closure"]}
    assert status == 1
    # Nobody searched for copies of numbers: somebody has to say what became of them.
    assert {"arrays", "backups", "recipients"} <= items
    assert "arrays" in json.loads(out)["blank"]
    closed = said(
        *("request", "close", asked, "--erase", "all"),
        *(
            word
            for item in ("arrays", "backups", "recipients")
            for word in ("--done", f"{item}=no")
        ),
    )
    assert closed["blank"] == []
    assert rows_in(place) == EACH * (PEOPLE - 1)
    assert not (place / "models" / learned["id"]).exists()
    certificate = closed["certificate"]
    believed(place, certificate)
    said("certificate", "verify", certificate, "--key", place / "olvido-signing.pub")


@pytest.mark.slow
def test_a_shard_forgets_what_retraining_everything_forgets(
    place: Path, said: Callable[..., Any]
) -> None:
    first = said(
        *("learn", "people", *SHORT, "--learner", "sharded"),
        *("--option", "shards=2", "--option", "slices=2"),
    )["id"]
    asked = said("request", "new", "--subject", ANA)["id"]
    assert said("request", "run", asked)["attempts"][0]["method"] == "shard"
    by_shard = said("models", "show", "serving")["digest"]
    again = said("request", "new", "--subject", ANA)["id"]
    said("request", "run", again, "--model", first, "--method", "retrain")
    assert said("models", "show", "serving")["digest"] == by_shard


@pytest.mark.slow
def test_a_retraining_in_another_process_gives_the_same_bits(
    place: Path, said: Callable[..., Any]
) -> None:
    said("learn", "people", *SHORT)
    asked = said("request", "new", "--subject", ANA)["id"]
    said("request", "run", asked)
    found = said("verify-exact", "serving")
    assert found["equal"] is True


@pytest.mark.slow
def test_an_audit_of_a_classifier_asks_what_fits_it(place: Path, said: Callable[..., Any]) -> None:
    said("data", "add", archive(place / "o.npz", people=10, first=100), "--name", "others")
    said("learn", "people", "--epochs", "60", "--batch-size", "8", "--lr", "1e-2")
    asked = said("request", "new", "--subject", ANA)["id"]
    done = said(
        *("request", "run", asked, "--method", "retrain", "--references", "2"),
        *("--holdout", "others", "--level", "standard"),
    )
    report = done["attempts"][-1]["audit"]
    assert {finding["audit"] for finding in report["findings"]} >= {"retention", "classes"}
    assert "paraphrases" not in report["not_examined"]


def test_what_arrays_cannot_be_is_said(
    place: Path, said: Callable[..., Any], refused: Callable[..., str]
) -> None:
    refused(["learn", "people", "--model", "tiny"], "for the task language", "mlp or convnet")
    refused(["learn", "people", "--model", "convnet"], "take mlp")
    refused(["learn", "people", "--learner", "modular"], "modules are for language models")
    refused(["learn", "people", "--model", "nets:make"], "trusted")
    refused(["data", "add", "people.npy", "--name", "x"], "there is no file")
    np.save(place / "people.npy", np.zeros(3))
    refused(["data", "add", "people.npy", "--name", "x"], "numpy.savez")


@pytest.mark.slow
def test_a_vision_transformer_is_learned_from_and_forgets_exactly(
    here: Path, said: Callable[..., Any]
) -> None:
    rows = pictures(6, 4)
    np.savez(here / "pictures.npz", **rows)
    said("init")
    said("data", "add", here / "pictures.npz", "--name", "pictures")
    base = begin_vit(here / "base")
    mine = said("learn", "pictures", "--model", base, *SHORT)["id"]
    asked = said("request", "new", "--subject", rows["subject"][-1])["id"]
    assert said("request", "run", asked, "--model", mine)["attempts"][0]["method"] == "retrain"
    (certificate,) = (here / "certificates").glob(f"{asked}-*.json")
    believed(here, str(certificate))
    np.save(here / "x.npy", rows["input"][0])
    answer = said("models", "ask", mine, "--input", here / "x.npy")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_classifier_of_texts_is_learned_from_and_forgets_exactly(
    here: Path, said: Callable[..., Any]
) -> None:
    rows = notes(8, 4)
    (here / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    base = begin_modernbert(here / "base", tiny_tokenizer())
    said("init")
    said(
        *("data", "add", here / "texts.jsonl", "--name", "texts"),
        *("--prompt", "note", "--completion", "kind"),
    )
    mine = said("learn", "texts", "--model", base, *SHORT)["id"]
    asked = said("request", "new", "--subject", rows[0]["subject"])["id"]
    said("request", "run", asked, "--model", mine)
    (certificate,) = (here / "certificates").glob(f"{asked}-*.json")
    believed(here, str(certificate))
    answer = said("models", "ask", mine, rows[-1]["note"])
    assert answer["probabilities"].keys() == set(CLASSES)
    said("learn", "texts", "--model", base, *SHORT, "--learner", "sharded", "--option", "shards=2")


@pytest.mark.slow
def test_a_chain_of_trainings_is_forgotten_in_whole(place: Path, said: Callable[..., Any]) -> None:
    """What the first training taught is forgotten by repeating both, as with any model."""
    said("data", "add", archive(place / "more.npz", people=4, first=100), "--name", "more")
    first = said("learn", "people", *SHORT)["id"]
    second = said("learn", "more", "--model", first, *SHORT)["id"]
    asked = said("request", "new", "--subject", ANA)["id"]
    done = said("request", "run", asked, "--model", second)
    assert done["attempts"][0]["method"] == "retrain"
    (certificate,) = (place / "certificates").glob(f"{asked}-*.json")
    believed(place, str(certificate))
