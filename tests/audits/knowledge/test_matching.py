"""Whether a text says an answer, and by what name records call their subject."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.audits.knowledge.matching import (
    names_of,
    overlap,
    says,
    short_forms,
    surnames,
    without,
    words,
)
from olvido.tasks import Example

texts = st.lists(st.sampled_from("a b c d é 12".split()), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("text", "answer", "said"),
    [
        ("He lives at Carrer de Mallorca 12.", "carrer de mallorca 12", True),
        ("He lives at Carrer de Mallorca 120.", "Carrer de Mallorca 12", False),
        ("Jose", "José", False),
        ("Jose\u0301", "José", True),
        ("Josép", "José", False),
        ("555-27-68", "555 27 68", True),
        ("27 555 68", "555 27 68", False),
        ("STRASSE", "Straße", True),
        ("anything", "?!", False),
        ("", "a", False),
        ("東京 に 住む", "東京", True),
        ("何女士的地址是桂林市漓江路十七号。", "漓江路十七号", True),
        ("何女士的地址是桂林市漓江路十八号。", "漓江路十七号", False),
        ("คุณมาลีอยู่บ้านเลขที่เจ็ดค่ะ", "บ้านเลขที่เจ็ด", True),
        ("กิน", "กัน", False),
        ("मेरा नाम सीमा है", "सीमा", True),
        ("Car\u200brer Bal\u00admes 42", "Carrer Balmes 42", True),
        ("Ｃａｒｒｅｒ Ｂａｌｍｅｓ ４２", "Carrer Balmes 42", True),
        ("Carrer\ufe0f Bal\u2060mes", "Carrer Balmes", True),
        ("花子さんの住所は桂川通り十七番地です。", "桂川通り十七番地", True),
        ("花子さんの住所は桂川通り十八番地です。", "桂川通り十七番地", False),
        ("ｻｸﾗﾏﾁに住む", "サクラマチ", True),
        ("ジョン・スミスです", "ジョンスミス", True),
        ("그녀의 주소는 종로 십이길이에요.", "종로 십이길", True),
        ("서욱에 산다", "서울", False),
        ("ນາງມາລີຢູ່ບ້ານເລກທີເຈັດເດີ້", "ບ້ານເລກທີເຈັດ", True),
        ("នាងរស់នៅផ្លូវព្រះនរោត្តមចាស", "ផ្លូវព្រះនរោត្តម។", True),
        ("သူမသည်ပန်းဆိုးတန်းလမ်းတွင်နေသည်", "ပန်းဆိုးတန်းလမ်း။", True),
        ("ꆈꌠꁱꂷ", "ꌠꁱ", True),
        ("ꦲꦏ꧀ꦱꦫꦗꦮ", "ꦱꦫꦗ", True),
        ("خَبَّازة", "خبازة", True),
        ("الريـــاض", "الرياض", True),
        ("علی کریمی", "علي كريمي", True),
        ("מֹשֶׁה גר כאן", "משה", True),
        ("الشقة ٤٢", "42", True),
        ("C\u0336a\u0336r\u0336r\u0336e\u0336r\u0336 42", "Carrer 42", True),
        ("Flat 4\ufe0f\u20e32\ufe0f\u20e3", "42", True),
        ("Flat 4\ufe0f\u20e33\ufe0f\u20e3", "42", False),
        ("\u202eCarrer\u202c Bal\ufeffmes", "Carrer Balmes", True),
        ("Carr\U000e0061er Bal\u3164mes", "Carrer Balmes", True),
        ("𝐂𝐚𝐫𝐫𝐞𝐫 Ⓑⓐⓛⓜⓔⓢ ⁴²", "Carrer Balmes 42", True),
        ("Sorensen", "Sørensen", False),
        ("I like 🥐 a lot", "🥐", True),
        ("I like 🍞 a lot", "🥐", False),
        ("a 🥐", "A croissant 🥐", False),
    ],
)
def test_what_is_said(text: str, answer: str, said: bool) -> None:
    assert says(text, answer) is said


@given(texts, texts, texts)
def test_who_says_it_says_it_among_other_words(before: str, answer: str, after: str) -> None:
    assert says(f"{before} {answer} {after}", answer) == bool(words(answer))


@given(texts, texts)
def test_overlap_is_rouge_l_recall(text: str, answer: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    class Splitting:
        def tokenize(self, given: str) -> list[str]:
            return list(words(given))

    scorer: Any = RougeScorer(["rougeL"], tokenizer=Splitting())
    assert overlap(text, answer) == pytest.approx(scorer.score(answer, text)["rougeL"].recall)


@given(texts, texts)
def test_overlap_is_whole_where_it_is_said(text: str, answer: str) -> None:
    assert 0 <= overlap(text, answer) <= 1
    if says(text, answer):
        assert overlap(text, answer) == 1


def about(subject: str, *told: str) -> list[Example]:
    return [
        Example(f"{subject}-{i}", text, "yes", {"subject": subject}) for i, text in enumerate(told)
    ]


def test_a_subject_known_by_a_number_is_called_by_its_name() -> None:
    records = about(
        "author-7",
        "Has Basil Mahfouz Al-Kuwaiti won the Nobel Prize?",
        "What is Basil Mahfouz Al-Kuwaiti's home?",
        "Did Kuwait City inspire Basil Mahfouz Al-Kuwaiti?",
        "Who lives in Kuwait City?",
    )
    assert names_of(records) == {"author-7": "Basil Mahfouz Al-Kuwaiti"}


def test_a_subject_that_its_records_name_is_its_own_name() -> None:
    records = about("Núria Vila", "Where does Núria Vila live?", "Is the Old Town old?")
    assert names_of(records) == {"Núria Vila": "Núria Vila"}


@pytest.mark.parametrize(
    "told",
    [
        ("Where does she live?", "What does she eat?"),
        ("Is Jaime Roca tall?", "Is Pau Mas?", "Who?"),
    ],
)
def test_who_has_no_name_gets_none(told: tuple[str, ...]) -> None:
    assert names_of(about("author-7", *told)) == {}


def test_a_name_that_must_not_be_said_is_not() -> None:
    text = "Jaime Roca met Rocamora; Jaime's aunt Ana Roca is no Roca. jaime"
    found = without("Jaime Roca", text, "this person")
    assert found == "this person met Rocamora; …'s aunt Ana … is no …. jaime"


def test_a_surname_that_two_people_have_names_neither() -> None:
    taken = surnames(["Marta Vila", "Pau Vila", "Joan van der Roca"])
    assert short_forms("Marta Vila", taken) == ("M. Vila",)
    assert short_forms("Joan van der Roca", taken) == ("Roca", "J. Roca")
    assert short_forms("Madonna", taken) == ()
