"""Whoever writes a file has a kind in the one table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import olvido
from olvido.artifact_shapes import GENERATOR
from olvido.artifacts import APART, KINDS
from olvido.requests.rights.language import find_language, languages
from olvido.schemas.certificate import REST

SOURCE = Path(olvido.__file__).parent
WRITERS = {
    *("write_document", "write_html", "new_file", "begun_file", "new_folder", "unfinished_in"),
    "LockedFile",
    "savez",
    *("save_file", "save_model", "save_pretrained", "write_bytes", "write_text", "ParquetWriter"),
}


def writes(module: Path) -> Iterator[str]:
    """Calls in a module by which a file comes to be."""
    tree = ast.parse(module.read_text())
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "olvido.files"
        for name in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if (
            name in WRITERS
            or (isinstance(called, ast.Name) and name in imported & {"write"})
            or (
                name in ("save", "dump")
                and getattr(called, "value", None) is not None
                and getattr(called.value, "id", "") in ("torch", "np", "joblib", "pickle")
            )
            or (
                name in ("open", "fdopen")
                and any(len(m) < 4 and set(m) & set("wxa") for m in modes)
            )
        ):
            yield name


@pytest.mark.slow
def test_every_module_that_writes_a_file_says_what_may_be_in_it() -> None:
    named = {writer for kind in KINDS.values() for writer in kind.writers} | set(APART)
    found = set()
    for path in SOURCE.rglob("*.py"):
        if any(writes(path)):
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            found.add(".".join(parts).removesuffix(".__init__"))
    assert found - named == set(), "give what it writes a kind in olvido.artifacts"
    assert {n for n in named if n not in found} <= {"olvido.cli.models.models"}


def test_a_writer_without_a_kind_is_noticed(tmp_path: Path) -> None:
    for line in (
        "from olvido.files import write\nwrite(path, b'')",
        "path.write_text('x')",
        "open(path, 'w').close()",
        "import torch\ntorch.save(model, path)",
        "model.save_pretrained(path)",
    ):
        (tmp_path / "module.py").write_text(line)
        assert list(writes(tmp_path / "module.py")), line
    (tmp_path / "module.py").write_text("sys.stdout.write('x')\nopen(path, 'rb').read()")
    assert not list(writes(tmp_path / "module.py"))


def test_every_page_that_is_written_to_a_file_can_be_known_again() -> None:
    pages = [p for p in SOURCE.rglob("*.html.j2") if "service" not in p.parts]
    whole = [p for p in pages if "<!doctype" in p.read_text().lower()]
    assert len(whole) >= 4
    assert [p.name for p in whole if GENERATOR not in p.read_text()] == []


@pytest.mark.parametrize("language", sorted(languages()))
def test_whatever_a_closure_finds_has_its_words_in_every_language(language: str) -> None:
    words = find_language(language).artefacts
    assert set(words) == {*KINDS, REST}
    assert all(said[0].islower() and len(said) > 5 for said in words.values())
