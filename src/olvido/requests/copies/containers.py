"""Read containers as parts of rows: archives, compressed files, office documents."""

from __future__ import annotations

import bz2
import gzip
import html
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from olvido.requests.copies.decoding import decoded, readable
from olvido.requests.copies.escapes import untagged
from olvido.requests.copies.parts import (
    BROKEN,
    Blob,
    FilePart,
    Inner,
    Reader,
    Row,
    UnreadablePart,
    text_rows,
)

_MEMBERS = 10_000
_PIECE, _FED = 1 << 20, 1 << 16
_PHONETIC = re.compile(r"<rPh\b[^<>]*>")
_ATTRIBUTE = re.compile(r'="([^"<>]*)"')
_TYPE = re.compile(r'\bt="(\w+)"')


def zip_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The members of a zip archive, or the content of an office document."""
    with zipfile.ZipFile(io.BytesIO(blob.raw)) as archive:
        members = archive.infolist()
        if len(members) > _MEMBERS:
            raise UnreadablePart(f"{len(members):,} members: more than are looked into")
        names = {member.filename for member in members}
        if any(name.endswith("data.pkl") for name in names):
            yield UnreadablePart(f"{blob.where}a tensor file of torch: never unpickled")
        for said in (archive.comment, *(member.comment for member in members)):
            for reading in decoded(said) if said else ():
                yield FilePart(
                    f"{blob.where}comment", "line", text_rows(reading.text), flowing=True
                )
        if "xl/workbook.xml" in names:
            yield from _workbook(blob, archive, names)
        for member in members:
            blob.budget.check()
            if member.is_dir():
                continue
            name = member.filename
            if member.flag_bits & 1:
                yield UnreadablePart(f"{blob.where}{name}: encrypted")
                continue
            if name.startswith("xl/") and name.endswith(".xml") and "xl/workbook.xml" in names:
                continue
            try:
                with archive.open(member) as file:
                    raw = _limited(file, blob)
                if "xl/workbook.xml" in names or _is_office(names):
                    yield from _office_member(blob, name, raw, inner)
                else:
                    yield from inner(blob.member(name, raw))
            except UnreadablePart as error:
                yield UnreadablePart(f"{blob.where}{name}: {error}")
                blob.budget.check()
            except BROKEN as error:
                yield UnreadablePart(f"{blob.where}{name}: is damaged ({type(error).__name__})")


def _is_office(names: set[str]) -> bool:
    return "[Content_Types].xml" in names or {"content.xml", "mimetype"} <= names


def _office_member(
    blob: Blob, name: str, raw: bytes, inner: Inner
) -> Iterator[FilePart | UnreadablePart]:
    if not name.endswith((".xml", ".rels")):
        yield from inner(blob.member(name, raw))
        return
    blob.budget.take(len(raw))
    for reading in decoded(raw)[:1]:
        text = html.unescape(untagged(reading.text))
        yield FilePart(f"{blob.where}{name}", "paragraph", text_rows(text), flowing=True)
        # Attributes say who wrote and who changed it.
        said = html.unescape("\n".join(_ATTRIBUTE.findall(reading.text)))
        yield FilePart(blob.name, "attribute", text_rows(said), flowing=True, aside=True)


def _workbook(
    blob: Blob, archive: zipfile.ZipFile, names: set[str]
) -> Iterator[FilePart | UnreadablePart]:
    """The sheets of a workbook, whose cells point into a list of texts."""

    def text_of(name: str) -> str:
        with archive.open(name) as file:
            return _limited(file, blob).decode("utf-8", errors="replace")

    shared = []
    if "xl/sharedStrings.xml" in names:
        shared = [_said(inside) for _, inside in _elements(text_of("xl/sharedStrings.xml"), "si")]
    used: set[int] = set()
    for name in sorted(n for n in names if n.startswith("xl/") and n.endswith(".xml")):
        where, text = f"{blob.where}{name}", text_of(name)
        if name.startswith("xl/worksheets/"):
            rows = _sheet_rows(text, shared, used)
            yield FilePart(f"{blob.where}{name.rpartition('/')[2]}", "row", rows)
            # Headers, footers, hints, and formulas; cells are read already.
            head, _, rest = text.partition("<sheetData")
            formulas = (formula for _, formula in _elements(rest, "f"))
            beside = "\n".join([head, rest.rpartition("</sheetData>")[2], *formulas])
        elif name != "xl/sharedStrings.xml":
            yield FilePart(where, "paragraph", text_rows(_said(text)), flowing=True)
            beside = html.unescape("\n".join(_ATTRIBUTE.findall(text)))
        else:
            continue
        yield FilePart(where, "line", text_rows(beside), flowing=True, aside=True)
    # Texts of deleted cells stay in the list.
    spare = (Row(n, (said,)) for n, said in enumerate(shared, 1) if n - 1 not in used)
    yield FilePart(f"{blob.where}unused texts", "text", spare, aside=True)


def _sheet_rows(text: str, shared: list[str], used: set[int]) -> Iterator[Row]:
    for number, (_, row) in enumerate(_elements(text, "row"), 1):
        cells = []
        for about, cell in _elements(row, "c"):
            kind = _TYPE.search(about)
            value = next((v for name in ("v", "is") for _, v in _elements(cell, name)), None)
            if value is None:
                continue
            said = _said(value)
            if kind is not None and kind[1] == "s":
                index = int(said) if said.strip().isdigit() else -1
                said = shared[index] if 0 <= index < len(shared) else ""
                used.add(index)
            cells.append(said)
        if cells:
            yield Row(number, tuple(cells))


def _elements(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Attributes and content of each element of a name; without an end, up to the next element.

    The time grows with the text alone, whatever stands in it.
    """
    begin, about = -1, ""
    for tag in re.finditer(rf"<(/?)(?:\w+:)?{name}\b([^<>]*)>", text):
        if begin >= 0:
            yield about, text[begin : tag.start()]
        begin, about = (-1 if tag[1] else tag.end()), tag[2]
        if not tag[1] and about.endswith("/"):
            yield about, ""
            begin = -1
    if begin >= 0:
        yield about, text[begin:]


