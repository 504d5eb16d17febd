"""No letter is read as another one in silence: a name spelt wrongly is never found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from olvido.data import read_rows
from olvido.data.encodings import not_encodable
from olvido.errors import BadRow, InputError, UnknownName

CSV = "text,subject\nOn viu la Núria?,Núria Puig\nAl carrer d’Aragó,Àngel\n"
JSONL = '{"text": "On viu?", "subject": "Núria Puig"}\n{"text": "Aragó", "subject": "Àngel"}\n'
RUSSIAN = "text,subject\nОна живёт здесь,Анна Каренина\n"
BARE = ["utf-16-le", "utf-16-be"]


def rows_of(path: Path, content: bytes, encoding: str | None = None) -> list[object]:
    path.write_bytes(content)
    return [row for _, row in read_rows(path, encoding=encoding)]


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("x.csv", CSV, "cp1252"),
        ("x.csv", CSV, "utf-16"),
        ("x.csv", CSV, "utf-32"),
        *[("x.csv", CSV, bare) for bare in BARE],
        ("x.csv", CSV, "cp1250"),
        ("x.csv", RUSSIAN, "cp1251"),
        ("x.csv", RUSSIAN, "koi8-r"),
        ("x.tsv", CSV.replace(",", "\t"), "cp1252"),
        ("x.jsonl", JSONL, "utf-16"),
        ("x.jsonl", JSONL, "cp1252"),
        ("x.json", "[" + JSONL.strip().replace("\n", ",\n") + "]", "utf-16-le"),
        ("x.csv", "text,subject\n她住在这里,张伟\n", "gb18030"),
        ("x.csv", "text,subject\n彼女はここに住む,山田\n", "shift-jis"),
    ],
)
def test_what_is_not_utf8_is_read_when_it_is_said_and_else_told(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    text = text.replace("À", "A") if encoding == "cp1250" else text
    path, plain = tmp_path / name, rows_of(tmp_path / name, text.encode())
    for ends in ("\n", "\r\n"):
        content = text.replace("\n", ends).encode(encoding)
        assert rows_of(path, content, encoding) == plain
        # Nobody said it: refused as a whole, or each row that is not plain ASCII.
        if encoding.startswith("utf"):
            with pytest.raises(InputError, match=f"--encoding {encoding}"):
                rows_of(path, content)
        else:
            for row in rows_of(path, content):
                with pytest.raises(UnicodeEncodeError) as caught:
                    json.dumps(row, ensure_ascii=False).encode()
                assert "--encoding" in not_encodable(caught.value)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "latin-1", "gb18030", "utf-8"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_valid_utf8_is_never_read_as_something_else(
    tmp_path: Path, encoding: str, mark: bytes
) -> None:
    plain = rows_of(tmp_path / "x.csv", CSV.encode())
    assert rows_of(tmp_path / "x.csv", mark + CSV.encode(), encoding) == plain


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1251"])
def test_a_file_put_together_from_two_encodings_is_refused(tmp_path: Path, encoding: str) -> None:
    lines = CSV.splitlines(keepends=True)
    for first, second in (("utf-8", "cp1252"), ("cp1252", "utf-8")):
        content = (lines[0] + lines[1]).encode(first) + lines[2].encode(second)
        with pytest.raises(InputError, match=r"mixes encodings: line [23] .* line [23]"):
            rows_of(tmp_path / "x.csv", content, encoding)


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        (CSV.encode("utf-16"), None, "--encoding utf-16"),
        (CSV.encode("utf-16-le"), None, "--encoding utf-16-le"),
        (CSV.encode("utf-16-be"), None, "--encoding utf-16-be"),
        (CSV.encode("utf-32"), None, "--encoding utf-32"),
        (CSV.encode("utf-16"), "cp1252", "first bytes"),
        (b"PK\x03\x04rest", None, "CSV UTF-8"),
        (b"PK\x03\x04rest", "cp1252", "CSV UTF-8"),
        (b"\x1f\x8b\x08rest", None, "unpack"),
        (b"PAR1rest", None, ".parquet"),
        (b"text\n" + bytes(40), None, "no text"),
        (CSV.encode("utf-16")[:-1], "utf-16", "not utf-16"),
    ],
)
def test_what_is_no_utf8_text_is_refused_by_what_it_is(
    tmp_path: Path, content: bytes, encoding: str | None, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path / "x.csv", content, encoding)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["cp1225", "", "hex", "rot13", "a\0b", "windows"])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownName, match="utf-8"):
        rows_of(tmp_path / "x.csv", CSV.encode(), name)


@pytest.mark.parametrize(
    "name", ["x.xlsx", "x.XLS", "x.ods", "x.jsonl.gz", "x.zip", "x.txt", "x.feather", "x.pkl"]
)
def test_a_format_that_is_not_read_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=r"files are not read\. \w+"):
        read_rows(tmp_path / name)


LISTS = [
    '[{"a": 1}, {"a": [2]}]',
    ' \n[\n{"a": 1}\n,\n{"a": [2]}\n]\n',
    '[{"a": 1},{"a": [2]}]',
    '{"a": 1}\n{"a": [2]}\n',
]


@pytest.mark.parametrize("content", LISTS)
def test_a_list_of_objects_and_objects_in_lines_are_read(tmp_path: Path, content: str) -> None:
    assert rows_of(tmp_path / "x.json", content.encode()) == [{"a": 1}, {"a": [2]}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"a": 1},\n{"a": NaN}]', 2),
        ('[{"a": 1},\n{"a": 2}', 2),
        ('[{"a": 1},\n{"a": 2},\n]', 3),
        ('[{"a": 1}\n{"a": 2}]', 1),
        ('[{"a": 1}] []', 1),
        ('[{"a": 1},\n{"a": 1, "a": 2}]', 2),
        ('{\n"a": 1}', 1),
        ("[" * 100_000, 1),
    ],
)
def test_a_list_that_breaks_off_is_refused_whole(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(BadRow) as caught:
        rows_of(tmp_path / "x.json", content.encode())
    assert caught.value.line == line


def test_in_a_list_what_is_no_object_is_one_bad_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "x.json", b'[{"a": 1},\n7,\n{"a": 2}]')
    assert isinstance(rows[1], BadRow)
    assert (rows[1].line, rows[0], rows[2]) == (2, {"a": 1}, {"a": 2})
    assert rows_of(tmp_path / "x.json", b"[]") == rows_of(tmp_path / "x.json", b" \n") == []


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", " \n"])
@pytest.mark.parametrize(
    ("line", "column"),
    [('{"prompt":"a","completion":"b"', 31), ('{"prompt":', 11), ('{"a": 1', 8), ('{"a" 1}', 6)],
)
def test_what_breaks_off_is_told_where_it_does(
    tmp_path: Path, line: str, column: int, ending: str
) -> None:
    (found,) = rows_of(tmp_path / "x.jsonl", (line + ending).encode())
    assert isinstance(found, BadRow)
    assert found.reason.endswith(f"at column {column}")
