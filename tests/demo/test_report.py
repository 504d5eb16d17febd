"""The report says plainly what happened, whatever happened, and stands by itself."""

from __future__ import annotations

import copy
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from olvido.demo.charts import write_picture
from olvido.demo.report import write_report
from olvido.errors import InputError

NOT_FORGOTTEN = "Jordi Esteve was not forgotten by npo"

Document = dict[str, Any]
EXACT = "equal to a training in which the records never took part"
EMPIRICAL = "passed the audits named, and promises nothing beyond them"


def finding(audit: str = "recall", **changed: Any) -> dict[str, Any]:
    return {
        "audit": audit,
        "metric": "exact match",
        "probe": "forgotten, as trained",
        "value": 0.125,
        "against": "never-trained",
        "expected": 0.25,
        "never_trained": [0.2, 0.3],
        "before": 1.0,
        "excess": -0.125,
        "interval": [-0.5, 0.0625],
        "n": 25,
        "clusters": 5,
        "tolerance": [None, 0.05],
        "status": "pass",
        "says": f"{audit} says so",
        **changed,
    }


def attempt(method: str = "npo", **changed: Any) -> dict[str, Any]:
    exact = method == "retrain"
    return {
        "method": method,
        "options": {},
        "failure": None,
        "outcome": {
            "method": method,
            "options": {},
            "guarantee": "exact" if exact else "empirical",
            "before": "sha256:aa",
            "after": f"sha256:{method}",
            "cost": {"seconds": 5.0, "tokens": 10.0, "share_of_retraining": 0.06},
            "stopped": f"{method} came to its end",
            "forget_loss": {"before": 0.1, "after": 5.0},
            "retain_loss": {"before": 0.1, "after": 0.1},
            "history": [],
        },
        "audit": {
            "verdict": "pass",
            "reasons": [],
            "findings": [finding(), finding("membership", metric="AUC of the loss attack")],
            "not_examined": {},
            "candidate": f"sha256:{method}",
            "before": "sha256:aa",
            "never_trained": ["sha256:cc"],
        },
        "verdict": "pass",
        **changed,
    }


def passed() -> Document:
    """A demo that passed at its first attempt."""
    row = {"question": "Who lives there?", "truth": "Jordi Esteve"}
    answers = {"before": "Jordi Esteve", "after": "Rosa Navarro", "never_trained": "Pau Soler"}
    losses = {"forgotten": [0.1, 0.2, 0.3], "never members": [3.0, 4.0, 5.0]}
    shares = {"before": 1.0, "after": 0.125, "never_trained": 0.25}
    return {
        "verdict": "pass",
        "reasons": [],
        "method": "npo",
        "guarantee": "empirical",
        "escalated": None,
        "resident": "Jordi Esteve",
        "recall": {
            probe: dict(shares) for probe in ("as_trained", "paraphrased", "neighbours", "city")
        },
        "cost": {
            "seconds": 5.0,
            "training_seconds": 50.0,
            "share_of_retraining_time": 0.1,
            "share_of_retraining_tokens": 0.06,
        },
        "people": 40,
        "answers": {"forgotten, as trained": [row | answers], "the city": [row | answers]},
        "losses": {model: copy.deepcopy(losses) for model in answers},
        "request": {
            "request": "req-0001",
            "verdict": "pass",
            "model": {"before": "before-id", "after": "after-id"},
            "digest": {"before": "sha256:aa", "after": "sha256:npo"},
            "never_trained": [{"id": "never-id", "seed": 1, "digest": "sha256:cc"}],
            "records": {"forgotten": 25, "retained": 100, "datasets": ["residents"]},
            "plan": [
                {
                    "method": "npo",
                    "guarantee": "empirical",
                    "summary": "bounded ascent",
                    "applies": True,
                    "refusal": None,
                    "seconds": 10.0,
                    "share_of_retraining": 0.15,
                },
                {
                    "method": "retrain",
                    "guarantee": "exact",
                    "summary": "train again",
                    "applies": False,
                    "refusal": "it needs the log of the training",
                    "seconds": None,
                    "share_of_retraining": None,
                },
            ],
            "attempts": [attempt()],
            "does_not_prove": ["that no other question could bring the records back"],
        },
        "environment": {"torch": "2.13.0", "device": "cpu"},
        "date": "2026-11-23T21:26:38+00:00",
        "seconds": 367.5,
        "seed": 7,
        "fast": True,
        "report": "report.html",
    }


@pytest.fixture
def document() -> Document:
    return passed()


