"""The page says what the report says, to everybody, and stands by itself."""

from __future__ import annotations

import copy
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from olvido.audits import AUDITS
from olvido.audits.blocks import FAMILIES, decisive, family
from olvido.audits.page import page, write_page
from olvido.errors import InputError
from olvido.files import finite

from . import sample
from .sample import Document, Page, document, failed, finding

UNKNOWN = document(
    verdict="unknown",
    grounds=[sample.reason("paraphrase", "paraphrase was not examined")],
    findings=[finding("quantization", status="unknown", interval=None)],
)
BARE = {
    "verdict": "unknown",
    "grounds": [],
    "findings": [],
    "candidate": "sha256:aa",
    "never_trained": ["sha256:bb"],
}


@pytest.fixture(scope="module")
def html() -> str:
    return page(document(), [document(name="simnpo"), BARE | {"name": "nothing"}])


@pytest.fixture(scope="module")
def read(html: str) -> Page:
    return Page(html)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (document(), "This model passed: it knows the forgotten no better than models that"),
        (failed(), "This model did not pass: the forgotten can be brought back."),
        (UNKNOWN, "This audit could not decide, and that is not a pass."),
    ],
)
def test_the_verdict_is_said_first_in_a_sentence(given: Document, said: str) -> None:
    html = page(given)
    assert said in re.sub(r"\s+", " ", html[html.index("<h1>") : html.index("</h1>")])
    assert ("passed: it knows" in html) is (given["verdict"] == "pass")


def test_what_was_examined_is_said(read: Page) -> None:
    assert (
        "Examined: 84 records to be forgotten, 2,252 others beside them and 3 models that never "
        "saw the forgotten, as the mark to meet, at the level “standard”, on 24 November 2026, "
        "09:12 UTC, in 8 min 32 s." in read.text
    )
    assert "sha256:9f3a9f3a9f3a…" in read.text


def test_reasons_are_listed_with_what_they_rest_on() -> None:
    text = Page(page(failed())).text
    assert "Why it is not a pass:" in text
    assert "it comes back by relearning 0.58 above 0.05 and again" in text


def test_the_four_answers_are_given(read: Page) -> None:
    for part in (
        "What was forgotten ✓ pass",
        "What was kept ✓ pass What was to stay is still there.",
        "What still leaks ✓ pass No attack that decides got more out of it",
        "What it cost The forgetting took 7.1% of what training again takes.",
        "answers right word for word forgotten, as trained 6% ✓ pass 5% 100%",
        "the weights changed forgotten, as trained yes",
    ):
        assert part in read.text


def test_nothing_examined_is_nothing_known() -> None:
    text = Page(page(BARE)).text
    assert text.count("This was not examined, so nothing is known.") == 3
    assert "The cost of the forgetting was not given to this audit." in text
    assert "No reason was recorded." in text


def test_what_was_not_examined_is_said_where_it_belongs(read: Page) -> None:
    leaks = read.text[read.text.index("What still leaks") : read.text.index("What it cost")]
    assert "Not examined: lira, patching." in leaks
    assert read.text.count("Not examined:") == 1


def test_only_what_votes_decides_an_answer() -> None:
    quiet = finding("membership", status="fail", votes=False)
    text = Page(page(document(findings=[quiet]))).text
    assert "What still leaks Nothing that votes was examined" in text


@pytest.mark.parametrize(
    ("audits", "said"),
    [
        (("change",), "but it is not what it is said to be"),
        (("fluency",), "longer answers in fluent language; what was to stay was not examined"),
        (("fluency", "retention"), "It lost things that it was to keep."),
        (("change", "recall"), "did not pass: it is not what it is said to be and asked directly,"),
        (("recall", "change"), "it does not answer like models that never saw the forgotten"),
    ],
)
def test_a_failure_is_told_by_its_kind(audits: tuple[str, ...], said: str) -> None:
    findings = [finding(audit, status="fail") for audit in audits]
    assert said in Page(page(document(verdict="fail", findings=findings))).text


def test_what_passes_says_no_more_than_was_examined() -> None:
    def text(*findings: dict[str, Any], verdict: str = "pass") -> str:
        return Page(page(document(verdict=verdict, findings=list(findings)))).text

    speech, kept = finding("fluency"), finding("retention")
    assert "Its answers are fluent; what was to stay was not examined." in text(speech)
    assert "What was to stay is still there." in text(speech, kept)
    broken = text({**speech, "status": "fail"}, kept, verdict="fail")
    assert "but it no longer answers in fluent language" in broken
    shown = finding("formats", status="fail", votes=False)
    assert "No attack that was tried got more" in text(finding("lens"))
    assert "one that is only shown did" in text(finding("lens"), shown)


