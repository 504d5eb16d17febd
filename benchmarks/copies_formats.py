"""Files that programs write in their own formats, pack and send: rows in a random one of them."""

from __future__ import annotations

import bz2
import gzip
import html
import io
import lzma
import pickle
import random
import sqlite3
import tarfile
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from copies_texts import (
    Made,
    Row,
    Rows,
    content,
    escaped_text,
    lines_of_json,
    markdown_table,
    notebook,
    page,
    plain,
    table,
    values_of,
    whole_json,
    wrapped,
)


def columns(rng: random.Random, rows: Rows) -> Made:
    values = [values_of(row, str) for row in rows]
    names = ["id", "prompt", "completion", "text", "who"]
    if rng.random() < 0.5:
        rng.shuffle(names)
    made = pa.table({n: pa.array([v.get(n) for v in values], pa.string()) for n in names})
    file = io.BytesIO()
    kind = rng.choice(("Parquet", "Parquet", "Arrow", "Feather"))

    def read(raw: bytes) -> list[Row]:
        rows = pq.read_table(pa.BufferReader(raw)).to_pylist()
        return [{k: v for k, v in row.items() if v is not None} for row in rows]

    if kind == "Parquet":
        pq.write_table(
            made,
            file,
            compression=rng.choice(("snappy", "zstd", "none")),
            row_group_size=rng.choice((2, 1000)),
        )
        return Made(kind, "rows.parquet", file.getvalue(), True, None, read)
    if kind == "Arrow":
        with pa.ipc.new_stream(file, made.schema) as writer:
            writer.write_table(made)
    else:
        feather.write_feather(made, file)
    return Made(kind, f"rows.{kind.lower()}", file.getvalue(), True)


def database(rng: random.Random, rows: Rows) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.db"
        with closing(sqlite3.connect(path)) as made:
            if rng.random() < 0.3:
                made.execute("PRAGMA journal_mode = WAL")
            made.execute(
                "CREATE TABLE people (id TEXT, who TEXT, prompt TEXT, completion TEXT, text TEXT)"
            )
            made.execute("CREATE TABLE settings (name TEXT, value BLOB)")
            made.execute("INSERT INTO settings VALUES ('version', x'0102')")
            made.executemany(
                "INSERT INTO people VALUES (:id, :who, :prompt, :completion, :text)",
                [
                    {"prompt": None, "completion": None, "text": None, "who": None} | row
                    for row in rows
                ],
            )
            made.commit()
        raw = path.read_bytes()

    def read(raw: bytes) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "people.db"
            path.write_bytes(raw)
            with closing(sqlite3.connect(path)) as database:
                database.row_factory = sqlite3.Row
                found = [dict(row) for row in database.execute("SELECT * FROM people")]
        return [{k: v for k, v in row.items() if v is not None} for row in found]

    return Made("SQLite", "people.db", raw, True, None, read)


def arrays(rng: random.Random, rows: Rows) -> Made:
    file = io.BytesIO()
    said = np.array([content(row) for row in rows])
    if rng.random() < 0.5:
        np.save(file, said)
        return Made("NumPy", "texts.npy", file.getvalue())
    np.savez(file, texts=said, lengths=np.arange(0))
    return Made("NumPy", "texts.npz", file.getvalue())


