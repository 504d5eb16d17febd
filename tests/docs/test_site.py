"""The documentation is whole: it builds, fetches nothing, and its generated parts are of today."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 250
GLOSSARY = 40


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    fetched = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"(?:https?:)?//")
    assert [page for page in pages if fetched.search(page.read_text("utf-8"))] == []
    sheets = [sheet.read_text("utf-8") for sheet in site.rglob("*.css")]
    assert not [sheet for sheet in sheets if re.search(r"(?:url\(|@import ?)[\"']?https?:", sheet)]


@pytest.mark.slow
def test_every_public_name_stands_in_the_reference(site: Path) -> None:
    hooks = _module("hooks")
    assert set(hooks.MODULES) >= {"olvido", "olvido.audits", "olvido.errors"}
    for module in hooks.MODULES:
        page = (site / "reference" / "python" / f"{module}.html").read_text("utf-8")
        for name in hooks.public_names(module):
            # A name is documented where it is defined; its page has a heading for it.
            assert re.search(rf"<h2 [^>]*id=\"[\w.]*\.{name}\"", page), f"{module}.{name}"


def test_generated_parts_are_those_of_the_code() -> None:
    for file, content in _module("generated").generated().items():
        written = file.read_text("utf-8")
        assert written == content, f"{file.name} is out of date: run 'python docs/generated.py'"


def test_a_page_is_short_enough_to_be_read() -> None:
    folders = ("tutorials", "how-to", "reference", "explanation")
    pages = [page for folder in folders for page in (ROOT / "docs" / folder).glob("*.md")]
    assert len(pages) > 20
    lengths = {page.name: len(page.read_text("utf-8").splitlines()) for page in pages}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_glossary_is_short_sorted_and_names_a_standard_term() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    words = [row[0].strip() for row in rows]
    assert 0 < len(words) <= GLOSSARY
    assert words == sorted(set(words))
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)


def test_the_map_names_what_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    paths = re.findall(r"`(src/olvido/[\w./]+)`", text)
    folders = re.findall(r"^\| ((?:`[\w./]+`(?:, )?)+) \|", text, re.M)
    paths += [f"src/olvido/{name}" for cell in folders for name in re.findall(r"`([^`]+)`", cell)]
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []
