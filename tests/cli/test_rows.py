"""The ledger and the commands that need none read one file alike, or refuse it alike."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olvido.cli.arguments import examples_of
from olvido.data.importing import import_file
from olvido.errors import InputError
from olvido.ledger.digests import canonical_json
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.tasks import Example, examples

Row = dict[str, Any]
TYPES = [("csv", ","), ("csv", ";"), ("csv", "\t"), ("csv", "|"), ("tsv", "\t")]
WAYS = [(ending, between, code) for ending, between in TYPES for code in ("utf-8", "cp1252")]
WAYS += [("csv", ";", "utf-16"), ("csv", ",", "utf-8-sig"), ("parquet", "", "utf-8")]
WAYS += [(e, "", code) for e in ("jsonl", "json") for code in ("utf-8", "utf-16", "cp1252")]


@dataclass
class Ledgers:
    """A new ledger for each file, copied from an empty one."""

    folder: Path
    number: int = 0

    def read(self, path: Path, encoding: str | None) -> tuple[list[Row], Key]:
        """What the ledger gives back of a file."""
        self.number += 1
        home = self.folder / str(self.number)
        shutil.copytree(self.folder / "blank", home)
        with Store.open(home / "ledger.db", key=Key.load(home / "key")) as store:
            added = import_file(store, home / "data", path, name="x", encoding=encoding)
            rows = load_rows(store, home / "data", added.dataset)
            key = store.key
        shutil.rmtree(home)
        return rows, key


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Ledgers:
    folder = tmp_path_factory.mktemp("ledgers")
    blank = folder / "blank"
    blank.mkdir()
    Store.create(blank / "ledger.db", key=Key.create(blank / "key")).close()
    return Ledgers(folder)


def write(path: Path, rows: list[Row], between: str, encoding: str) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif between:
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=between)
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        whole = f"[{','.join(lines)}]" if path.suffix == ".json" else "\n".join(lines) + "\n"
        path.write_text(whole, encoding=encoding)


def content(example: Example, key: Key, *, ids: bool) -> str:
    """All that a record says, with its people under the ledger's key, as canonical text."""
    fields = {**example.fields, "subjects": sorted(_under(key, n) for n in example.subjects)}
    fields = {name: value for name, value in fields.items() if ids or name != "id"}
    said = [example.id if ids else "", example.prompt, example.completion, fields]
    return canonical_json(said).decode()


def _under(key: Key, name: str) -> str:
    return name if name.startswith("hmac-") else str(key.subject(name))


# Letters that Windows-1252 has, so that every way can write them.
words = st.text("abyzÀéñ’€,;|\t\"'\n 09", min_size=1, max_size=9).filter(lambda t: t.strip())
names = st.sampled_from(["Ana Soler", "Núria Puig", "O’Neil, Joan", "Ana Soler; Joan Puig", "4711"])
pairs = st.fixed_dictionaries(
    {"prompt": words, "completion": words, "subject": st.none() | names, "topic": st.none() | words}
)
asked = st.fixed_dictionaries({"question": words, "answer": words, "subjects": names})
texts = st.fixed_dictionaries(
    {
        "text": words,
        "source": st.sampled_from(["letters", "mail"]),
        "consent": st.sampled_from([None, "granted", "unknown"]),
        "collected_at": st.sampled_from([None, "2025-03-31", "2025-03-31T10:00:00"]),
    }
)


