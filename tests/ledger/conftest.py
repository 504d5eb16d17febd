"""A ledger with its key and data folder, made new for each test, and files in every format."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.ledger.identity import Key
from olvido.ledger.store import Store


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new ledger, made once: to copy it is faster than to make it."""
    folder = tmp_path_factory.mktemp("blank")
    Store.create(folder / "ledger.db", key=Key.create(folder / "olvido.key")).close()
    return folder


@pytest.fixture
def store(blank: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(blank, tmp_path, dirs_exist_ok=True)
    with Store.open(tmp_path / "ledger.db", key=Key.load(tmp_path / "olvido.key")) as opened:
        yield opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def state(store: Store, data: Path) -> Callable[[], tuple[object, ...]]:
    """Everything that an import could leave behind."""

    def look() -> tuple[object, ...]:
        files = sorted(path.name for path in data.iterdir()) if data.exists() else []
        return store.datasets(), store.events(), files

    return look


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix in {".jsonl", ".ndjson"}:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        datasets.Dataset.from_list(rows).save_to_disk(path)
    return path


@pytest.fixture
def write() -> Callable[[Path, list[dict[str, Any]]], Path]:
    """Writes rows in the format that a path's ending tells; without one, as a saved dataset."""
    return write_rows
