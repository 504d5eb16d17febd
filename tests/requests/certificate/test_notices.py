"""Letters are plain, honest, and tell everybody where they may turn, in every language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import Ending, Exit, Guarantee, RequestKind, RequestStatus
from olvido.requests import handlers
from olvido.requests.certificate import issue
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.guidance import next_step
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.language import KINDS, languages
from olvido.requests.rights.letter import fitting, letter, note, state_of
from olvido.requests.rights.registry import find_law, laws
from olvido.workspace import Workspace

from .conftest import PERSON, Case, answered

REASON = {
    "en": "We need to know which account is yours.",
    "es": "Necesitamos saber qué cuenta es la suya.",
    "ca": "Necessitem saber quin compte és el vostre.",
}
CLOSED: dict[str, Ending] = {
    "rows:0123456789abcdef": Ending(Exit.ERASED, "3 rows removed from their file"),
    "backups": Ending(Exit.AWAITING_EXPIRY, "2026-12-31"),
    "export:/home/somebody/model": Ending(Exit.CANNOT, "we sold them."),
    "log": Ending(Exit.CANNOT, "holds no words and no name"),
    "model:0123456789a1": Ending(None),
    "model:0123456789a2": Ending(None),
}


def syllables(word: str) -> int:
    """Groups of vowels, a silent e apart: near enough for a mean."""
    letters = re.sub(r"[^a-z]", "", word.lower())
    groups = len(re.findall(r"[aeiouy]+", letters))
    if letters.endswith("e") and not letters.endswith(("le", "ee")) and groups > 1:
        groups -= 1
    return max(groups, 1)


def grade(text: str) -> float:
    """Flesch-Kincaid: 0.39 words a sentence + 11.8 syllables a word - 15.59."""
    sentences = [s for s in re.split(r"[.!?:]+(?:\s|$)|\n\n", text) if re.search(r"[a-z]", s)]
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", text)
    return (
        0.39 * len(words) / len(sentences) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59
    )


def test_the_grade_is_that_of_known_texts() -> None:
    # By hand: 6 words, 1 sentence, 6 syllables; and 13 words, 1 sentence, 24 syllables.
    assert grade("The cat sat on the mat.") == pytest.approx(0.39 * 6 + 11.8 - 15.59)
    hard = "The Australian platypus is seemingly a hybrid of a mammal and reptilian creature."
    assert grade(hard) > 11


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = answered(tmp_path / "workspace", exact=False)
    yield made
    made.workspace.store.close()


def certified(case: Case, *only: str) -> Path:
    """Certified once its closure was noted; closed where nothing in it is blank."""
    found = {item: said for item, said in CLOSED.items() if item in (only or CLOSED)}
    case.workspace.store.put_closure("req-0001", found)
    if all(one.exit for one in found.values()):
        case.workspace.store.advance_request("req-0001", RequestStatus.CLOSED)
    return issue(case.workspace, "req-0001")


def write(workspace: Workspace, kind: str, language: str = "en", **more: Any) -> str:
    request = more.pop("request", "req-0001")
    if kind in ("needs-information", "extension", "refused"):
        more.setdefault("reason", REASON.get(language, "Because."))
    made = letter(workspace, request, kind, language=language, **more)
    assert made.flowing.split() == made.text.split()
    # What goes on is in one line, wherever the letter breaks it; an item has its own.
    later = [line for block in made.flowing.split("\n\n") for line in block.splitlines()[1:]]
    assert all(re.match(r"(-|\d\.) ", line) for line in later), later
    return made.text


S = RequestStatus
FITS: dict[str, list[tuple[RequestStatus, dict[str, Any]]]] = {
    "received": [],
    "needs-information": [(S.NEEDS_INPUT, {"for": "clarification", "why": "x"})],
    "extension": [(S.RECEIVED, {"extended": "2026-02-20", "why": "x"})],
    "refused": [(S.REFUSED, {"why": "x"})],
}
"""What is noted of a request before such a letter is written."""


def brought(workspace: Workspace, kind: str, law: str = "gdpr", **more: Any) -> str:
    """A new request that has come as far as such a letter says."""
    store, rules = workspace.store, find_law(law, workspace=workspace.settings.workspace)
    who = store.key.subject(f"{kind} {law}")
    detail = terms(rules, workspace.settings)
    made = store.add_request(
        more.pop("wish", RequestKind.ERASURE), subject=who, law=rules.name, detail=detail, **more
    )
    for status, told in FITS[kind]:
        store.advance_request(made.id, status, told)
    return made.id


def all_letters(workspace: Workspace) -> Iterator[tuple[str, str, str, str, str]]:
    """Every letter in every language under every law; req-0001 was answered, and names no law."""
    for law in laws():
        asked = {kind: brought(workspace, kind, law.name) for kind in FITS}
        for code in languages():
            for kind in KINDS:
                if kind == "done" or (kind == "extension" and law.extension is None):
                    continue
                one = asked.get(kind, "req-0001")
                under = {"law": law.name} if one == "req-0001" else {}
                text = write(workspace, kind, code, request=one, **under)
                yield law.name, code, kind, one, text


@pytest.mark.slow
def test_every_letter_can_be_written_is_whole_and_can_be_read(tmp_path: Path) -> None:
    case = answered(tmp_path / "workspace", exact=False, law=None)
    certified(case)
    seen = 0
    for law, code, kind, one, text in all_letters(case.workspace):
        seen += 1
        words = languages()[code]
        assert one in text, (law, code, kind)
        assert words.recourse[law].split()[-1] in text, (law, code, kind)
        assert not re.search(r"[{}%]|None|undefined", text), (law, code, kind)
        assert PERSON not in text
        assert max(map(len, text.splitlines())) <= 76
        assert code != "en" or grade(text) <= 8.0, (law, kind, grade(text), text)
    assert seen > 3 * 10 * 4
    case.workspace.store.close()


@pytest.mark.slow
def test_no_letter_says_something_else_than_how_far_its_request_has_come(case: Case) -> None:
    workspace, store = case.workspace, case.workspace.store
    certified(case)
    asked = {kind: brought(workspace, kind) for kind in FITS} | {"partly-done": "req-0001"}
    called_off = brought(workspace, "received", "uk-gdpr")
    store.advance_request(called_off, S.CANCELLED, {"why": "a mistake"})
    undecided = brought(workspace, "received", "ccpa")
    store.advance_request(undecided, S.NEEDS_INPUT, {"for": "decision", "why": "every way failed"})
    before = store.events()
    for identifier in (*asked.values(), called_off, undecided):
        request = store.request(identifier)
        fits = fitting(workspace, request)
        for kind in KINDS:
            if kind in fits:
                assert identifier in write(workspace, kind, request=identifier)
                continue
            with pytest.raises(StateError) as refused:
                write(workspace, kind, request=identifier)
            # How far it has come, and what fits instead.
            assert request.id in str(refused.value)
            assert all(one in str(refused.value) for one in fits)
            assert kind == "done" or f"is {request.status}," in str(refused.value)
    assert {kind: fitting(workspace, store.request(one)) for kind, one in asked.items()} == {
        "received": ("received",),
        "needs-information": ("received", "needs-information"),
        "extension": ("received", "extension"),
        "refused": ("refused",),
        "partly-done": ("partly-done",),
    }
    assert fitting(workspace, store.request(called_off)) == ()
    assert fitting(workspace, store.request(undecided)) == ("received",)
    with pytest.raises(InputError, match="received under the law 'gdpr'"):
        write(workspace, "received", request=asked["received"], law="lgpd")
    assert store.events() == before


def test_whoever_asked_is_told_of_a_letter_once_it_was_written(case: Case) -> None:
    """Asked of anew, or of another request, an old letter says nothing."""
    workspace, store = case.workspace, case.workspace.store
    for kind, state in (("refused", "refused"), ("needs-information", "needs-input")):
        one, other = brought(workspace, kind), brought(workspace, kind, "lgpd")
        seen = [state_of(workspace, store.request(one))]
        note(workspace, letter(workspace, one, "received" if state != "refused" else kind,
                               reason=None if state != "refused" else "x"))  # fmt: skip
        seen += [state_of(workspace, store.request(i)) for i in (one, other)]
        note(workspace, letter(workspace, one, kind, reason="x"))
        seen += [state_of(workspace, store.request(i)) for i in (one, other)]
        refused = f"{state}-letter" if state == "refused" else state
        assert seen == [state, refused, state, f"{state}-letter", state]
    # That it takes longer changes nothing of it; and what is asked next was told in no letter.
    store.advance_request(one, S.NEEDS_INPUT, {"extended": "2026-02-20", "why": "x"})
    assert state_of(workspace, store.request(one)) == "needs-input-letter"
    handlers.resume(workspace, one)
    handlers.wait(workspace, one, why="another page is missing", need="clarification")
    assert state_of(workspace, store.request(one)) == "needs-input"


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (Ending(Exit.ERASED, "none", by_word=True), "closed"),
        (Ending(Exit.AWAITING_EXPIRY, "2026-12-31"), "closed-in-part"),
        (Ending(Exit.CANNOT, "we sold them"), "closed-in-part"),
        (Ending(None), "published"),
    ],
)
def test_whoever_asked_reads_done_where_nothing_is_left(
    case: Case, ending: Ending, state: str
) -> None:
    workspace, store = case.workspace, case.workspace.store
    store.put_closure("req-0001", {"log": CLOSED["log"], "backups": ending})
    if ending.exit is not None:
        store.advance_request("req-0001", S.CLOSED)
    request = store.request("req-0001")
    assert state_of(workspace, request) == state
    (fits,) = fitting(workspace, request)
    assert (fits == "done") is (state == "closed")
    if ending.exit is not None:
        assert f"--kind {fits}" in (next_step(workspace, request).command or "")
    texts = [language.state("erasure", state) for language in languages().values()]
    assert len({*texts, *(one.states["closed"] for one in languages().values())}) == (
        3 if state == "closed" else 6
    )


def test_what_was_done_is_said_in_plain_english() -> None:
    for guarantee, text in languages()["en"].guarantee.items():
        assert grade(text) <= 8.0, (guarantee, grade(text))


def test_no_letter_speaks_in_jargon() -> None:
    banned = (
        *("weights", "pesos", "dataset", "checkpoint", "gradient", "epsilon", "inference"),
        *("unlearn", "fine-tun", "parameter", "controller", "data subject", "pursuant", "hash"),
    )
    for language in languages().values():
        for text in (*language.notices.values(), *language.guarantee.values()):
            for word in banned:
                assert word not in text.lower(), (language.code, word)


@pytest.mark.slow
def test_what_is_claimed_is_what_was_certified(case: Case, tmp_path: Path) -> None:
    certified(case)
    exact = answered(tmp_path / "exact", exact=True)
    issue(exact.workspace, "req-0001")
    for code, tested, again in (
        ("en", "tested it", "trained the model again"),
        ("es", "puesto a prueba", "vuelto a entrenar el modelo"),
        ("ca", "posat a prova", "tornat a entrenar el model"),
    ):
        empirical = " ".join(write(case.workspace, "partly-done", code).split())
        assert tested in empirical
        assert "bit" not in empirical
        assert again in " ".join(write(exact.workspace, "partly-done", code).split())
    # Hidden is never called forgotten or deleted.
    for language in languages().values():
        hidden = language.guarantee[Guarantee.SUPPRESSED.value].lower()
        assert not re.search("delet|eras|remov|borr|elimin|esborr|forg", hidden), language.code
    exact.workspace.store.close()


@pytest.mark.slow
def test_done_is_said_only_of_what_is_done(case: Case) -> None:
    with pytest.raises(StateError, match="no certificate"):
        write(case.workspace, "done")
    certified(case)
    with pytest.raises(
        StateError, match="not done: model:0123456789a1, model:0123456789a2, everything else"
    ):
        write(case.workspace, "done")
    text = " ".join(write(case.workspace, "partly-done").split())
    assert "backups: this will be gone by 31 December 2026" in text
    assert "copies of models that were given out: we cannot take your data out of this" in text
    assert "we sold them. " in text
    assert text.count("models made before: we are still at work") == 1
    assert "everything else: we are still at work" in text
    assert "the data themselves" not in text
    assert "somebody" not in text
    assert "our own log" not in text


def test_done_is_said_where_nothing_is_left(case: Case) -> None:
    outside = dict.fromkeys(OUTSIDE, Ending(Exit.ERASED, "none", by_word=True))
    case.workspace.store.put_closure("req-0001", outside)
    path = certified(case, "rows:0123456789abcdef", "log")
    text = write(case.workspace, "done")
    assert "we did what you asked" in " ".join(text.split())
    assert path.name in text
    changed = path.read_text().replace('"sig": "', '"sig": "AAAA')
    path.write_text(changed)
    with pytest.raises(StateError, match="does not hold"):
        write(case.workspace, "done")


def test_days_are_the_law_s(case: Case) -> None:
    workspace = case.workspace
    came: dict[str, Any] = {"received_at": datetime(2026, 1, 31, 12, tzinfo=UTC)}

    def write_one(kind: str, language: str = "en", law: str = "gdpr") -> str:
        if (kind, law) not in asked:
            asked[kind, law] = brought(workspace, kind, law, **came)
        made = write(workspace, kind, language, request=asked[kind, law])
        return " ".join(made.split())

    asked = {("received", "gdpr"): brought(workspace, "received", wish=RequestKind.OPT_OUT, **came)}
    first = write_one("received")
    assert "31 January 2026. You asked us not to use your work any more." in first
    # The last day of February is a Saturday: the period ends on Monday.
    assert "by 2 March 2026" in first
    assert "el 2 de marzo de 2026" in write_one("received", "es")
    assert "el 2 de març de 2026" in write_one("received", "ca")
    assert "sets no number of days" in write_one("received", law="pipl")
    assert "by 30 April 2026" in write_one("extension")
    assert "no general right" in write_one("refused", law="pipeda")
    assert "no general right" not in write_one("refused")


def test_what_is_missing_is_told(case: Case, tmp_path: Path) -> None:
    store = case.workspace.store
    lawless = store.add_request(RequestKind.ERASURE, subject=store.key.subject("nobody"))
    with pytest.raises(InputError, match="names no law"):
        letter(case.workspace, lawless.id, "received")
    with pytest.raises(UnknownName, match="did you mean 'refused'"):
        letter(case.workspace, "req-0001", "refuse")
    with pytest.raises(UnknownName, match="language 'xx'"):
        letter(case.workspace, "req-0001", "received", language="xx")
    for kind in ("needs-information", "extension", "refused"):
        with pytest.raises(InputError, match="says why"):
            letter(case.workspace, "req-0001", kind, reason=" ")
    with pytest.raises(InputError, match="takes no reason"):
        letter(case.workspace, "req-0001", "received", reason="x")


def test_a_new_file_is_a_new_language(case: Case) -> None:
    folder = case.workspace.settings.workspace / "notices"
    folder.mkdir()
    ours = Path(__file__).parents[3] / "src/olvido/requests/rights/languages/en.toml"
    pirate = ours.read_text("utf-8").replace("Hello,", "Ahoy,")
    (folder / "pirate.toml").write_text(pirate.replace('gdpr = "You can complain', 'x = "'))
    one = brought(case.workspace, "received")
    text = write(case.workspace, "received", "pirate", request=one)
    assert text.startswith("Ahoy,")
    # A recourse that the language has no words for is the law's own, as its file has it.
    assert "a complaint to the supervisory authority (Article 77)" in " ".join(text.split())
    (folder / "pirate.toml").write_text(pirate.replace('refused = """', 'refuse = """'))
    with pytest.raises(InputError, match=r"pirate\.toml: 'notices' lacks 'refused'"):
        write(case.workspace, "received", "pirate", request=one)