def test_the_decisive_are_the_worst_of_each_audit_in_their_order() -> None:
    findings = [finding(f"audit {i}", metric) for i in range(6) for metric in ("one", "two")]
    findings[3]["status"], findings[11]["status"] = "unknown", "fail"
    findings[9] |= {"status": "fail", "votes": False}
    told = [(f["audit"], f["metric"]) for f in decisive(findings)]
    assert told == [("audit 0", "one"), ("audit 1", "two"), ("audit 2", "one"), ("audit 5", "two")]


def test_every_audit_belongs_to_a_family_and_no_family_is_empty() -> None:
    assert {family(name) for name in AUDITS.built_in} | {"other"} == set(FAMILIES)
    assert all(family(name) == AUDITS[name].family for name in AUDITS.built_in)
    assert family("somebody's") == "other"


@pytest.mark.parametrize("verdict", ["pass", "fail", "unknown"])
def test_no_more_is_claimed_than_an_audit_can(verdict: str) -> None:
    given = document(verdict=verdict, guarantee="exact", findings=[])
    text = Page(page(given)).text
    assert ("What this page can vouch for is empirical" in text) is (verdict == "pass")
    assert ("has no claim to be called forgetful" in text) is (verdict == "fail")
    assert ("This audit does not bear that out." in text) is (verdict == "fail")
    # What is exact does not rest on its audit, and one that could not decide says nothing of it.
    assert ("speaks neither for that nor against it" in text) is (verdict == "unknown")
    tested = Page(page(document(verdict=verdict, guarantee="empirical", findings=[]))).text
    assert ("This audit does not bear that out." in tested) is (verdict != "pass")
    assert "rests on how the model was made, which no audit can see" in text
    assert "What this does not prove" in text


def test_suppressed_is_not_called_forgotten() -> None:
    text = Page(page(document(guarantee="suppressed"))).text
    assert "the weights still hold it, and it was not forgotten" in text
    assert "delet" not in text.casefold()
    assert "which is no guarantee that this page knows" in Page(page(document(guarantee="x"))).text


def test_a_finding_is_told_in_full() -> None:
    found = finding(value=0.5, p=0.01, adjusted=0.09, status="fail", against="before", n=1234)
    cells = Page(page(document(verdict="fail", findings=[found]))).cells
    row = [" ".join(cell.split()) for cell in cells]
    start = row.index("exact matchforgotten, as trained")
    assert row[start + 1 : start + 11] == [
        "✗ fail",
        "0.500",
        "0.0500.050, 0.070, 0.030",
        "1.000",
        "+0.450from before",
        "−0.040 to +0.060",
        "at most +0.050",
        "1,234 (12)",
        "0.090alone 0.010",
        "votes",
    ]


def test_every_status_has_its_word_and_its_mark(read: Page) -> None:
    for mark, word, count in (("✓", "pass", 8), ("✗", "fail", 1), ("?", "unknown", 0)):
        assert re.search(rf"{re.escape(mark)} {word} [^()]*\({count} here\)", read.text)
    assert "– silent the original knew it no better" in read.text
    assert "shown only measured and shown; it does not vote" in read.text
    coloured = [a for _, a, _ in read.tags if "status" in (a.get("class") or "").split()]
    assert len(coloured) > 20


@pytest.mark.slow
def test_missing_evidence_comes_with_its_remedy(read: Page) -> None:
    assert "lira : give models whose members are known (shadows)" in read.text
    assert "patching : the layers of these models cannot be compared" in read.text
    unasked = Page(page(document(not_examined={"recall": []}))).text
    assert "recall : it was not asked for" in unasked


def test_engineers_find_digests_tolerances_and_environment(read: Page) -> None:
    models = (document()["candidate"], document()["original"])
    for part in (*sample.DIGESTS, *models, "2.13.0", "2,052"):
        assert part in read.text
    assert "Tolerances, fixed before any result" in read.text


def test_answers_are_marked_without_colour(read: Page) -> None:
    assert "✗ other Carrer de Sants 4" in read.text
    assert "✓ right He lives in carrer de Verdi 12, upstairs" in read.text
    assert read.text.count("still known ✓ right") == 1
    assert "Right 1 of 2 2 of 2 0 of 2" in read.text


