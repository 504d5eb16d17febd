"""Encoding of text files: UTF-8 or the caller's, never guessed.

A wrong guess silently misspells names, and a misspelt person is not found when they ask to be
forgotten: half the bytes of Windows-1252 are other letters in Windows-1250.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from olvido.errors import InputError, UnknownName

_COMMON = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "iso8859-15"),
    *("cp1250", "cp1251", "cp1253", "cp1254", "cp437", "cp850", "mac-roman", "koi8-r"),
    *("shift-jis", "gb18030", "big5", "euc-kr"),
)
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as 'CSV UTF-8'"),
    (b"\x1f\x8b", "packed by gzip: unpack it"),
    (b"PAR1", "Parquet: give it a name that ends with .parquet"),
)
_FIRST = 4096


def require_file(path: Path) -> None:
    """Refuse a file that is not regular before it is opened: reading a pipe could block for
    ever."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device: copy what it gives into a file, add that")


def encoding_of(path: Path, said: str | None) -> str:
    """The encoding to read a text file in, by Python's name.

    A file of valid UTF-8 is read as UTF-8 in any case: of several files of one command, `said` is
    about the others.

    Args:
        path: the file.
        said: the caller's encoding; None for none.

    Raises:
        InputError: the file is in another encoding and none is named, the named one contradicts its
            first bytes, it mixes encodings, or it is no text.
        UnknownName: no such encoding.
    """
    if said is not None:
        _require_known(said)
    with path.open("rb") as file:
        head = file.read(_FIRST)
    for first, what in _NO_TEXT:
        if head.startswith(first):
            raise InputError(f"{path} is no text but {what}")
    mark = next((name for first, name in _MARKS if head.startswith(first)), None)
    if mark == "utf-8-sig":
        return mark
    if mark is not None:
        name = mark.upper()
        if said is None:
            raise InputError(f"{path} is {name} and not UTF-8: {_say(mark)}")
        if not codecs.lookup(said).name.startswith(mark):
            raise InputError(
                f"{path} is {name} by its first bytes, and --encoding says {said}: {_say(mark)}"
            )
        return mark
    if said is not None:
        return _checked(path, said)
    # A few belong to rows that will be refused separately.
    even, odd = head[::2].count(b"\0"), head[1::2].count(b"\0")
    if even + odd > len(head) // 8:
        wide = f"UTF-16 without a mark: {_say('utf-16-le' if odd > even else 'utf-16-be')}"
        reason = wide if max(even, odd) > len(head) // 8 > min(even, odd) else "holds no text"
        raise InputError(f"{path} has zero bytes, as no text has: {reason}")
    return "utf-8"


def _say(encoding: str) -> str:
    return f"say --encoding {encoding}, or save it as UTF-8"


def _require_known(name: str) -> None:
    try:
        # Python also calls binary codecs encodings; these cannot do this.
        b"a\0\0\0".decode(name)
        "a".encode(name)
    except (LookupError, UnicodeError, ValueError):
        raise UnknownName("encoding", name, _COMMON) from None


def _checked(path: Path, said: str) -> str:
    """UTF-8 where a file is valid UTF-8, otherwise the named encoding."""
    one_byte = len(bytes(range(256)).decode(said, errors="replace")) == 256
    utf8 = other = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.isascii() and b"\0" not in line:
                continue
            try:
                line.decode("utf-8")
                valid = b"\0" not in line
            except UnicodeDecodeError:
                valid = False
            utf8, other = (utf8 or number, other) if valid else (utf8, other or number)
            if utf8 and other and one_byte:
                raise InputError(
                    f"{path} mixes encodings: line {utf8} is UTF-8 and line {other} is not. Save "
                    "each part as UTF-8 before they are put together"
                )
    return said if other else "utf-8"


@contextmanager
def opened(path: Path, encoding: str, newline: str | None) -> Iterator[TextIO]:
    """Open a text file; bytes outside of its encoding become lone surrogates.

    No row may contain these. Raises InputError where decoding cannot continue after such bytes.
    """
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline=newline) as file:
            yield file
    except UnicodeError as error:
        raise InputError(
            f"{path} is not {encoding}: say with --encoding what it is, or save it as UTF-8"
        ) from error


def not_encodable(error: UnicodeEncodeError) -> str:
    """Why a text that was read cannot be written: undecodable bytes, or a lone surrogate."""
    if "\udc80" <= error.object[error.start] <= "\udcff":
        return (
            "invalid UTF-8: save the file as UTF-8, or say how it is encoded with --encoding "
            "('cp1252' for what Excel calls CSV in western Europe)"
        )
    return (
        "invalid UTF-8: half a character (a lone surrogate such as \\ud800), which was cut or "
        "decoded wrongly where it was written"
    )
