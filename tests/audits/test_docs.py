"""`docs/` tells every method, audit, learner and task as the classes have it, and no other."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from olvido.audits import AUDITS
from olvido.learners import LEARNERS
from olvido.methods import METHODS
from olvido.tasks import TASKS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_stands_in_the_docs_as_the_classes_say_it(tables: ModuleType) -> None:
    """Where this fails, `python docs/tables.py` writes them anew."""
    shown: dict[str, int] = {}
    for path in DOCS.rglob("*.md"):
        page = path.read_text("utf-8")
        assert tables.written(page) == page, path
        for found in tables.BLOCK.finditer(page):
            shown[found[2]] = shown.get(found[2], 0) + 1
    assert shown == dict.fromkeys(tables.TABLES, 1)


def test_a_table_has_a_row_for_each_and_a_cell_for_each_column(tables: ModuleType) -> None:
    for name, family in (
        ("methods", METHODS),
        ("audits", AUDITS),
        ("learners", LEARNERS),
        ("tasks", TASKS),
    ):
        header, *rows = tables.TABLES[name]()
        assert [row[0] for row in rows] == [f"`{one}`" for one in family.built_in]
        assert {len(row) for row in rows} == {len(header)}
    assert tables.markdown([("a",), ("b|c",)]) == "| a |\n| --- |\n| b\\|c |\n"