def _said(markup: str) -> str:
    first, *rest = _PHONETIC.split(markup)
    # Phonetic hints are no text of the cell; without an end tag, all of it is kept.
    kept = [first, *(piece.partition("</rPh>")[2] or piece for piece in rest)]
    return html.unescape(untagged("".join(kept))).strip()


def tar_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The members of a tar archive; links in it are named."""
    count = 0
    with tarfile.open(fileobj=io.BytesIO(blob.raw), mode="r:") as archive:
        for member in archive:
            count += 1
            if count > _MEMBERS:
                raise UnreadablePart(f"more than {_MEMBERS:,} members: the rest is not looked into")
            blob.budget.check()
            if member.isdir():
                continue
            if not member.isfile():
                yield UnreadablePart(f"{blob.where}{member.name}: a link or a device in an archive")
                continue
            try:
                file = archive.extractfile(member)
                assert file is not None
                with file:
                    yield from inner(blob.member(member.name, _limited(file, blob)))
            except UnreadablePart as error:
                yield UnreadablePart(f"{blob.where}{member.name}: {error}")
                blob.budget.check()
            except BROKEN as error:
                yield UnreadablePart(f"{blob.where}{member.name}: damaged ({type(error).__name__})")


def gzip_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The content of a gzip file."""
    with gzip.GzipFile(fileobj=io.BytesIO(blob.raw)) as file:
        yield from inner(_unpacked(blob, file, ".gz"))


