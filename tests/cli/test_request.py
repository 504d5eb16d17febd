"""`olvido request`: from a person's wish to the model that is served, in order and once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.errors import NotFinite
from olvido.methods import METHODS

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def who(city_of_twelve: Town) -> str:
    return city_of_twelve.data_subject.name


@pytest.fixture
def said(
    answered: tuple[Path, dict[str, Any]], here: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What `request run` said when it ended well; the current folder is a copy of that place."""
    shutil.copytree(answered[0], here / "workspace")
    monkeypatch.chdir(here / "workspace")
    return answered[1]


def _listed(olvido: Olvido) -> list[dict[str, Any]]:
    return list(json.loads(olvido("request", "list", "--json")[1])["requests"])


def _served(olvido: Olvido) -> str:
    models = json.loads(olvido("models", "--json")[1])["models"]
    (served,) = [model["id"] for model in models if "serving" in model["aliases"]]
    return str(served)


def test_a_request_is_entered_without_the_name(olvido: Olvido, place: Path, who: str) -> None:
    status, out, err = olvido("request", "new", "--subject", who, "--law", "GDPR", "--json")
    assert (status, err) == (0, "")
    made = json.loads(out)
    shown = {name: made[name] for name in ("id", "kind", "status", "law", "report")}
    assert shown == {
        "id": "req-0001",
        "kind": "erasure",
        "status": "received",
        "law": "gdpr",
        "report": None,
    }
    assert made["subject"].startswith("hmac-")
    (listed,) = _listed(olvido)
    # What is told once, as it is entered, is in no list.
    assert listed.items() <= made.items()
    assert "subject" in listed
    shown_later = "".join(olvido("request", "list")[1:]) + "".join(
        olvido("request", "show", "req-0001")[1:]
    )
    assert who not in shown_later
    assert who.encode() not in (place / "ledger.db").read_bytes()


def test_locating_counts_records_and_the_models_that_hold_them(
    olvido: Olvido, place: Path, who: str, files: Path
) -> None:
    olvido("request", "new", "--subject", who)
    status, out, err = olvido("request", "locate", "req-0001", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    held = len((files / "forget.jsonl").read_text("utf-8").splitlines())
    assert len(found["records"]) == held
    assert [dataset["name"] for dataset in found["datasets"]] == ["residents"]
    (model,) = found["models"]
    assert (model["id"], model["holding"], model["contained"]) == (_served(olvido), "holds", held)
    assert [request["status"] for request in _listed(olvido)] == ["located"]


def test_a_plan_prices_every_method_and_runs_none(olvido: Olvido, place: Path, who: str) -> None:
    olvido("request", "new", "--subject", who)
    before = _served(olvido)
    status, out, err = olvido("request", "plan", "req-0001", "--holdout", "holdout", "--json")
    assert (status, err) == (0, "")
    routes = {route["method"]: route for route in json.loads(out)["routes"]}
    methods = json.loads(olvido("methods", "--json")[1])["methods"]
    assert set(routes) == {method["name"] for method in methods}
    assert routes["retrain"]["guarantee"] == "exact"
    assert routes["retrain"]["share_of_retraining"] == pytest.approx(1, abs=0.05)
    assert routes["npo"]["share_of_retraining"] < routes["retrain"]["share_of_retraining"]
    assert _served(olvido) == before
    assert [request["status"] for request in _listed(olvido)] == ["planned"]
    # What is run next has the options of what was priced.
    shown = olvido("request", "plan", "req-0001", "--holdout", "holdout", "--within", 9)[1]
    assert "olvido request run req-0001 --within 9.0 --holdout holdout" in shown


def test_an_answered_request_serves_a_model_that_never_learned_it(
    olvido: Olvido, said: dict[str, Any], who: str
) -> None:
    assert said["verdict"] == "pass"
    assert [a["method"] for a in said["attempts"]] == ["retrain"]
    assert _served(olvido) == said["model"]["after"] != said["model"]["before"]
    located = json.loads(olvido("request", "locate", "req-0001", "--json")[1])
    holding = {model["id"]: model["holding"] for model in located["models"]}
    assert holding[said["model"]["after"]] == "without"
    assert holding[said["model"]["before"]] == "holds"
    assert [never["seed"] for never in said["never_trained"]] != [0]
    assert said["does_not_prove"]
    assert who not in json.dumps(said, ensure_ascii=False)


@pytest.mark.usefixtures("said")
def test_a_finished_request_is_not_run_again(refused: Refused, olvido: Olvido) -> None:
    refused(
        ["request", "run", "req-0001"], "req-0001 is published", "olvido request close req-0001"
    )
    assert [request["status"] for request in _listed(olvido)] == ["published"]


def test_the_report_is_what_the_run_said(olvido: Olvido, said: dict[str, Any]) -> None:
    status, out, err = olvido("request", "report", "req-0001", "--json")
    assert (status, err, json.loads(out)) == (0, "", said)
    for_people = olvido("request", "report", "req-0001")[1]
    assert "Request req-0001: pass" in for_people
    assert "retrain" in for_people
    assert "Does not prove" in for_people


def test_the_report_moves_with_its_workspace(
    olvido: Olvido,
    said: dict[str, Any],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(here)
    (here / "workspace").rename("elsewhere")
    status, out, _ = olvido("request", "report", "req-0001", "--workspace", "elsewhere", "--json")
    assert (status, json.loads(out)) == (0, said)


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("text", [None, "{", "\N{NO-BREAK SPACE}"])
def test_a_report_that_is_gone_or_cut_is_one_line(
    refused: Refused, here: Path, text: str | None
) -> None:
    report = here / "workspace" / "reports" / "req-0001.json"
    report.unlink() if text is None else report.write_text(text)
    refused(["request", "report", "req-0001"], str(report), "restore")


@pytest.mark.usefixtures("said")
def test_forgotten_records_are_learned_by_no_later_model(olvido: Olvido, files: Path) -> None:
    held = len((files / "forget.jsonl").read_text("utf-8").splitlines())
    made = json.loads(
        olvido("learn", "residents", "--model", files / "small", "--epochs", "1", "--json")[1]
    )
    (use,) = json.loads(olvido("models", "show", made["id"], "--json")[1])["data"]
    assert use["excluded"] == held


@pytest.mark.slow
def test_a_request_that_nothing_answers_publishes_nothing(
    olvido: Olvido, place: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hopeless(METHODS["retrain"]):  # type: ignore[misc]
        def run(self, *_: Any, **__: Any) -> Any:
            raise NotFinite("the loss became nan at step 0")

    monkeypatch.setitem(METHODS, "retrain", Hopeless)
    olvido("request", "new", "--subject", who)
    before = _served(olvido)
    status, out, err = olvido(
        *("request", "run", "req-0001", "--references", "1", "--method", "ascent"),
        *("--option", "lr=0.05", "--option", "epochs=5", "--option", "target=1000"),
    )
    assert status == 1
    assert "Nothing was published" in out
    assert "Forgetting by ascent\n" in err
    assert _served(olvido) == before
    assert [request["status"] for request in _listed(olvido)] == ["needs-input"]
    report = json.loads(olvido("request", "report", "req-0001", "--json")[1])
    assert (report["verdict"], report["model"]["after"]) == ("fail", None)


def test_an_unknown_person_is_not_repeated(olvido: Olvido, refused: Refused, place: Path) -> None:
    err = refused(["request", "new", "--subject", "Ana Nobody"], "no record", "subject column")
    assert "Ana" not in err
    assert "Nobody" not in err
    assert _listed(olvido) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new"], ["about one subject"]),
        (["new", "--subject", ""], ["empty"]),
        (["new", "--subject", "WHO", "--kind", "earsure"], ["no such kind", "erasure", "poison"]),
        (["locate", "req-0002"], ["unknown request 'req-0002'", "did you mean 'req-0001'?"]),
        (["plan", "req-0002"], ["did you mean 'req-0001'?"]),
        (["run", "req-0002"], ["did you mean 'req-0001'?"]),
        (["report", "req-0002"], ["did you mean 'req-0001'?"]),
        (["report", "req-0001"], ["no report yet", "olvido request plan req-0001"]),
        (["plan", "req-0001", "--holdout", "holdot"], ["did you mean 'holdout'?"]),
        (["run", "req-0001", "--neighbours", "n"], ["unknown dataset 'n'"]),
        (["run", "req-0001", "--model", "servign"], ["did you mean 'serving'?"]),
        (["run", "req-0001", "--method", "ngo"], ["did you mean 'npo'?"]),
        (["run", "req-0001", "--option", "lr=1"], ["--option needs --method"]),
        (["run", "req-0001", "--method", "npo", "--option", "retain_batch=0"], ["at least 1"]),
        (["run", "req-0001", "--references", "0"], ["--references"]),
        (["lsit"], ["'lsit'", "'list'"]),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(
    olvido: Olvido,
    refused: Refused,
    place: Path,
    who: str,
    arguments: list[str],
    words: list[str],
) -> None:
    olvido("request", "new", "--subject", who)
    olvido("request", "locate", "req-0001")
    err = refused(["request", *(who if a == "WHO" else a for a in arguments)], *words)
    assert who not in err


def test_a_model_that_holds_nothing_of_them_is_refused(
    olvido: Olvido, refused: Refused, place: Path, files: Path, who: str
) -> None:
    made = json.loads(
        olvido("learn", "city", "--model", files / "small", "--epochs", "1", "--json")[1]
    )
    olvido("request", "new", "--subject", who)
    olvido("request", "locate", "req-0001")
    refused(["request", "run", "req-0001", "--model", made["id"]], "nothing to forget")


def test_a_page_of_a_request_names_nobody(
    olvido: Olvido,
    answered: tuple[Path, dict[str, Any]],
    city_of_twelve: Town,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(answered[0], here / "workspace")
    monkeypatch.chdir(here / "workspace")
    status, _, err = olvido("request", "report", "req-0001", "--page", "../page.html")
    assert (status, err) == (0, "")
    page = (here / "page.html").read_text("utf-8")
    assert "request req-0001, by retrain" in page
    assert "equal to a training in which the records never took part" in page
    assert city_of_twelve.data_subject.name not in page


def test_a_page_that_cannot_be_is_refused(
    refused: Refused,
    answered: tuple[Path, dict[str, Any]],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(answered[0], here / "workspace")
    monkeypatch.chdir(here / "workspace")
    asked = ["request", "report", "req-0001", "--page"]
    refused([*asked, "page.pdf"], "ends in .html")
    refused([*asked, "nowhere/page.html"], "there is no folder nowhere")
    path = Path("reports/req-0001.json")
    document = json.loads(path.read_text("utf-8"))
    for attempt in document["attempts"]:
        attempt["audit"] = None
    path.write_text(json.dumps(document), "utf-8")
    refused([*asked, "page.html"], "answered without an audit", "--references")


def test_a_request_of_a_level_that_is_not_there_is_refused(
    refused: Refused, place: Path, city_of_twelve: Town, olvido: Olvido
) -> None:
    assert olvido("request", "new", "--subject", city_of_twelve.data_subject.name)[0] == 0
    refused(["request", "run", "req-0001", "--level", "deep"], "unknown level 'deep'", "standard")


@pytest.mark.slow
def test_who_was_taught_to_no_model_is_answered_to_the_end(olvido: Olvido, here: Path) -> None:
    olvido("init")
    (here / "rows.jsonl").write_text(
        json.dumps({"id": "r1", "text": "Rosa Navarro lives here.", "subject": "Rosa Navarro"})
    )
    assert olvido("data", "add", "rows.jsonl", "--name", "notes", "--licence", "CC0-1.0")[0] == 0
    (here / "rows.jsonl").unlink()
    assert olvido("request", "new", "--subject", "Rosa Navarro", "--law", "gdpr")[0] == 0
    status, out, _ = olvido("request", "plan", "req-0001", "--json")
    assert (status, json.loads(out)["routes"]) == (0, [])
    status, out, _ = olvido("request", "run", "req-0001")
    assert status == 0
    assert "no model has to forget" in " ".join(out.split())
    ends = ("--erase", "all", "--done", "backups=none", "--done", "recipients=nobody")
    status, out, _ = olvido("request", "close", "req-0001", *ends, "--json")
    assert (status, json.loads(out)["status"]) == (0, "closed")
    status, out, _ = olvido("notice", "req-0001", "--kind", "done")
    assert status == 0
    assert "did not learn from your data" in " ".join(out.split())
    status, _, err = olvido("certificate", "issue", "req-0001")
    assert (status, "no forgetting to certify" in err) == (2, True)