def test_what_never_trained_models_say_too_is_no_leak() -> None:
    shown = sample.answers()
    for row in shown["rows"]:
        row["never-trained"] = row["candidate"]
    text = Page(page(document(findings=[finding(exhibit=shown)]))).text
    assert "✓ right" in text
    assert "still known ✓" not in text


def test_models_that_were_not_asked_have_no_column() -> None:
    shown = sample.answers()
    for row in shown["rows"]:
        row["before"] = None
    read = Page(page(document(findings=[finding(exhibit=shown)])))
    at = read.cells.index("Question, and its true answer")
    assert read.cells[at + 1 : at + 3] == ["This model", "Never trained"]


@pytest.mark.parametrize("given", [document(), failed(), UNKNOWN, BARE])
def test_the_page_stands_by_itself(given: Document) -> None:
    html = page(given, [document(name="rmu")])
    read = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _, _ in read.tags}
    named = [attributes["id"] for _, attributes, _ in read.tags if "id" in attributes]
    assert len(named) == len(set(named))
    for _, attributes, _ in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        target = attributes.get("href", attributes.get("xlink:href"))
        assert target is None or (target[0] == "#" and target[1:] in named)
    for used in re.findall(r"url\(([^)]*)\)", html):
        assert used[0] == "#"
        assert used[1:] in named
    assert "@import" not in html