@pytest.mark.slow
@given(
    rows=st.one_of(*[st.lists(kind, min_size=1, max_size=4) for kind in (pairs, asked, texts)]),
    way=st.sampled_from(WAYS),
    identified=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_ledger_and_the_library_read_the_same_records(
    ledgers: Ledgers, rows: list[Row], way: tuple[str, str, str], identified: bool
) -> None:
    ending, between, encoding = way
    if identified:
        rows = [{"id": number, **row} for number, row in enumerate(rows, 7)]
    path = ledgers.folder / f"any.{ending}"
    write(path, rows, between, encoding)
    said = None if encoding.startswith("utf-8") else encoding
    stored, key = ledgers.read(path, said)
    given = examples_of(path, encoding=said)
    ledger = [content(example, key, ids=identified) for example in examples(stored)]
    library = [content(example, key, ids=identified) for example in given]
    assert sorted(library) == sorted(ledger)
    # They are what was written: in the order of the file, and no text changed.
    answers = [row.get("completion") or row.get("answer") or row.get("text") for row in rows]
    assert [example.completion for example in given] == answers
    assert len({example.id for example in given}) == len(rows)


ALIKE = [
    '{"id": 7, "text": "x"}\n{"id": "8", "text": "y", "note": null}\n',
    '{"text": "x"}\n{"text": "x"}\n',
    '{"id": null, "text": "x", "subject": 4711}\n',
    '{"text": "x", "subjects": ["Ana Soler", 0], "meta": {"a": [1, null, {"b": 2}]}}\n',
    '{"text": "x", "subjects": [], "n": 123456789012345678901234567890}\n',
    '{"text": "x", "prompt": "a", "completion": "b", "collected_at": "2025-03-31T10:00:00Z"}\n',
    '{"question": "a", "answer": "b", "prompt": null}\n{"question": "Why?", "text": "c"}\n',
]
REFUSED = [
    '{"id": 7, "text": "x"}\n{"id": "7", "text": "y"}\n',
    '{"id": true, "text": "x"}\n',
    '{"id": "a\\nb", "text": "x"}\n',
    '{"id": "", "text": "x"}\n',
    '{"text": "x", "id": {"a": 1}}\n',
    '{"text": "x", "n": NaN}\n',
    '{"text": "x", "n": -Infinity}\n',
    '{"text": ["x"]}\n',
    '{"prompt": {"a": 1}, "completion": "x"}\n',
    '{"prompt": "x", "completion": null}\n',
    '{"prompt": " ", "completion": "x"}\n',
    '{"question": "x", "answer": 5}\n',
    '{"text": 5}\n',
    '{"text": "x", "subject": {"name": "Ana"}}\n',
    '{"text": "x", "subject": "[Ana, Joan]"}\n',
    '{"text": "x", "subject": "Ana", "subjects": "Joan"}\n',
    '{"text": "x", "consent": "perhaps"}\n',
    '{"text": "x", "collected_at": "31/03/2025"}\n',
    '{"text": "x", "extras": 1}\n',
    '{"text": "\\ud800"}\n',
    '{"text": "x", "subject": "\\ud800"}\n',
    '{"note": "x"}\n',
    '["x"]\n',
    "nonsense\n",
    "\n",
    "",
]


@pytest.mark.parametrize("lines", ALIKE)
def test_what_json_holds_is_read_alike(ledgers: Ledgers, tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(lines)
    stored, key = ledgers.read(path, None)
    ids = '"id": 7' in lines
    given = sorted(content(example, key, ids=ids) for example in examples_of(path))
    assert given == sorted(content(example, key, ids=ids) for example in examples(stored))


@pytest.mark.parametrize("lines", REFUSED)
def test_what_is_refused_is_refused_by_both_for_the_same_reason(
    ledgers: Ledgers, tmp_path: Path, lines: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(lines)
    with pytest.raises(InputError) as by_ledger:
        ledgers.read(path, None)
    with pytest.raises(InputError) as by_library:
        examples_of(path)
    if lines.strip():
        assert str(by_library.value) == str(by_ledger.value)
    assert str(path) in str(by_library.value)


MIXED: list[list[Row]] = [
    [
        {"question": None, "answer": None, "text": "x"},
        {"question": "a", "answer": "b", "text": None},
    ],
    [
        {"question": None, "answer": None, "text": "x", "prompt": None, "completion": None},
        {"question": "a", "answer": "b", "text": None, "prompt": None, "completion": None},
        {"question": None, "answer": None, "text": None, "prompt": "c", "completion": "d"},
    ],
    [
        {"text": "x", "subjects": None, "subject": "Ana"},
        {"text": "y", "subjects": ["Ana", "Joan"], "subject": None},
        {"text": "z", "subjects": [], "subject": None},
    ],
    [{"text": "x", "meta": None}, {"text": "y", "meta": {"a": 1, "b": None}}],
    [{"text": "x", "subject": 4711}, {"text": "y", "subject": None}],
    [
        {"text": "x", "consent": None, "source": None, "collected_at": None},
        {"text": "y", "consent": "granted", "source": "mail", "collected_at": "2025-03-31"},
    ],
]


@pytest.mark.parametrize("rows", MIXED)
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_columns_that_a_row_lacks_are_null_and_read_alike(
    ledgers: Ledgers, tmp_path: Path, rows: list[Row], ending: str
) -> None:
    write(tmp_path / f"x.{ending}", rows, "", "utf-8")
    stored, key = ledgers.read(tmp_path / f"x.{ending}", None)
    given = examples_of(tmp_path / f"x.{ending}")
    bare = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert [one.completion for one in given] == [one.completion for one in examples(bare)]
    assert [one.prompt for one in given] == [one.prompt for one in examples(bare)]
    assert [len(one.subjects) for one in given] == [len(one.subjects) for one in examples(bare)]
    read = sorted(content(example, key, ids=False) for example in given)
    assert read == sorted(content(example, key, ids=False) for example in examples(stored))


@pytest.mark.parametrize("between", [";", "\t", "|"])
def test_how_a_file_is_read_is_told_on_the_way(olvido: Any, here: Path, between: str) -> None:
    (here / "x.csv").write_text(f"text{between}subject\nShe sings, loudly.{between}Ana\n")
    olvido("init", "w")
    status, out, _ = olvido("--workspace", "w", "data", "add", "x.csv", "--name", "x")
    assert (status, "between its cells" in out) == (0, True)
    told = json.loads(
        olvido("--workspace", "w", "data", "add", "x.csv", "--name", "x", "--json")[1]
    )
    assert "between its cells" in told["read_as"]
    lines: list[str] = []
    (example,) = examples_of(here / "x.csv", tell=lines.append)
    assert (example.subjects, len(lines)) == (("Ana",), 1)


@pytest.mark.parametrize("command", ["forget", "audit", "compare", "trace", "curvature"])
def test_every_command_takes_the_encoding_of_its_files(
    olvido: Any, here: Path, command: str
) -> None:
    """A file that is read comes as far as the model, which has no weights."""
    (here / "none").mkdir()
    (here / "none" / "config.json").write_text('{"model_type": "llama"}')
    for name in ("x", "y"):
        (here / f"{name}.csv").write_bytes(f"text\nOn viu la Núria {name}?\n".encode("cp1252"))
    files = {
        "forget": ("--forget", "x.csv", "--out", "o"),
        "audit": ("--forget", "x.csv", "--reference", "./none"),
        "compare": (
            "--forget",
            "x.csv",
            "--retain",
            "y.csv",
            "--out",
            "o",
            "--base",
            "./none",
            "--methods",
            "npo",
        ),
        "trace": ("--records", "x.csv", "--question", "Who?"),
        "curvature": ("--records", "x.csv", "--out", "o"),
    }
    status, _, err = olvido(command, "./none", *files[command], "--json")
    assert (status, "--encoding" in err) == (2, True)
    status, _, err = olvido(command, "./none", *files[command], "--encoding", "cp1252", "--json")
    assert (status, "--encoding" in err, "none" in err) == (2, False, True)
