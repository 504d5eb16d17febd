"""Folders and columns of pictures: their pixels come back, and a bad one changes nothing."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.data.arrays.pictures import decoded
from olvido.data.importing import import_file
from olvido.data.parsing import Fields
from olvido.errors import BadRow, InputError
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.tasks import examples

Image = pytest.importorskip("PIL.Image")

State = Callable[[], tuple[object, ...]]
DRAWN = np.random.default_rng(0).integers(0, 256, size=(4, 6, 5, 3), dtype=np.uint8)


def picture(path: Path, pixels: Any = DRAWN[0]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def table(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "subject", "id"), *rows])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures in a table."""
    home = tmp_path / "pictures"
    picture(home / "img" / "ana.png", DRAWN[0])
    picture(home / "jordi.png", DRAWN[1])
    return table(home, [("img/ana.png", "cat", "Ana", "a"), ("jordi.png", "dog", "Jordi", "b")])


def test_pixels_come_back(store: Store, data: Path, folder: Path) -> None:
    made = import_file(store, data, folder, name="pets")
    found = examples(load_rows(store, data, made.dataset))
    assert [one.completion for one in found] == ["cat", "dog"]
    for one, pixels in zip(found, DRAWN, strict=False):
        assert one.fields["input"].dtype == np.uint8
        assert np.array_equal(one.fields["input"], pixels.transpose(2, 0, 1))
        # A file's name may be somebody's.
        assert "file_name" not in one.fields
        assert not any("ana.png" in str(value) for value in one.fields.values())


def test_a_folder_for_each_class(store: Store, data: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png")):
        picture(tmp_path / "p" / name, DRAWN[number])
    (tmp_path / "p" / "cat" / ".hidden").write_text("of the system")
    made = import_file(store, data, tmp_path / "p", name="pets")
    rows = load_rows(store, data, made.dataset)
    assert sorted(row["label"] for row in rows) == ["cat", "cat", "dog"]


def test_a_column_of_pictures(store: Store, data: Path, tmp_path: Path) -> None:
    raw = [picture(tmp_path / f"{n}.png", DRAWN[n]).read_bytes() for n in range(2)]
    column = pa.array([{"bytes": one, "path": "ana.png"} for one in raw])
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": column, "label": [0, 1], "id": ["a", "b"]}), path)
    made = import_file(store, data, path, name="x", fields=Fields(input="image"))
    found = examples(load_rows(store, data, made.dataset))
    assert [one.completion for one in found] == ["0", "1"]
    assert np.array_equal(found[1].fields["input"], DRAWN[1].transpose(2, 0, 1))


def _bomb() -> bytes:
    """A PNG of a few bytes that says it has 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        whole = kind + body
        return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _frames() -> bytes:
    made = io.BytesIO()
    first, *rest = (Image.fromarray(one) for one in DRAWN[:3])
    first.save(made, "WEBP", save_all=True, append_images=rest, lossless=True)
    return made.getvalue()


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"", "no picture can be read"),
        (b"GIF89a nothing", "no picture can be read"),
        (_bomb(), "picture"),
        (_frames(), "several frames"),
    ],
)
def test_what_is_no_picture_is_refused(raw: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match):
        decoded(raw)


def test_a_torn_picture_is_refused(tmp_path: Path) -> None:
    raw = picture(tmp_path / "x.png").read_bytes()
    with pytest.raises(InputError, match="no picture can be read"):
        decoded(raw[:-40])


def test_a_picture_is_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(DRAWN[0])
    about = turned.getexif()
    about[0x0112] = 6
    turned.save(tmp_path / "x.png", exif=about)
    found = decoded((tmp_path / "x.png").read_bytes())
    assert np.array_equal(found, np.rot90(DRAWN[0], 3).transpose(2, 0, 1))


BAD: list[tuple[str, str]] = [
    ("../outside.png", "leads out of the folder"),
    ("/etc/passwd", "leads out of the folder"),
    ("img/../jordi.png", "leads out of the folder"),
    ("linked.png", "is a link"),
    ("linked/outside.png", "is a link"),
    ("missing.png", "names no file"),
    ("img", "names no file"),
    ("", "there is no 'file_name'"),
    ("./jordi.png", "stands in line 3 as well"),
    ("torn.png", "no picture can be read"),
    ("grey.png", r"\[1, 6, 5\], and those before it an array of bytes, \[3, 6, 5\]"),
]


@pytest.mark.parametrize(("name", "match"), BAD)
def test_a_bad_line_of_the_table_changes_nothing(
    store: Store, data: Path, folder: Path, state: State, name: str, match: str
) -> None:
    picture(folder.parent / "outside.png")
    (folder / "linked.png").symlink_to(folder.parent / "outside.png")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    picture(folder / "grey.png", DRAWN[0][..., 0])
    with (folder / "metadata.csv").open("a", newline="") as file:
        csv.writer(file).writerow([name, "cat", "Ana", "c"])
    before = state()
    with pytest.raises(BadRow, match=match) as raised:
        import_file(store, data, folder, name="pets")
    assert raised.value.line == 4
    assert state() == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda home: (home / "metadata.jsonl").write_text("{}"), "leave one of them there"),
        (lambda home: (home / "metadata.csv").unlink(), "save_to_disk"),
    ],
)
def test_a_folder_that_is_no_folder_of_pictures_is_refused(
    store: Store, data: Path, tmp_path: Path, state: State, change: Any, match: str
) -> None:
    home = tmp_path / "p"
    picture(home / "a.png")
    change(table(home, [("a.png", "cat", "Ana", "a")]))
    before = state()
    with pytest.raises(InputError, match=match):
        import_file(store, data, home, name="pets")
    assert state() == before


def test_something_else_among_the_pictures_of_a_class_is_refused(
    store: Store, data: Path, tmp_path: Path, state: State
) -> None:
    picture(tmp_path / "p" / "cat" / "1.png")
    (tmp_path / "p" / "cat" / "notes.txt").write_text("Ana's cat")
    before = state()
    with pytest.raises(BadRow, match="no picture can be read"):
        import_file(store, data, tmp_path / "p", name="pets")
    assert state() == before


def test_a_class_behind_a_link_is_refused(store: Store, data: Path, tmp_path: Path) -> None:
    """It would be left out in silence."""
    for name in ("cat", "dog"):
        picture(tmp_path / "all" / name / "one.png")
    picture(tmp_path / "elsewhere" / "two.png")
    (tmp_path / "all" / "fox").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="fox is a link"):
        import_file(store, data, tmp_path / "all", name="pictures")
    assert store.datasets() == ()
