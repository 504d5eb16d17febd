"""Pictures as rows: a folder with a table of them, or with a folder for each class."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from olvido.data.columns import LONGEST_VALUE
from olvido.errors import BadRow, InputError
from olvido.extras import extra
from olvido.files import is_plain

TABLES = ("metadata.csv", "metadata.jsonl")
"""Names of a table of pictures, as Hugging Face's image folders have them."""
NAME = "file_name"
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

_Rows = Iterator[tuple[int, Mapping[str, Any] | BadRow]]


def decoded(raw: bytes) -> NDArray[Any]:
    """The pixels of a picture in a file's bytes, upright, [channels, height, width].

    Colours stay as they are in the file: a grey picture has one channel.

    Raises:
        InputError: no picture of these formats, one with several frames, or a huge one.
    """
    with extra("images"):
        from PIL import Image, ImageOps
    from olvido.data.arrays.values import read_array

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            # Of a picture that would unpack to a huge one, Pillow warns.
            warnings.simplefilter("error")
            width, height = picture.size
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError("the picture has several frames: give one of them")
            if width * height * len(picture.getbands()) > LONGEST_VALUE:
                raise InputError(
                    f"the picture has {width} x {height} pixels, more than fit into "
                    f"{LONGEST_VALUE // 2**20} MiB: make it smaller"
                )
            picture.load()
            return read_array(ImageOps.exif_transpose(picture))
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # Decoders raise errors of many kinds for a damaged file.
        known = ", ".join(FORMATS)
        why = f" ({error})" if "BytesIO" not in str(error) else ""
        raise InputError(f"no picture can be read{why}: give {known}") from error


def is_picture_folder(folder: Path) -> bool:
    """Whether a folder has a table of pictures, or folders with pictures."""
    if any((folder / name).is_file() for name in TABLES):
        return True
    return any(True for one in _classes(folder) for _ in _pictures(one))


def read_pictures(folder: Path, read: Callable[[Path], _Rows]) -> _Rows:
    """The rows of a folder of pictures, each with its pixels as `input`.

    Args:
        folder: with `metadata.csv` or `metadata.jsonl`, whose `file_name` is a path in the folder;
            or with a folder for each class, whose name is the label.
        read: reads the table.

    Raises:
        InputError: two tables, or something else than pictures among those of a class.
        BadRow: the table cannot be read.
    """
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(tables) > 1:
        raise InputError(f"{folder} has {' and '.join(TABLES)}: leave one of them there")
    if tables:
        return _in_table(folder, tables[0], read(tables[0]))
    return _in_classes(folder)


def _in_table(folder: Path, table: Path, rows: _Rows) -> _Rows:
    seen: dict[str, int] = {}
    for line, row in rows:
        if isinstance(row, BadRow):
            yield line, row
            continue
        rest = {name: value for name, value in row.items() if name != NAME}
        try:
            path = _inside(folder, row.get(NAME))
            first = seen.setdefault(os.path.normpath(path), line)
            if first != line:
                raise InputError(f"its picture stands in line {first} as well: name each once")
            yield line, {**rest, "input": decoded(path.read_bytes())}
        except (InputError, OSError) as error:
            yield line, BadRow(str(table), line, str(error))


def _inside(folder: Path, name: object) -> Path:
    """The file of that name in a folder, reached by no link.

    Raises:
        InputError: it leads out of the folder, over a link, or to no plain file.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"there is no {NAME!r}, the path of a picture in the folder")
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise InputError(f"its {NAME!r} leads out of the folder: give a path within it")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise InputError(f"its {NAME!r} is a link, or leads over one: copy the picture itself")
    if not is_plain(path):
        raise InputError(f"its {NAME!r} names no file in the folder")
    return path


def _in_classes(folder: Path) -> _Rows:
    number = 0
    for home in _classes(folder):
        for path in sorted(home.iterdir()):
            if path.name.startswith("."):
                continue
            number += 1
            shown = str(path)
            try:
                if path.is_symlink() or not is_plain(path):
                    raise InputError("a link or a folder: copy the picture itself")
                yield number, {"input": decoded(path.read_bytes()), "label": home.name}
            except (InputError, OSError) as error:
                yield number, BadRow(shown, 1, str(error))


def _classes(folder: Path) -> list[Path]:
    """The folders in a folder, without hidden ones.

    Raises:
        InputError: one is a link.
    """
    found = [one for one in sorted(folder.iterdir()) if one.is_dir() and one.name[:1] != "."]
    if linked := [one for one in found if one.is_symlink()]:
        raise InputError(f"{linked[0]} is a link: copy the folder itself, or take it away")
    return found


def _pictures(folder: Path) -> Iterator[Path]:
    return (one for one in folder.iterdir() if one.suffix.lower() in ENDINGS)


def as_pixels(value: Any) -> Any:
    """The pixels of a picture that is given as a file's bytes, or as Hugging Face keeps it in a
    column; other values as they are.

    Raises:
        InputError: see `decoded`.
    """
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:
        value = value["bytes"]
    return decoded(value) if isinstance(value, bytes) else value
