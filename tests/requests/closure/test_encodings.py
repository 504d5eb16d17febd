"""Copies are found in every encoding that docs/reference/copies.md names, alone or in letters."""

from __future__ import annotations

import base64
import gzip
import json
import quopri
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.requests.closure.test_copies import search

from olvido.requests.copies.decoding import decoded
from olvido.requests.copies.escapes import unescaped

SAID = {
    "Russian": "Анна Солер держит пчёл на крыше дома в старом городе уже двадцать лет.",
    "Greek": "Η Άννα Σολέρ κρατά μέλισσες στη στέγη του σπιτιού της εδώ και είκοσι χρόνια.",
    "Polish": "Anna Soler trzyma pszczoły na dachu domu w mieście już dwadzieścia lat, ćwiczy.",
    "Turkish": "Ana Soler şehirde yirmi yıldır çatıda arı besliyor, sabah onları görmeye gider.",
    "Catalan": "L’Anna Solé té abelles al terrat de l’església de Gràcia des de fa vint anys.",
    "Hebrew": "אנה סולר מגדלת דבורים על גג ביתה בעיר העתיקה כבר עשרים שנה ועוד.",
    "Arabic": "آنا سولير تربي النحل على سطح منزلها في المدينة القديمة منذ عشرين عاما",
    "Thai": "แอนนาเลี้ยงผึ้งบนหลังคาบ้านมานานยี่สิบปีแล้วและไปดูทุกเช้า",
    "Chinese": "安娜在屋顶上养蜜蜂已经有二十年了她每天早上都去看它们。",
    "Japanese": "アンナは屋上でミツバチを二十年飼っていて毎朝見に行きます。",
    "Korean": "애나 솔레르는 이십 년 동안 오래된 도시의 옥상에서 꿀벌을 키우고 있습니다.",
}
OLD = {
    "Russian": "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic",
    "Greek": "cp1253 iso8859_7",
    "Polish": "cp1250 iso8859_2 cp852",
    "Turkish": "cp1254 iso8859_9",
    "Catalan": "cp1252",
    "Hebrew": "cp1255",
    "Arabic": "cp1256",
    "Thai": "cp874",
    "Chinese": "gb18030 gbk hz",
    "Japanese": "shift_jis euc_jp iso2022_jp",
    "Korean": "euc_kr cp949",
}
RUSSIAN, POLISH, JAPANESE = SAID["Russian"], SAID["Polish"], SAID["Japanese"]
UNICODE = "utf-8 utf-16 utf-16-le utf-16-be utf-32 utf-32-le"
MISREAD = "cp1252 latin-1 cp1250 cp1251 cp850 mac_roman koi8_r cp1253"


