"""Mail as parts of rows: messages, their headers, texts and attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from itertools import pairwise
from typing import Any

from olvido.requests.closure.copies.decoding import decoded, plainly
from olvido.requests.closure.copies.escapes import unfolded, untagged
from olvido.requests.closure.copies.parts import Blob, Inner, Part, Row, Unreadable, text_rows

_FROM = re.compile(rb"^From [^\n]*\n", re.MULTILINE)
_TIME = re.compile(rb"\d\d:\d\d")


def mail_parts(blob: Blob, inner: Inner) -> Iterator[Part | Unreadable]:
    """The parts of a message, or of a box of them."""
    lines = [match for match in _FROM.finditer(blob.raw) if _TIME.search(match[0])]
    # What stands before the first of these lines is read as well.
    starts = [line.start() for line in lines]
    if not starts or blob.raw[: starts[0]].strip():
        starts.insert(0, 0)
    for number, (start, end) in enumerate(pairwise([*starts, len(blob.raw)]), 1):
        name = f"{blob.where}message {number}" if len(starts) > 1 else blob.name
        # The line that a box has before a message stays in its headers.
        message: Message[Any, Any] = message_from_bytes(blob.raw[start:end])
        for part in message.walk():
            yield Part(name, "header", _headers(part), flowing=True)
            for text in (part.preamble, part.epilogue):
                if text:
                    yield Part(name, "line", text_rows(text), flowing=True)
            if not part.is_multipart():
                yield from _content(blob, name, part, inner)


def _headers(message: Message[Any, Any]) -> Iterator[Row]:
    before = [("From", message.get_unixfrom())] if message.get_unixfrom() else []
    for number, (key, value) in enumerate([*before, *message.items()], 1):
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
    said = []
    with suppress(LookupError, ValueError):
        said.append(payload.decode(part.get_content_charset("utf-8")))
    if not said or plainly(payload) is None:
        # Many mails are in another encoding than they say.
        said += [reading.text for reading in decoded(payload) if reading.text not in said]
    if not said:
        yield Unreadable(f"{blob.where}a text in it has no encoding that is known")
        return
    for number, text in enumerate(said):
        yield Part(name, "line", text_rows(text), flowing=True, again=number > 0)
        for plain in (untagged(text) if "<" in text else text, unfolded(text)):
            if plain != text:
                yield Part(name, "line of text", text_rows(plain), flowing=True, again=True)