@pytest.mark.parametrize("given", [document(), failed(), UNKNOWN, BARE])
def test_a_screen_reader_finds_its_way(given: Document) -> None:
    read = Page(page(given, [document(name="rmu")]))
    assert read.all("html") == [{"lang": "en"}]
    viewport = [a["content"] for a in read.all("meta") if a.get("name") == "viewport"]
    assert viewport == ["width=device-width, initial-scale=1"]
    levels = [int(tag[1]) for tag, _, _ in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert len(read.all("caption")) == len(read.all("table"))
    assert all("scope" in header for header in read.all("th"))
    regions = [a for a in read.all("div") if a.get("role") == "region"]
    assert all(a["aria-label"] and a["tabindex"] == "0" for a in regions)
    assert read.all("main") == [{}]


def test_every_figure_has_a_picture_in_words_and_its_numbers(html: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", html, re.DOTALL)
    assert len(figures) == 6  # five exhibits, and the plane
    for figure in figures:
        read = Page(figure)
        (picture,) = read.all("svg")
        assert picture["role"] == "img"
        assert re.search(r"\d", picture["aria-label"] or "")
        assert read.all("table", within="details")
    assert len(Page(html).all("svg")) == 6


@pytest.mark.parametrize(
    ("audit", "said"),
    [("relearning", "taught a half"), ("sampling", "drawn at random"), ("other", "Step by step")],
)
def test_lines_are_explained_by_their_audit(audit: str, said: str) -> None:
    text = Page(page(document(findings=[finding(audit, exhibit=sample.curve())]))).text
    assert said in text
    assert ("taught a half" in text) is (audit == "relearning")


def test_an_exhibit_of_an_unknown_kind_is_named() -> None:
    given = document(findings=[finding(exhibit={"kind": "hologram"})])
    assert "of the kind “hologram”, which this version cannot draw" in Page(page(given)).text


@pytest.mark.parametrize("kind", ["answers", "losses", "roc", "curve", "layers", "bars"])
@pytest.mark.parametrize("rest", [{}, {"candidate": None}, {"candidate": [], "at": [], "x": []}])
def test_an_empty_exhibit_is_no_picture(kind: str, rest: dict[str, Any]) -> None:
    given = document(findings=[finding(exhibit={"kind": kind, **rest})])
    read = Page(page(given))
    assert not read.all("svg")
    assert ("There is nothing here that can be drawn." in read.text) is (kind != "answers")


def test_a_report_with_the_least_is_shown() -> None:
    keep = ("audit", "metric", "probe", "value", "never_trained", "n", "status")
    bare = {key: finding()[key] for key in keep} | {"never_trained": [0.2], "value": None}
    text = Page(page(BARE | {"verdict": "pass", "findings": [bare]})).text
    assert "none with a single reference" in text
    assert "not measured" in text


def _replaced(value: Any, text: str) -> Any:
    """The same document with every text that a run could fill in replaced."""
    fixed = {"verdict", "status", "kind"}
    if isinstance(value, dict):
        return {k: v if k in fixed else _replaced(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(item, text) for item in value]
    return text if isinstance(value, str) else value


def test_text_stays_text() -> None:
    text = '<script>alert(\'1\')</script> "><b onclick="x"> </style> --> $x_$ {{ 7 * 7 }} label-0-'
    hostile = _replaced(failed(), text)
    read = Page(page(hostile, [hostile]))
    assert text in read.text
    assert not {"script", "b"} & {tag for tag, _, _ in read.tags}
    assert len(read.all("style")) == 1 + len(read.all("svg"))


def test_names_reach_the_pictures_unread() -> None:
    shown = sample.bars() | {"x": ["$\\frac{1}$", "ירושלים", "a & <b>"], "y": "{%s}"}
    html = page(document(findings=[finding(exhibit=shown)]))
    drawn = html[html.index("<svg") : html.index("</svg>")]
    for name in ("$\\frac{1}$", "ירושלים", "a &amp; &lt;b&gt;", "{%s}"):
        assert f">\u2068{name}\u2069<" in drawn
    assert "label-" not in drawn


def test_what_would_be_unseen_is_named() -> None:
    text = json.loads('"\\u202egnp.exe \\ud800 \\u0000"')
    shown = sample.answers()
    shown["rows"][0]["candidate"] = text
    drawn = sample.bars() | {"x": [text[:9], "b", "c"]}
    html = page(document(findings=[finding(exhibit=shown), finding(exhibit=drawn)]))
    assert "⟨U+202E⟩gnp.exe ⟨U+D800⟩ ⟨U+0000⟩" in html
    assert ">\u2068⟨U+202E⟩gnp.exe" in html
    assert not re.search("[\u202a-\u202e\x00]", html)
    html.encode("utf-8")


def test_a_long_answer_is_cut_and_the_table_stays() -> None:
    shown = sample.answers()
    shown["rows"][0]["candidate"] = "x" * 100_000
    html = page(document(findings=[finding(exhibit=shown)]))
    assert len(html) < 50_000
    assert "x…" in html


NUMBERS = st.lists(st.floats() | st.none() | st.integers(-(10**6), 10**6), max_size=5)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@example(numbers=[math.nan, math.inf, -math.inf, 1e308, 1.0], one=None)
@example(numbers=[], one=math.inf)
@example(numbers=[None, 0, 1], one=math.nan)
@given(numbers=NUMBERS, one=st.floats() | st.none())
def test_no_number_breaks_it(numbers: list[Any], one: float | None) -> None:
    given = document()
    for found in given["findings"]:
        changed = {"value": one, "before": one, "excess": one, "expected": one, "p": one}
        found |= changed | {"interval": [one, one], "never_trained": [one]}
        for key in found["exhibit"] or ():
            if key not in ("kind", "x", "y", "unit", "rows"):
                found["exhibit"][key] = numbers
    given["findings"].append(finding(exhibit=sample.roc() | {"candidate": {"fpr": numbers}}))
    given["seconds"] = one
    given["cost"] = {"seconds": one, "share_of_retraining": one}
    read = Page(page(given, [given]))
    assert "This model passed" in read.text


def test_losses_that_cannot_be_drawn_are_counted() -> None:
    shown = sample.losses() | {"candidate": [None, math.inf, 1.0]}
    text = Page(page(document(findings=[finding(exhibit=shown)]))).text
    assert "2 values not finite or beyond any scale, not drawn." in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no report of an audit: it has no 'verdict'"),
        (document(verdict="maybe"), "pass, fail, unknown, not 'maybe'"),
        (document(findings=[finding(status="fine")]), "not 'fine'"),
        (document(findings=[finding(status="fail")]), "contradicts itself: it passed, though"),
    ],
)
def test_what_is_no_report_is_refused(given: Document, said: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old page", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        write_page(given, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == "the old page"


@pytest.mark.slow
def test_the_same_report_makes_the_same_page(tmp_path: Path) -> None:
    given, other = failed(), document(name="rmu")
    before = copy.deepcopy((given, other))
    write_page(given, tmp_path / "report.html", others=[other])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(given, [other])
    assert (given, other) == before


@pytest.mark.slow
def test_a_real_report_is_shown(world: Any) -> None:
    report = json.loads(json.dumps(finite(world.report(world.before).to_dict())))
    read = Page(page(report))
    assert "This model did not pass" in read.text
    for found in report["findings"]:
        assert found["metric"] in read.text
    assert family(report["findings"][0]["audit"]) != "other"