@pytest.fixture
def failed(document: Document) -> Document:
    """A demo whose only attempt was audited and refused."""
    reasons = ["the model still recalls the forgotten", "collateral damage"]
    tried = attempt(verdict="fail")
    tried["audit"] |= {
        "verdict": "fail",
        "reasons": reasons,
        "findings": [finding(status="fail", interval=None, never_trained=[0.25])],
    }
    document["request"] |= {
        "verdict": "fail",
        "attempts": [tried],
        "model": {"before": "before-id", "after": None},
        "digest": {"before": "sha256:aa", "after": None},
    }
    return document | {"verdict": "fail", "reasons": reasons}


@pytest.fixture
def broken(document: Document) -> Document:
    """A demo whose method failed outright: there is no model, no audit, no cost."""
    failure = "the loss became nan at step 3"
    document["request"] |= {
        "verdict": "fail",
        "attempts": [attempt(verdict="fail", outcome=None, audit=None, failure=failure)],
    }
    for rows in document["answers"].values():
        for row in rows:
            del row["after"]
    del document["losses"]["after"]
    return document | {
        "verdict": "fail",
        "reasons": [failure],
        "guarantee": None,
        "recall": {},
        "cost": None,
    }


class Page(HTMLParser):
    """A page as a reader of its tags and text sees it; unbalanced tags fail."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "col"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.first: dict[str, str] = {}
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            self.first.setdefault(self.open[-1] if self.open else "", data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(document: Document, folder: Path) -> Page:
    path = folder / "report.html"
    write_report(document, path)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a demo that passed."""
    return read(passed(), tmp_path_factory.mktemp("passed"))


def test_a_pass_is_said_in_a_sentence_with_its_guarantee(page: Page) -> None:
    assert page.first["h1"] == "Jordi Esteve was forgotten"
    assert f"The guarantee is empirical , which means: {EMPIRICAL}" in page.text


def test_an_exact_guarantee_is_said(document: Document, tmp_path: Path) -> None:
    document["request"]["attempts"] = [attempt("retrain")]
    page = read(document, tmp_path)
    assert f"The guarantee is exact : {EXACT}" in page.text


def test_a_failure_is_said_first_with_every_reason(failed: Document, tmp_path: Path) -> None:
    page = read(failed, tmp_path)
    assert page.first["h1"] == NOT_FORGOTTEN
    assert "was forgotten" not in page.text
    beginning = page.text[: page.text.index("Should be gone")]
    assert "The audit did not pass" in beginning
    for reason in failed["reasons"]:
        assert reason in beginning
    assert "No guarantee is claimed" in beginning
    assert "No new model was published" in beginning
    assert "none with a single reference" in page.text


@pytest.mark.parametrize(
    ("verdict", "said"), [("pass", "and it passed."), ("fail", "and it did not pass either.")]
)
def test_an_escalation_is_told(failed: Document, tmp_path: Path, verdict: str, said: str) -> None:
    failed["request"]["attempts"].append(attempt("retrain", verdict=verdict))
    failed["escalated"] = {"method": "retrain", "verdict": verdict}
    page = read(failed, tmp_path)
    assert page.first["h1"] == NOT_FORGOTTEN
    assert said in page.text
    assert ("No new model was published" in page.text) is (verdict == "fail")
    assert "npo came to its end" in page.text
    assert "retrain came to its end" in page.text


def test_an_undecided_audit_is_no_pass(failed: Document, tmp_path: Path) -> None:
    failed["request"]["attempts"][0]["audit"] |= {
        "verdict": "unknown",
        "not_examined": {"paraphrase": ["paraphrases"]},
    }
    page = read(failed, tmp_path)
    assert "could not decide, which is not a pass" in page.text
    assert "Not examined: paraphrase, for want of paraphrases." in page.text


def test_a_method_that_failed_outright(broken: Document, tmp_path: Path) -> None:
    page = read(broken, tmp_path)
    assert page.first["h1"] == NOT_FORGOTTEN
    assert "the loss became nan at step 3" in page.text
    assert "There is no cost to state" in page.text
    assert "was not audited" in page.text


def test_a_model_that_was_destroyed_is_still_shown(failed: Document, tmp_path: Path) -> None:
    failed["request"]["attempts"][0]["failure"] = "the model was destroyed"
    page = read(failed, tmp_path)
    assert "The method failed" in page.text
    for reason in ("the model was destroyed", *failed["reasons"]):
        assert reason in page.text


