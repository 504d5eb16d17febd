"""Whoever writes a file has a kind in the one table, and a closure finds what each one wrote."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from tests.requests.closure.towns import HERS, Town, tensors

import olvido
from olvido.artifacts import APART, GENERATOR, KINDS, Who
from olvido.audits.scoring.cache import Shelf as Scores
from olvido.comparison.base import _begin
from olvido.curvature.storage import write as write_curvature
from olvido.documents import write_document
from olvido.files import new_folder, unfinished_in
from olvido.forgetting.search.shelf import Shelf as Trials
from olvido.forgetting.types import Side, Split, Trial
from olvido.learners.modular.activations import Activations
from olvido.learners.runs.checkpoint import Checkpoint
from olvido.learners.runs.checkpoint import Shelf as Checkpoints
from olvido.learners.storage import write_trace
from olvido.learners.trace import Untraced
from olvido.requests.burial import write_tombstones
from olvido.requests.closure import close
from olvido.requests.publishing import Prepared
from olvido.tasks import Task

SOURCE = Path(olvido.__file__).parent
WRITERS = {
    *("write_document", "write_html", "new_file", "new_folder", "unfinished_in", "savez"),
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


def test_every_module_that_writes_a_file_says_what_may_be_in_it() -> None:
    named = {writer for kind in KINDS.values() for writer in kind.writers} | set(APART)
    found = set()
    for path in SOURCE.rglob("*.py"):
        if any(writes(path)):
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            found.add(".".join(parts).removesuffix(".__init__"))
    assert found - named == set(), "give what it writes a kind in olvido.artifacts"
    assert {n for n in named if n not in found} <= {"olvido.cli.weights.models"}


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
    pages = [p for p in SOURCE.rglob("*.html.j2") if "serving" not in p.parts]
    whole = [p for p in pages if "<!doctype" in p.read_text().lower()]
    assert len(whole) >= 4
    assert [p.name for p in whole if GENERATOR not in p.read_text()] == []


def _checkpoint(folder: Path) -> Path:
    empty: dict[str, Any] = {"weights": {"w": torch.rand(3)}, "optimizer": {}, "rng": []}
    values = {f.name: empty.get(f.name, "00") for f in fields(Checkpoint)}
    state = Checkpoint(**{**values, "step": 1, "log": b"", "seconds": 0.0})
    return Checkpoints(folder).write(state)


def _run(folder: Path) -> Path:
    return _checkpoint(folder / ".run-0123456789abcdef").parent


def _scores(folder: Path) -> Path:
    shelf = Scores(folder, f"sha256:{'a' * 64}")
    shelf.add_answers({b"\0" * 32: "In Sants."})
    return shelf.folder


def _curvature(folder: Path) -> Path:
    write_curvature(folder / "factors", [{"w": {"left": torch.rand(2, 2)}}], {"model": "x"})
    return folder / "factors"


def _cache(folder: Path) -> Path:
    kept = Activations("origin", 1, {"a1": torch.rand(1, 4)}, {"a1": "00"})
    kept.save(folder / "part" / "activations.safetensors")
    return folder / "part" / "activations.safetensors"


def _trial(folder: Path) -> Path:
    nothing = Split((), (), ())
    shelf = Trials(folder / "trials", "sha256:0", nothing, cast("Task", None), 0)
    side = next(iter(Side))
    shelf.write(Trial("npo", {}, {}, side, 1.0, 1.0, 1.0, "done"), [], tensors(5))
    return next((folder / "trials").glob("*.safetensors"))


def _comparison(folder: Path) -> Path:
    names = ("model", "records", "reference", "base", "level", "chat")
    home = folder / "compared"
    _begin(home, dict.fromkeys(names))
    write_document({"tokens": 1, "seconds": 1.0}, home / "never" / "1.json")
    (home / "never" / "1").mkdir()
    (home / "never" / "1" / "config.json").write_text("{}")
    save_file(dict(tensors(7).state_dict()), home / "never" / "1" / "model.safetensors")
    cell = {"method": "npo", "seed": 0, "failure": "none", "verdict": "fail", "audit": None}
    write_document(cell, home / "cells" / "npo-0.json")
    return home


def _orphan(folder: Path) -> Path:
    with new_folder(folder / "lost") as unfinished:
        write_trace(Untraced(), unfinished, base="tiny", seed=0)
    return folder / "lost"


def _unfinished(folder: Path) -> Path:
    # Whoever is killed cleans up nothing.
    path = unfinished_in(folder)
    path.mkdir()
    (path / "weights.safetensors").write_text("torn")
    return path


def _training(folder: Path) -> Path:
    with new_folder(folder / "shadow-000-00") as unfinished:
        save_file(dict(tensors(6).state_dict()), unfinished / "weights.safetensors")
        write_document({"digest": "sha256:00"}, unfinished / "card.json")
    return folder / "shadow-000-00"


WRITTEN: dict[str, Callable[[Path], Path]] = {
    "checkpoint": _checkpoint,
    "run": _run,
    "scores": _scores,
    "curvature": _curvature,
    "cache": _cache,
    "trial": _trial,
    "comparison": _comparison,
    "orphan": _orphan,
    "unfinished": _unfinished,
    "training": _training,
}


def test_every_kind_with_a_shape_is_written_here() -> None:
    shaped = {k.name for k in KINDS.values() if k.shape is not None and not k.told}
    assert shaped == set(WRITTEN)


def test_a_closure_finds_what_every_writer_wrote(spread: Town, tmp_path: Path) -> None:
    settings, elsewhere = spread.front.settings, tmp_path / "elsewhere"
    places = [spread.folder / "some", settings.models, settings.reports, elsewhere]
    paths = {}
    for place in places:
        place.mkdir(exist_ok=True)
        for kind, write in WRITTEN.items():
            paths[write(place)] = kind
    found = spread.found(elsewhere)
    home = spread.folder.resolve()
    for path, kind in paths.items():
        inside = home in path.parents
        item = f"{kind}:{path.relative_to(home) if inside else path}"
        assert found[item].who is (Who.ALL if inside else Who.NAMED), item


def test_documents_that_quote_her_are_known_as_olvidos(town: Town) -> None:
    said = HERS[0]["prompt"] + " " + HERS[0]["completion"]
    report = {"request": "r", "verdict": "pass", "attempts": [said], "does_not_prove": []}
    result = Prepared(("req-0001",), None, (), None, (), {"req-0001": report}).to_dict()
    work = town.folder / "work" / "req-0001-0123456789abcdef.json"
    write_document(report, town.folder / "reports" / "req-0001.json")
    write_document(result, work)
    (town.folder / "page.html").write_text(f"<!doctype html>{GENERATOR}<p>{said}</p>")
    (town.folder / "other.html").write_text(
        f"<!doctype html><p>{said}</p><p>Bru Vidal mends umbrellas.</p>"
    )
    write_tombstones(town.front, town.folder / "tombstones.json")
    found = town.found()
    told = {item for item in found if found[item].kind.told}
    assert told == {
        "report:reports/req-0001.json",
        f"result:work/{work.name}",
        "page:page.html",
        "file:other.html",
    }
    assert found["report:reports/req-0001.json"].who is Who.ALL
    assert found["file:other.html"].who is Who.NAMED
    close(town.front, "req-0001")
    assert json.loads((town.folder / "tombstones.json").read_text())["form"]
