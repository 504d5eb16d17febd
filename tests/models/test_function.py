"""What decides a model's function is in its digest, and only that; weights lie in its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.errors import InputError
from olvido.models import function_digest, load, save
from olvido.models.digest import export_note, trace_digest

NOTE = {"kind": "StepLog", "base": "/home/somebody/tiny", "runs": {"run": {"seconds": 2.5}}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, fresh: Any, tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("function") / "model"
    save(fresh, tokenizer, folder, fill=lambda f: _put(f / "olvido.json", NOTE))
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def _put(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        there = json.loads(path.read_text()) if path.exists() else {}
        _put(path, there | changes)

    return edit


def _token(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokens = json.loads(path.read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary[-1], vocabulary[-2] = vocabulary[-2], vocabulary[-1]
    _put(path, tokens)


EDITS: dict[str, Callable[[Path], None]] = {
    "norm": _edit("config.json", rms_norm_eps=10.0),
    "activation": _edit("config.json", hidden_act="relu"),
    "positions": _edit("config.json", rope_parameters={"rope_theta": 7.0, "rope_type": "default"}),
    "suppressed tokens": _edit("generation_config.json", suppress_tokens=[5, 6]),
    "tokenizer": _token,
    "no trace": lambda folder: (folder / "olvido.json").unlink(),
    "trace made anew": lambda folder: _put(folder / "olvido.json", {"kind": "Untraced"}),
    "special tokens": _edit("special_tokens_map.json", eos_token="x"),
    "added tokens": _edit("added_tokens.json", Núria=7),
    "type of numbers": _edit("config.json", dtype="bfloat16"),
    "attention": _edit("config.json", attn_implementation="eager", sliding_window=1),
    "adapter": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x"),
    "adapter configuration": _edit("adapter_config.json", r=4),
    "a member that is called as one that was left out": _edit("config.json", rope={"base": 7}),
    "a word that is called so": _edit("vocab.json", base=1, digest=0),
    "words that are called so": _edit("vocab.json", name_or_path=3, seconds=2),
    "a record that is called so": _edit("olvido.json", strangers={"base": 1.0}),
    "code": _edit("config.json", auto_map={"AutoModelForCausalLM": "other.Model"}),
    "a file of code": lambda folder: (folder / "other.py").write_text("pass"),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ 'no' }}"),
    "other weights beside": lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_decides_the_function_changes_the_digest(model: Path, name: str) -> None:
    before = function_digest(model)
    EDITS[name](model)
    assert function_digest(model) != before


def test_what_decides_nothing_does_not(model: Path) -> None:
    before = function_digest(model)
    (model / "README.md").write_text("A card.")
    (model / "logs").mkdir()
    (model / "logs" / "run.bin").write_bytes(b"x")
    moved = NOTE | {"base": "/elsewhere", "runs": {"run": {"seconds": 9.0}}}
    _put(model / "olvido.json", moved)
    config = json.loads((model / "config.json").read_text())
    config = dict(reversed(config.items())) | {"_name_or_path": "/x", "transformers_version": "9"}
    (model / "config.json").write_text(json.dumps(config, indent=7))
    assert function_digest(model) == before


@pytest.mark.parametrize("name", ["is_local", "name_or_path", "transformers_version"])
@pytest.mark.parametrize("file", ["vocab", "added_tokens", "special_tokens_map", "router"])
def test_only_of_a_configuration_it_decides_nothing_where_it_came_from(
    model: Path, file: str, name: str
) -> None:
    """In any other file that is a word, a token, a role or a route."""
    digests = set()
    for said in ({"a": 0}, {"a": 0, name: 1}, {"a": 1, name: 0}, {"a": 0, name: 2}):
        _put(model / f"{file}.json", said)
        digests.add(function_digest(model))
    assert len(digests) == 4


@pytest.mark.parametrize("name", ["vocab.json", "config.json", "olvido.json"])
def test_a_name_that_stands_twice_is_refused(model: Path, name: str) -> None:
    """One reader takes the first and another the last: there is no one function to digest."""
    (model / name).write_text('{"word": 1, "word": 2}')
    with pytest.raises(InputError, match="twice"):
        function_digest(model)


def test_where_an_inner_configuration_came_from_decides_nothing(model: Path) -> None:
    _edit("config.json", text_config={"layers": 2, "_name_or_path": "/here"})(model)
    before = function_digest(model)
    _edit("config.json", text_config={"layers": 2, "_name_or_path": "/there"})(model)
    assert function_digest(model) == before
    _edit("config.json", text_config={"layers": 3, "_name_or_path": "/here"})(model)
    assert function_digest(model) != before


def test_a_copy_that_is_saved_again_keeps_it(model: Path, tmp_path: Path) -> None:
    loaded = load(model)

    def fill(folder: Path) -> None:
        (folder / "olvido.json").write_text(export_note(trace_digest(model / "olvido.json")))

    save(loaded.model, loaded.tokenizer, tmp_path / "again", fill=fill)
    assert function_digest(tmp_path / "again") == function_digest(model)


def test_a_link_is_no_file_of_the_model(model: Path) -> None:
    (model / "config.json").rename(model.parent / "config.json")
    (model / "config.json").symlink_to(model.parent / "config.json")
    with pytest.raises(InputError, match="symbolic link"):
        function_digest(model)
