"""Mail as parts of rows: messages, their headers, texts and attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

from olvido.requests.closure.copies.decoding import decoded
from olvido.requests.closure.copies.escapes import untagged
from olvido.requests.closure.copies.parts import Blob, Inner, Part, Row, Unreadable, text_rows

_FROM = re.compile(rb"^From [^\n]*\d\d:\d\d[^\n]*\r?\n", re.MULTILINE)


def mail_parts(blob: Blob, inner: Inner) -> Iterator[Part | Unreadable]:
    """The parts of a message, or of a box of them."""
    starts = [match.end() for match in _FROM.finditer(blob.raw)]
    ends = [*[match.start() for match in _FROM.finditer(blob.raw)][1:], len(blob.raw)]
    several = len(starts) > 1
    for number, (start, end) in enumerate(zip(starts or [0], ends, strict=True), 1):
        name = f"{blob.where}message {number}" if several else blob.name
        message: Message[Any, Any] = message_from_bytes(blob.raw[start:end])
        yield Part(name, "header", _headers(message), flowing=True)
        for part in message.walk():
            if not part.is_multipart():
                yield from _content(blob, name, part, inner)


def _headers(message: Message[Any, Any]) -> Iterator[Row]:
    for number, (key, value) in enumerate(message.items(), 1):
        try:
            said = str(make_header(decode_header(str(value))))
        except (HeaderParseError, LookupError, ValueError):
            said = str(value)
        yield Row(number, (said,), (key,))


def _content(
    blob: Blob, name: str, part: Message[Any, Any], inner: Inner
) -> Iterator[Part | Unreadable]:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload:
        return
    file = part.get_filename()
    if file is not None or part.get_content_maintype() != "text":
        yield from inner(blob.member(f"{name} {file or part.get_content_type()}".strip(), payload))
        return
    text = None
    try:
        text = payload.decode(part.get_content_charset("utf-8"))
    except (LookupError, ValueError):
        for reading in decoded(payload)[:1]:
            text = reading.text
    if text is None:
        yield Unreadable(f"{blob.where}a text in it has no encoding that is known")
        return
    yield Part(name, "line", text_rows(text), flowing=True)
    if "<" in text:
        yield Part(name, "line of text", text_rows(untagged(text)), flowing=True, again=True)