def _in_files(raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain.txt", raw
    yield "packed.gz", gzip.compress(raw)
    yield "letters.txt", base64.b64encode(raw)
    yield "lines.txt", base64.encodebytes(raw)
    yield "digits.json", b'[{"a": "%s"}]' % raw.hex().encode()
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (?)", (raw,))
        database.commit()
        yield "cell.db", database.serialize()


@pytest.mark.parametrize("language", SAID)
def test_a_copy_is_found_in_every_encoding_of_its_script_and_in_letters(
    language: str, tmp_path: Path
) -> None:
    by = search({"id": "a", "text": SAID[language]}, name="Ana Soler")
    missed = []
    for encoding in f"{UNICODE} {OLD[language]}".split():
        for name, content in _in_files(SAID[language].encode(encoding, "replace")):
            path = tmp_path / f"{encoding}-{name}"
            path.write_bytes(content)
            look = by.look(path)
            if look.records != ("a",):
                missed.append(path.name)
    assert missed == []


@pytest.mark.parametrize("language", SAID)
@pytest.mark.parametrize("times", [1, 2])
def test_what_was_misread_is_read_as_it_was(language: str, times: int) -> None:
    for encoding in MISREAD.split():
        text = SAID[language]
        for _ in range(times):
            # What an encoding leaves out, programs pass through.
            text = "".join(
                bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode()
            )
        if times == 2 and encoding in ("cp850", "latin-1"):
            continue
        assert unescaped(text) == SAID[language], encoding


WORDS = (
    *(
        "уже улитка радуга уборка рада Её её ещё Ёж ёж её",
        "Ні, Її Ії Єва ґанок їжа Зі мною",
        "«École» É–CAFÉ",
    ),
    *(
        "Ã Å ÅÄÖ âme Âge ÂME île À É Ñ Ü ß",
        "┌──┐ │é│ √2 ≈ 3",
        "Ωδή άλφα Ώρα ΰ",
        "ăn ầm ấm ực",
        "İyi ğ ş",
    ),
)


@pytest.mark.parametrize("text", [*SAID.values(), *WORDS])
def test_what_was_not_misread_stays(text: str) -> None:
    for said in (text, text.upper(), text.lower(), text.title()):
        assert unescaped(said) == said
        assert unescaped("".join(f"&#{ord(c)};" for c in said)) == said


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_letters_whose_bytes_are_cut_are_read(cut: int, tmp_path: Path) -> None:
    by = search({"id": "a", "text": RUSSIAN}, name="Ana Soler")
    raw = f"Утром ясно. {RUSSIAN} И снова".encode()[cut:-cut]
    (tmp_path / "a.txt").write_bytes(base64.b64encode(raw))
    assert by.look(tmp_path / "a.txt").records == ("a",)


def test_colours_between_words_are_no_words(tmp_path: Path) -> None:
    said = SAID["Catalan"]
    coloured = " ".join(f"\x1b[1;31m{word}\x1b[0m" for word in said.split())
    (tmp_path / "a.log").write_text(coloured)
    by = search({"id": "a", "text": said}, name="Ana Soler")
    assert by.look(tmp_path / "a.log").records == ("a",)


@pytest.mark.parametrize("way", ["quoted-printable", "8bit"])
def test_a_mail_that_names_another_encoding_is_read(way: str, tmp_path: Path) -> None:
    raw = RUSSIAN.encode("cp1251")
    body = quopri.encodestring(raw) if way == "quoted-printable" else raw
    head = f"From: a@b.c\nMIME-Version: 1.0\nContent-Transfer-Encoding: {way}\n"
    head += "Content-Type: text/plain; charset=iso-8859-1\n\n"
    (tmp_path / "a.eml").write_bytes(head.encode() + body)
    by = search({"id": "a", "text": RUSSIAN}, name="Ana Soler")
    assert by.look(tmp_path / "a.eml").records == ("a",)


def test_few_digests_pass_for_texts() -> None:
    draw = random.Random(7)
    assert sum(bool(decoded(draw.randbytes(32))) for _ in range(1000)) < 60


PLAIN = "The order was shipped to the customer without delay and was paid in full.\n" * 20
ADDRESS = "https://shop.example/item?" + "&".join(f"utm_{i}=abcdefgh" for i in range(20))
BESIDE = {
    "a number's sign": (RUSSIAN, f"№;text\n{PLAIN}{RUSSIAN}\n", "cp1251"),
    "a dash": (POLISH, f"Orders – 2026\n{PLAIN}{POLISH}\n", "cp1250"),
    "a copyright": (RUSSIAN, f"© 2026\n{PLAIN}{RUSSIAN}\n", "koi8_u"),
    "a star": (JAPANESE, f"※ 2026\n{PLAIN}{JAPANESE}\n", "shift_jis"),
    "an address": (RUSSIAN, f"1;{ADDRESS};{RUSSIAN}\n", "cp1251"),
    "a style": (RUSSIAN, f"<style>{'a{color:red}' * 30}</style><p>{RUSSIAN}</p>", "cp1251"),
    "signs within": (SAID["Catalan"], SAID["Catalan"], "mac_roman"),
    "French before": (RUSSIAN, None, "cp1251"),
    "UTF-8 before": (RUSSIAN, None, "cp1251"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_an_encoding_is_told_whatever_stands_beside_it(name: str, tmp_path: Path) -> None:
    said, text, encoding = BESIDE[name]
    raw = f"{said}\n".encode(encoding) if text is None else text.encode(encoding, "replace")
    if name == "UTF-8 before":
        raw = "Сегодня утром рынок открылся в восемь часов, как обычно.\n".encode() * 20 + raw
    if name == "French before":
        raw = "À Paris, là où l’été dure, l’élève dort déjà.\n".encode("cp1252") * 400 + raw
    (tmp_path / "a.txt").write_bytes(raw)
    look = search({"id": "a", "text": said}, name="Ana Soler").look(tmp_path / "a.txt")
    assert look.records == ("a",)


BEGUN = {
    "small": "begin:vcard\r\n",
    "mixed": "Begin:VCard\r\n",
    "marked": "\ufeffBEGIN:VCARD\r\n",
    "calendar": "begin:vcalendar\nbegin:vevent\n",
    "no blank": "dn:cn=x\n",
    "base64": "DN:: Y249eA==\n",
    "marked directory": "\ufeffdn: cn=x\n",
    "indented": "  BEGIN:VCARD\n",
    "old": "BEGIN:VCARD\r",
}


@pytest.mark.parametrize("name", BEGUN)
def test_broken_lines_are_joined_however_what_has_them_begins(name: str, tmp_path: Path) -> None:
    end = "\r" if name == "old" else "\r\n"
    for language in ("Catalan", "Russian"):
        raw = f"NOTE:{SAID[language]}".encode()
        by = search({"id": "a", "text": SAID[language]}, name="Ana Soler")
        for size in (30, 41, 42):
            lines = f"{end} ".encode().join(raw[i : i + size] for i in range(0, len(raw), size))
            (tmp_path / "a.txt").write_bytes(BEGUN[name].encode() + lines + end.encode())
            assert by.look(tmp_path / "a.txt").records == ("a",), (language, size)


@pytest.mark.parametrize("charset", ["us-ascii", "x-unknown", "utf-16", "iso-8859-1"])
def test_a_mail_in_utf8_is_read_whatever_it_is_said_to_be(charset: str, tmp_path: Path) -> None:
    head = f"From: a@b.c\nMIME-Version: 1.0\nContent-Type: text/plain; charset={charset}\n\n"
    (tmp_path / "a.eml").write_bytes(f"{head}{RUSSIAN}\n".encode())
    look = search({"id": "a", "text": RUSSIAN}, name="Ana Soler").look(tmp_path / "a.eml")
    assert (look.records, look.unread) == (("a",), None)


def _folded(said: str, size: int, before: str, end: str = "\r\n") -> str:
    return before + f"{end} ".join(said[i : i + size] for i in range(0, len(said), size)) + end


@pytest.mark.parametrize("size", [30, 60])
def test_lines_that_are_broken_inside_words_are_joined(size: int, tmp_path: Path) -> None:
    said = SAID["Catalan"]
    card = _folded("NOTE:" + said, size, "BEGIN:VCARD\r\n") + "END:VCARD\r\n"
    part = f"Content-Type: text/calendar; charset=utf-8\nMIME-Version: 1.0\nFrom: a@b.c\n\n{card}"
    files = {
        "a.vcf": card.encode(),
        "directory.ldif": _folded("description: " + said, size, "dn: cn=a\n", "\n").encode(),
        "invitation.eml": part.encode(),
        "cards.json": json.dumps([{"card": card}]).encode(),
    }
    by = search({"id": "a", "text": said}, name="Ana Soler")
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE cards (data)")
        database.execute("INSERT INTO cards VALUES (?)", (card.encode(),))
        database.commit()
        files["cards.db"] = database.serialize()
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
        assert by.look(tmp_path / name).records == ("a",), name


@pytest.mark.parametrize("language", ["Russian", "Greek", "Thai", "Hebrew", "Chinese"])
def test_lines_that_are_broken_inside_letters_are_joined(language: str, tmp_path: Path) -> None:
    by = search({"id": "a", "text": SAID[language]}, name="Ana Soler")
    raw = b"NOTE:" + SAID[language].encode()
    for size in (40, 41, 42, 43):
        lines = b"\r\n ".join(raw[i : i + size] for i in range(0, len(raw), size))
        card = b"BEGIN:VCARD\r\n" + lines + b"\r\nEND:VCARD\r\n"
        head = b"From: a@b.c\nMIME-Version: 1.0\nContent-Type: text/vcard; charset=utf-8\n\n"
        for name, content in (("a.vcf", card), ("a.eml", head + card)):
            (tmp_path / name).write_bytes(content)
            assert by.look(tmp_path / name).records == ("a",), (name, size)


@pytest.mark.parametrize(
    "written", ["{:03o}", "x{:02x}"], ids=["octal digits", "hexadecimal digits"]
)
def test_bytes_in_escapes_are_read(written: str) -> None:
    for text in SAID.values():
        assert unescaped("".join("\\" + written.format(byte) for byte in text.encode())) == text


def test_a_document_that_nobody_reads_is_named(tmp_path: Path) -> None:
    said = "".join(f"\\u{ord(c)}?" for c in SAID["Russian"])
    (tmp_path / "a.rtf").write_text("{\\rtf1 " + said + "}")
    by = search({"id": "a", "text": SAID["Russian"]}, name="Ana Soler")
    assert by.look(tmp_path / "a.rtf").unread is not None