def context(rng: random.Random, rows: Rows) -> Made:
    kind = rng.choice(("docx", "xlsx", "odt"))
    file = io.BytesIO()
    escape = html.escape
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "docx":

            def runs(text: str) -> str:
                # Editors cut a sentence anywhere, also in the middle of a word.
                cut = rng.randrange(len(text))
                return "".join(
                    f'<w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">{escape(t)}</w:t></w:r>'
                    for t in (text[:cut], text[cut:])
                )

            body = "".join(
                f"<w:p>{runs(t)}</w:p>"
                for r in rows
                for t in ([r["text"]] if "text" in r else [r["prompt"], r["completion"]])
            )
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr(
                "word/document.xml", f'<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>'
            )
        elif kind == "xlsx":
            texts = sorted(
                {
                    t
                    for r in rows
                    for t in (r.get("who"), r.get("prompt"), r.get("completion"), r.get("text"))
                    if t
                }
            )
            index = {t: n for n, t in enumerate(texts)}
            shared = "".join(f"<si><t>{escape(t)}</t></si>" for t in texts)
            body = "".join(
                f'<row r="{n}">'
                + "".join(
                    f'<c t="s"><v>{index[r[c]]}</v></c>'
                    for c in ("who", "prompt", "completion", "text")
                    if r.get(c)
                )
                + "</row>"
                for n, r in enumerate(rows, 1)
            )
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr("xl/workbook.xml", "<workbook/>")
            archive.writestr("xl/sharedStrings.xml", f"<sst>{shared}</sst>")
            archive.writestr(
                "xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{body}</sheetData></worksheet>"
            )
        else:
            body = "".join(f"<text:p>{escape(content(r))}</text:p>" for r in rows)
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
            archive.writestr(
                "content.xml",
                f"<office:document-content><office:text>{body}</office:text></office:document-content>",
            )
    return Made(kind, f"letter.{kind}", file.getvalue(), kind == "xlsx")


def mail(rng: random.Random, rows: Rows) -> Made:
    from email.message import EmailMessage

    box = rng.random() < 0.4
    pieces = []
    groups = [[row] for row in rows] if box else [list(rows)]
    for group in groups:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = (
            "a@example.org",
            "b@example.org",
            "Answers",
        )
        text = "\n\n".join(content(row) for row in group) + "\n"
        message.set_content(text, cte=rng.choice(("quoted-printable", "base64", "8bit")))
        if rng.random() < 0.3:
            message.add_alternative(
                f"<html><body>{html.escape(text)}</body></html>", subtype="html"
            )
        pieces.append(bytes(message))
    if box:
        mark = b"From a@example.org Thu Jan  1 10:00:00 2026\n"
        return Made("mbox", "all.mbox", b"\n".join(mark + piece for piece in pieces))
    return Made("mail", "one.eml", pieces[0])


def packed(rng: random.Random, rows: Rows) -> Made:
    inside = rng.choice((plain, table, lines_of_json, columns, page, context))(rng, rows)
    way = rng.choice(("zip", "gz", "bz2", "xz", "zst", "tar.gz", "zip in zip"))
    file = io.BytesIO()
    if way.startswith("zip"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"data/{inside.name}", inside.raw)
        if way == "zip in zip":
            outer = io.BytesIO()
            with zipfile.ZipFile(outer, "w") as archive:
                archive.writestr("inner.zip", file.getvalue())
            file = outer
        return Made(f"packed ({way})", "all.zip", file.getvalue(), inside.named)
    if way == "tar.gz":
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            info = tarfile.TarInfo(f"data/{inside.name}")
            info.size = len(inside.raw)
            archive.addfile(info, io.BytesIO(inside.raw))
        return Made("packed (tar.gz)", "all.tar.gz", file.getvalue(), inside.named)
    raw = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": lambda b: pa.compress(b, "zstd", asbytes=True),
    }[way](inside.raw)
    return Made(f"packed ({way})", f"{inside.name}.{way}", raw, inside.named)


def closed(rng: random.Random, rows: Rows) -> Made:
    """What docs say is not looked into: nothing is promised, but that it is said."""
    texts = [content(row) for row in rows]
    raw, name = rng.choice(
        (
            (pickle.dumps(texts), "rows.pkl"),
            (b"%PDF-1.4\n" + lzma.compress("\n".join(texts).encode()), "rows.pdf"),
            (bytes(b ^ 0x5A for b in rng.randbytes(5000)), "rows.enc"),
            (b"7z\xbc\xaf'\x1c" + lzma.compress("\n".join(texts).encode()), "rows.7z"),
        )
    )
    return Made("not looked into", name, raw)


FORMATS = (
    plain, plain, wrapped, escaped_text, table, table, table, markdown_table, lines_of_json,
    lines_of_json, lines_of_json, whole_json, whole_json, notebook, page, page, columns, columns,
    database, database, arrays, context, context, mail, packed, packed, closed,
)  # fmt: skip