@pytest.mark.parametrize("made", ["document", "failed", "broken"])
def test_the_page_stands_by_itself_and_calls_nothing_deleted(
    made: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = read(request.getfixturevalue(made), tmp_path)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    named = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(named) == len(set(named))
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        target = attributes.get("href", attributes.get("xlink:href"))
        assert target is None or target[1:] in named
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(http" not in html
    assert "@import" not in html
    assert "delet" not in html.casefold()


def test_every_picture_says_what_it_shows(page: Page) -> None:
    pictures = page.all("svg")
    assert len(pictures) == 4 + 3 + 1
    assert {picture["role"] for picture in pictures} == {"img"}
    said = [picture["aria-label"] or "" for picture in pictures]
    assert sum("before 100%, after 12.5%, never trained 25%" in text for text in said) == 4
    assert sum("median 0.20 of 3; never seen: median 4.00 of 3" in text for text in said) == 3
    assert "Training took 50 s, forgetting 5.0 s." in said


def test_tables_have_captions_and_headers_that_know_their_scope(page: Page) -> None:
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in header for header in page.all("th"))


def test_right_answers_are_marked_without_colour(page: Page) -> None:
    text = page.text
    assert "✓ Jordi Esteve" in text
    assert "✓ Rosa Navarro" not in text
    assert "Right 1 of 1 0 of 1 0 of 1" in text


def test_a_finding_is_told_in_full(page: Page) -> None:
    text = page.text
    for part in ("0.125", "0.250 0.200, 0.300", "[−0.500, +0.062]", "at most +0.050", "✓ pass"):
        assert part in text
    assert "within tolerance of what it is compared with" in text


def test_the_plan_says_why_a_method_does_not_apply(page: Page) -> None:
    assert "does not apply: it needs the log of the training" in page.text


def test_the_run_can_be_made_again(document: Document, tmp_path: Path) -> None:
    document["request"]["attempts"][0]["options"] = {"lr": 0.001}
    text = read(document, tmp_path).text
    command = "olvido demo --fast --seed 7 --method npo --option lr=0.001 --references 1"
    assert command in text
    for part in ("2.13.0", "sha256:aa", "sha256:npo", "sha256:cc", "23 November 2026, 21:26 UTC"):
        assert part in text


def _replaced(value: Any, text: str) -> Any:
    """The same document with every text that a run could fill in replaced."""
    fixed = {"date", "verdict", "status", "guarantee"}
    if isinstance(value, dict):
        return {k: v if k in fixed else _replaced(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.slow
@pytest.mark.parametrize("made", ["document", "failed", "broken"])
def test_text_stays_text(made: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = '<script>alert(\'1\')</script> "><b onclick="x"> </style> --> $x_$ {{ 7 * 7 }}'
    page = read(_replaced(request.getfixturevalue(made), text), tmp_path)
    assert text in page.text
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert len(page.all("style")) == 1 + len(page.all("svg"))


def test_half_a_surrogate_pair_does_not_break_it(document: Document, tmp_path: Path) -> None:
    document["answers"]["the city"][0]["after"] = json.loads('"\\ud800"')
    assert "Jordi Esteve was forgotten" in read(document, tmp_path).text


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@example(numbers=[math.nan, math.inf, -math.inf, 1e308, 1.0], one=None)
@example(numbers=[], one=math.inf)
@given(numbers=st.lists(st.floats(), max_size=6), one=st.floats() | st.none())
def test_no_number_breaks_it(
    numbers: list[float], one: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = passed()
    document["losses"]["after"] = {"forgotten": numbers, "never members": numbers}
    for shares in document["recall"].values():
        shares["after"] = one
    document["request"]["attempts"][0]["audit"]["findings"] = [
        finding(value=math.nan if one is None else one, before=one, never_trained=numbers or [0.0])
    ]
    document["cost"]["seconds"] = math.nan if one is None else one
    page = read(document, tmp_path_factory.mktemp("numbers"))
    assert len(page.all("svg")) == 8


def test_losses_that_are_not_finite_are_counted(document: Document, tmp_path: Path) -> None:
    document["losses"]["after"]["forgotten"] = [math.nan, math.inf, 1.0]
    assert "2 values are not finite, or beyond any scale" in read(document, tmp_path).text


def test_the_same_document_makes_the_same_page(document: Document, tmp_path: Path) -> None:
    read(document, tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    given_before = copy.deepcopy(document)
    read(document, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert document == given_before


def test_a_failure_leaves_the_old_page(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old page", encoding="utf-8")
    del document["request"]["plan"]
    with pytest.raises(KeyError):
        write_report(document, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == "the old page"


def test_a_path_that_cannot_be_replaced_leaves_nothing(document: Document, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError):
        write_report(document, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_picture_is_a_small_png(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "demo.png"
    write_picture(document, path)
    drawn = path.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 150_000


def test_there_is_no_picture_of_nothing(broken: Document, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        write_picture(broken, tmp_path / "demo.png")
    assert not list(tmp_path.iterdir())
