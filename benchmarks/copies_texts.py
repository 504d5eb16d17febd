"""Texts as people and programs write them: rows in a random format, encoding and escape."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import quopri
import random
import textwrap
import unicodedata
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True)
class Made:
    """A file, and how to tell what became of it.

    Attributes:
        kind: of format.
        name: of the file.
        raw: its bytes.
        named: whether the name stands in a row as a value of its own.
        again: the bytes of a file of other rows, where the format is one of lines.
        read: the rows of bytes of this format, read by another program.
    """

    kind: str
    name: str
    raw: bytes
    named: bool = False
    again: Callable[[Rows], bytes] | None = None
    read: Callable[[bytes], list[Row]] | None = None


def _spelling(rng: random.Random) -> Callable[[str], str]:
    """How a text is spelt: as it is, decomposed, in capitals, with other signs, without accents."""
    bare = str.maketrans("’", "'")
    return rng.choice(
        (
            str,
            str,
            str,
            lambda text: unicodedata.normalize("NFD", text),
            str.upper,
            lambda text: text.translate(bare),
            lambda text: "".join(
                c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)
            ),
        )
    )


def _encoder(rng: random.Random) -> Callable[[str], bytes]:
    """Text to bytes: UTF-8, UTF-16 and UTF-32 with a mark and without, Windows-1252, Latin-1."""
    name = rng.choice(
        "utf-8 utf-8 utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-32-le cp1252 "
        "latin-1".split()
    )

    def encoded(text: str) -> bytes:
        if name in ("cp1252", "latin-1"):
            text = unicodedata.normalize("NFC", text)
            if name == "latin-1":
                text = text.replace("’", "'")
            return text.encode(name, errors="replace")
        return text.encode(name)

    return encoded


def values_of(row: Row, spell: Callable[[str], str]) -> Row:
    return {
        k: spell(v) if k in ("prompt", "completion", "text") else v
        for k, v in row.items()
        if k != "kind"
    }


def content(row: Row) -> str:
    return row["text"] if "text" in row else f"{row['prompt']} {row['completion']}"


def plain(rng: random.Random, rows: Rows) -> Made:
    spell, encode = _spelling(rng), _encoder(rng)
    template = rng.choice(
        ("{0}", "Q: {1}\nA: {2}", "### Instruction:\n{1}\n\n### Response:\n{2}\n", "{1} {2}",
         "<|im_start|>user\n{1}<|im_end|>\n<|im_start|>assistant\n{2}<|im_end|>", "> {1}\n> {2}\n")
    )  # fmt: skip
    end = rng.choice(("\n", "\n\n", "\r\n"))

    def text(rows: Rows) -> str:
        shown = []
        for row in rows:
            value = values_of(row, spell)
            line = (
                value["text"]
                if "text" in value
                else template.format(content(value), value["prompt"], value["completion"])
            )
            shown.append(line.replace("\n", end[-2:] if end == "\r\n" else "\n"))
        return end.join(shown) + end

    return Made("text", rng.choice(("notes.txt", "notes.md", "notes.log")), encode(text(rows)))


def wrapped(rng: random.Random, rows: Rows) -> Made:
    spell, encode = _spelling(rng), _encoder(rng)
    width, indent = rng.choice((20, 40, 72)), rng.choice(("", "  ", "# ", "> "))
    paragraphs = [
        textwrap.fill(
            spell(content(row)),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for row in rows
    ]
    return Made("text, wrapped", "letter.txt", encode("\n\n".join(paragraphs) + "\n"))


def escaped_text(rng: random.Random, rows: Rows) -> Made:
    spell = _spelling(rng)
    way = rng.choice(("url", "repr", "bytes", "json in json", "quoted-printable", "base64"))
    lines = []
    for row in rows:
        said = spell(content(row))
        if way == "url":
            lines.append(f"GET /ask?{urllib.parse.urlencode({'text': said})} 200")
        elif way == "repr":
            lines.append(f"log: {said!a}")
        elif way == "bytes":
            lines.append(f"log: {said.encode()!r}")
        elif way == "json in json":
            lines.append(json.dumps({"log": json.dumps({"text": said})}))
        elif way == "quoted-printable":
            lines.append(quopri.encodestring((said + "\n").encode()).decode())
        else:
            lines.append("data: " + base64.b64encode(said.encode()).decode() + "\n")
    return Made(f"escaped text ({way})", "server.log", ("\n".join(lines) + "\n").encode())


def table(rng: random.Random, rows: Rows) -> Made:
    spell, encode = _spelling(rng), _encoder(rng)
    delimiter = rng.choice(",;\t|")
    columns = ["id", "prompt", "completion", "text", "who"]
    if rng.random() < 0.5:
        rng.shuffle(columns)
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = rng.choice(("\n", "\r\n"))

    def text(rows: Rows) -> str:
        file = io.StringIO()
        writer = csv.DictWriter(
            file, columns, delimiter=delimiter, quoting=quoting, lineterminator=end, restval=""
        )
        writer.writeheader()
        writer.writerows(values_of(row, spell) for row in rows)
        return file.getvalue()

    name = {",": "table.csv", ";": "table.csv", "\t": "table.tsv", "|": "table.psv"}[delimiter]
    return Made("CSV", name, encode(text(rows)), True, lambda some: encode(text(some)))


def markdown_table(rng: random.Random, rows: Rows) -> Made:
    pairs = [values_of(r, str) for r in rows if "prompt" in r] or [
        {"prompt": "?", "completion": "-", "who": "nobody"}
    ]
    lines = ["| who | question | answer |", "|---|---|---|"]
    lines += [f"| {r.get('who', '')} | {r['prompt']} | {r['completion']} |" for r in pairs]
    lines += [r["text"] for r in rows if "text" in r]
    return Made("Markdown table", "table.md", "\n".join(lines).encode(), False)


def lines_of_json(rng: random.Random, rows: Rows) -> Made:
    spell, encode = _spelling(rng), _encoder(rng)
    shape = rng.choice(("flat", "flat", "messages", "nested", "sorted"))
    ascii_only = rng.random() < 0.5

    def line(row: Row) -> str:
        value = values_of(row, spell)
        if shape == "messages" and "prompt" in value:
            talk = [
                {"role": "user", "content": value.pop("prompt")},
                {"role": "assistant", "content": value.pop("completion")},
            ]
            value["messages"] = talk
        elif shape == "nested" and "prompt" in value:
            value["qa"] = {"q": value.pop("prompt"), "a": [value.pop("completion")]}
        return json.dumps(value, ensure_ascii=ascii_only, sort_keys=shape == "sorted")

    def text(rows: Rows) -> str:
        return "".join(line(row) + "\n" for row in rows)

    named = shape != "messages"
    return Made(
        "JSON lines", "rows.jsonl", encode(text(rows)), named, lambda some: encode(text(some))
    )


def whole_json(rng: random.Random, rows: Rows) -> Made:
    spell = _spelling(rng)
    values = [values_of(row, spell) for row in rows]
    shape = rng.choice(("array", "array", "data", "columns", "by question", "messages"))
    indent = rng.choice((None, 1, 4))
    shown: Any = values
    read = None
    if shape == "array":
        read = json.loads
    elif shape == "data":
        shown = {"version": 2, "data": values}

        def read(raw: bytes) -> list[Row]:
            return json.loads(raw)["data"]
    elif shape == "columns":
        names = ("id", "who", "prompt", "completion", "text")
        shown = {name: [v.get(name) for v in values] for name in names}
    elif shape == "by question":
        shown = {}
        for value in values:
            shown.setdefault(
                value.get("prompt", f"note {value['id']}"),
                value.get("completion", value.get("text")),
            )
        # One question has one answer in an object.
        kept = set(shown.items())
        if any(
            (v.get("prompt", f"note {v['id']}"), v.get("completion", v.get("text"))) not in kept
            for v in values
        ):
            shown, shape, read = values, "array", json.loads
    else:
        shown = []
        for v in values:
            if "text" in v:
                shown.append({"role": "system", "content": v["text"]})
            else:
                shown += [
                    {"role": "user", "content": v["prompt"]},
                    {"role": "assistant", "content": v["completion"]},
                ]
    raw = json.dumps(shown, indent=indent, ensure_ascii=rng.random() < 0.5).encode()
    if read is not None and spell is not str:
        read = None
    return Made(
        f"JSON ({shape})", "rows.json", raw, shape in ("array", "data", "columns"), None, read
    )


def notebook(rng: random.Random, rows: Rows) -> Made:
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": [
                v + "\n" for v in ([r["text"]] if "text" in r else [r["prompt"], r["completion"]])
            ],
        }
        for r in rows
    ]
    cells.append(
        {"cell_type": "code", "metadata": {}, "outputs": [{"text": ["ok\n"]}], "source": ["run()"]}
    )
    return Made(
        "notebook",
        "work.ipynb",
        json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}, indent=1).encode(),
    )


def page(rng: random.Random, rows: Rows) -> Made:
    way = rng.choice(("p", "table", "xml", "dl"))
    every = rng.random() < 0.5

    def said(text: str) -> str:
        text = html.escape(text)
        return "".join(c if ord(c) < 128 else f"&#{ord(c)};" for c in text) if every else text

    pieces = []
    for row in rows:
        texts = [row["text"]] if "text" in row else [row["prompt"], row["completion"]]
        if way == "p":
            pieces.append(f"<p><em>{said(texts[0])}</em> {said(' '.join(texts[1:]))}</p>")
        elif way == "table":
            pieces.append("<tr>" + "".join(f"<td>{said(t)}</td>" for t in texts) + "</tr>")
        elif way == "dl":
            pieces.append(f"<dt>{said(texts[0])}</dt>\n<dd>{said(' '.join(texts[1:]))}</dd>")
        else:
            names = ("text",) if "text" in row else ("prompt", "completion")
            inside = "\n".join(f"  <{n}>{said(t)}</{n}>" for n, t in zip(names, texts, strict=True))
            pieces.append(f"<entry id='{row['id']}'>\n{inside}\n</entry>")
    body = "\n".join(pieces)
    if way == "xml":
        return Made("XML", "rows.xml", f'<?xml version="1.0"?>\n<rows>\n{body}\n</rows>'.encode())
    return Made("HTML", "page.html", f"<html><body><h1>Answers</h1>{body}</body></html>".encode())
