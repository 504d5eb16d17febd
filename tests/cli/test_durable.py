"""The ledger speaks of no file that a power cut could still take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

Olvido = Callable[..., tuple[int, str, str]]
SPOKEN_OF = {
    "data": "SELECT file FROM datasets",
    "models": "SELECT path FROM models",
    "": "SELECT report FROM requests WHERE report IS NOT NULL",
}
"""Where the ledger names files, by the folder that they lie in."""


class Watch:
    """What the ledger named at each of its commits, and what of it was not on the disk yet."""

    def __init__(self, disk: Any) -> None:
        self.disk = disk
        self.place = Path()
        self.named: set[str] = set()
        self.early: list[str] = []

    def look(self, connection: Connection) -> None:
        if not self.place.exists() or "datasets" not in self._tables(connection):
            return
        lost = set(self.disk.lost(self.place))
        for folder, query in SPOKEN_OF.items():
            for (name,) in connection.exec_driver_sql(query).fetchall():
                path = self.place / folder / name
                told = str(path.relative_to(self.place))
                new = told not in self.named
                self.named.add(told)
                if new and path.exists():
                    inside = [one for one in lost if one == told or one.startswith(f"{told}/")]
                    self.early += inside
                elif new:
                    self.early.append(f"{told} is not there at all")

    def _tables(self, connection: Connection) -> set[str]:
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in found.fetchall()}


@pytest.fixture
def watch(disk: Any) -> Iterator[Watch]:
    made = Watch(disk)
    event.listen(Engine, "commit", made.look)
    yield made
    event.remove(Engine, "commit", made.look)


@pytest.mark.slow
def test_data_models_and_reports_are_on_the_disk_before_the_ledger_names_them(
    olvido: Olvido,
    watch: Watch,
    here: Path,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    city_of_twelve: Any,
) -> None:
    assert olvido("init", here / "workspace")[0] == 0
    monkeypatch.chdir(here / "workspace")
    watch.place = here / "workspace"
    added = (
        "data",
        "add",
        files / "residents.jsonl",
        "--name",
        "residents",
        "--subject",
        "subject",
    )
    assert olvido(*added)[0] == 0
    learned = ("learn", "residents", "--model", files / "small", "--epochs", 1, "--json")
    assert olvido(*learned)[0] == 0
    assert olvido("request", "new", "--subject", city_of_twelve.data_subject.name)[0] == 0
    answer = ("request", "run", "req-0001", "--method", "retrain", "--references", 1, "--json")
    status, out, err = olvido(*answer, "--level", "quick")
    assert status in (0, 1), err
    kinds = {name.split("/")[0] for name in watch.named}
    assert kinds == {"data", "models", "reports"} if status == 0 else kinds >= {"data", "models"}
    assert watch.early == []
    assert json.loads(out)


def test_a_file_that_is_named_too_early_is_seen(watch: Watch, tmp_path: Path, disk: Any) -> None:
    """The watch itself, on a ledger that names a model whose weights were only written."""
    import sqlalchemy

    watch.place = tmp_path
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "model.safetensors").write_bytes(b"x")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        for table, column in (("datasets", "file"), ("models", "path"), ("requests", "report")):
            connection.exec_driver_sql(f"CREATE TABLE {table} ({column} TEXT)")
        connection.exec_driver_sql("INSERT INTO models VALUES ('one'), ('two')")
    engine.dispose()
    assert "models/one/model.safetensors" in watch.early
    assert "models/two is not there at all" in watch.early
