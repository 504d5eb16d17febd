"""Letters are plain, honest, and tell everybody where they may turn, in every language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import Exit, Guarantee, RequestKind, RequestStatus
from olvido.requests.calendar import terms
from olvido.requests.certificate import issue
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.laws import find_law, laws
from olvido.requests.notices import KINDS, languages, letter
from olvido.workspace import Workspace

from .conftest import PERSON, Case, answered

REASON = {
    "en": "We need to know which account is yours.",
    "es": "Necesitamos saber qué cuenta es la suya.",
    "ca": "Necessitem saber quin compte és el vostre.",
}
CLOSED: dict[str, tuple[Exit | None, str | None]] = {
    "rows:0123456789abcdef": (Exit.ERASED, "3 rows removed from their file"),
    "backups": (Exit.AWAITING_EXPIRY, "2026-12-31"),
    "export:/home/somebody/model": (Exit.CANNOT, "we sold them."),
    "log": (Exit.CANNOT, "holds no words and no name"),
    "model:0123456789a1": (None, None),
    "model:0123456789a2": (None, None),
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
    if all(exit for exit, _ in found.values()):
        case.workspace.store.advance_request("req-0001", RequestStatus.CLOSED)
    return issue(case.workspace, "req-0001")


def write(workspace: Workspace, kind: str, language: str = "en", **more: Any) -> str:
    if kind in ("needs-information", "extension", "refused"):
        more.setdefault("reason", REASON.get(language, "Because."))
    return letter(workspace, "req-0001", kind, language=language, **more).text


def all_letters(workspace: Workspace) -> Iterator[tuple[str, str, str, str]]:
    for law in laws():
        for code in languages():
            for kind in KINDS:
                if kind == "done" or (kind == "extension" and law.extension is None):
                    continue
                yield law.name, code, kind, write(workspace, kind, code, law=law.name)


def test_every_letter_can_be_written_is_whole_and_can_be_read(case: Case) -> None:
    certified(case)
    seen = 0
    for law, code, kind, text in all_letters(case.workspace):
        seen += 1
        words = languages()[code]
        assert "req-0001" in text, (law, code, kind)
        assert words.recourse[law].split()[-1] in text, (law, code, kind)
        assert not re.search(r"[{}%]|None|undefined", text), (law, code, kind)
        assert PERSON not in text
        assert max(map(len, text.splitlines())) <= 76
        assert code != "en" or grade(text) <= 8.0, (law, kind, grade(text), text)
    assert seen > 3 * 10 * 4


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
    outside = dict.fromkeys(OUTSIDE, (Exit.ERASED, "stated: none"))
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
    store = case.workspace.store
    received = datetime(2026, 1, 31, 12, tzinfo=UTC)
    law = find_law("GDPR", workspace=case.workspace.settings.workspace)
    request = store.add_request(
        RequestKind.OPT_OUT,
        subject=store.key.subject(PERSON),
        received_at=received,
        law=law.name,
        detail=terms(law, case.workspace.settings),
    )

    def write_one(kind: str, language: str = "en", **more: Any) -> str:
        made = letter(case.workspace, request.id, kind, language=language, **more)
        return " ".join(made.text.split())

    first = write_one("received")
    assert "31 January 2026. You asked us not to use your work any more." in first
    # The last day of February is a Saturday: the period ends on Monday.
    assert "by 2 March 2026" in first
    assert "el 2 de marzo de 2026" in write_one("received", "es")
    assert "el 2 de març de 2026" in write_one("received", "ca")
    assert "sets no number of days" in write_one("received", law="pipl")
    told = {"reason": "Many models learned from them.", "written": date(2026, 2, 20)}
    assert "by 30 April 2026" in write_one("extension", **told)
    with pytest.raises(InputError, match="would have had to be told by 2026-03-02"):
        write_one("extension", **told | {"written": date(2026, 3, 3)})
    with pytest.raises(InputError, match="knows no extension"):
        write_one("extension", law="lgpd", **told)
    assert "no general right" in write_one("refused", law="pipeda", reason="It is not yours.")
    assert "no general right" not in write_one("refused", reason="It is not yours.")


def test_what_is_missing_is_told(case: Case, tmp_path: Path) -> None:
    store = case.workspace.store
    lawless = store.add_request(RequestKind.ERASURE, subject=store.key.subject(PERSON))
    with pytest.raises(InputError, match="names no law"):
        letter(case.workspace, lawless.id, "received")
    with pytest.raises(UnknownName, match="did you mean 'refused'"):
        letter(case.workspace, "req-0001", "refuse")
    with pytest.raises(UnknownName, match="language 'xx'"):
        letter(case.workspace, "req-0001", "received", language="xx")
    for kind in ("needs-information", "extension", "refused"):
        with pytest.raises(InputError, match="needs a reason"):
            letter(case.workspace, "req-0001", kind, reason=" ")
    with pytest.raises(InputError, match="takes no reason"):
        letter(case.workspace, "req-0001", "received", reason="x")


def test_a_new_file_is_a_new_language(case: Case) -> None:
    folder = case.workspace.settings.workspace / "notices"
    folder.mkdir()
    ours = Path(__file__).parents[3] / "src/olvido/requests/notices/languages/en.toml"
    pirate = ours.read_text("utf-8").replace("Hello,", "Ahoy,")
    (folder / "pirate.toml").write_text(pirate.replace('gdpr = "You can complain', 'x = "'))
    text = write(case.workspace, "received", "pirate")
    assert text.startswith("Ahoy,")
    # A recourse that the language has no words for is the law's own, as its file has it.
    assert "a complaint to the supervisory authority (Article 77)" in " ".join(text.split())
    (folder / "pirate.toml").write_text(pirate.replace("refused = ", "refuse = "))
    with pytest.raises(InputError, match=r"pirate\.toml: 'notices' lacks 'refused'"):
        write(case.workspace, "received", "pirate")