def bz2_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The content of a bzip2 file, and the bytes that follow it."""
    yield from _streams(blob, inner, bz2.BZ2Decompressor, b"BZh", ".bz2")


def xz_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The content of an xz file, and the bytes that follow it."""
    yield from _streams(blob, inner, lzma.LZMADecompressor, b"\xfd7zXZ", ".xz")


def zlib_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The content of a bare zlib stream, and the bytes that follow it."""
    stream, at, size, pieces = zlib.decompressobj(), 0, 0, list[bytes]()
    while not stream.eof:
        if not (fed := blob.raw[at : at + _FED]):
            raise EOFError("it ends too early")
        at += len(fed)
        pieces.append(stream.decompress(fed))
        size = _counted(blob, size, pieces[-1])
    yield from inner(blob.member("unpacked", b"".join(pieces), ".txt"))
    yield from _following(blob, inner, blob.raw[at - len(stream.unused_data) :])


def _streams(
    blob: Blob, inner: Inner, begun: Callable[[], Any], start: bytes, ending: str
) -> Iterator[FilePart | UnreadablePart]:
    """The content of consecutive streams, and the bytes that follow; zeros may lie between."""
    raw, at, size, pieces = blob.raw, 0, 0, list[bytes]()
    while raw.startswith(start, at):
        stream = begun()
        while not stream.eof:
            fed = raw[at : at + _PIECE] if stream.needs_input else b""
            if stream.needs_input and not fed:
                raise EOFError("it ends too early")
            at += len(fed)
            pieces.append(stream.decompress(fed, _PIECE))
            size = _counted(blob, size, pieces[-1])
        at -= len(stream.unused_data)
        while (padding := raw[at : at + _PIECE]) and not padding.strip(b"\0"):
            at += len(padding)
        at += len(padding) - len(padding.lstrip(b"\0"))
    yield from inner(_named(blob, b"".join(pieces), ending))
    yield from _following(blob, inner, raw[at:])


def _following(blob: Blob, inner: Inner, rest: bytes) -> Iterator[FilePart | UnreadablePart]:
    if rest.strip(b"\0"):
        yield from inner(blob.member("what follows", rest, ""))


def zstd_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The content of a Zstandard file."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(blob.raw), "zstd") as file:
        yield from inner(_unpacked(blob, file, ".zst"))


def pickle_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The readable text of a pickle, which is never loaded: it could run anything."""
    yield UnreadablePart(
        f"{blob.where}a pickle: never loaded, only text that stands in clear was looked at"
    )
    yield FilePart(blob.name, "run of text", text_rows(readable(blob.raw)), flowing=True)


def _unpacked(blob: Blob, file: Any, ending: str) -> Blob:
    return _named(blob, _limited(file, blob), ending)


def _named(blob: Blob, raw: bytes, ending: str) -> Blob:
    inside = blob.suffix.removesuffix(ending) or ".txt"
    # The name of a file shows its content: notes.jsonl.gz is lines of JSON.
    made = blob.member("", raw, inside)
    return Blob(blob.name or "unpacked", made.raw, made.suffix, made.depth, made.budget)


def _limited(file: IO[bytes], blob: Blob) -> bytes:
    """The unpacked bytes of a file, within the budget."""
    pieces: list[bytes] = []
    size = 0
    while piece := file.read(_PIECE):
        pieces.append(piece)
        size = _counted(blob, size, piece)
    return b"".join(pieces)


def _counted(blob: Blob, size: int, piece: bytes) -> int:
    """Bytes unpacked so far. Raises Unreadable where they are too many."""
    size += len(piece)
    if size > blob.budget.left:
        blob.budget.take(size)
    return size


READERS: tuple[tuple[bytes, Reader], ...] = (
    (b"PK\x03\x04", zip_parts),
    (b"PK\x05\x06", zip_parts),
    (b"\x1f\x8b", gzip_parts),
    (b"BZh", bz2_parts),
    (b"\xfd7zXZ", xz_parts),
    (b"\x28\xb5\x2f\xfd", zstd_parts),
)
