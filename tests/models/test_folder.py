"""A model folder brings settings and weights of its own: nothing in it runs or leads out."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from olvido.errors import InputError, OlvidoError
from olvido.models import load, save
from olvido.models.smollm2 import Wheel
from olvido.models.tiny import tiny_model, tiny_tokenizer

CODE = "from pathlib import Path\nPath({canary!r}).touch()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=64, layers=1), tokenizer, tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, **values: Any) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


def code(folder: Path, file: str = "config.json", **auto_map: Any) -> None:
    canary = str(folder.parent / "canary")
    for name in ("own.py", "modeling_own.py", "configuration_own.py", "tokenization_own.py"):
        (folder / name).write_text(CODE.format(canary=canary))
    edit(
        folder / file, auto_map=auto_map, **({"model_type": "own"} if file[:6] == "config" else {})
    )


def elsewhere(folder: Path) -> Path:
    outside = folder.parent / "outside.safetensors"
    os.rename(folder / "model.safetensors", outside)
    return outside


def indexed(folder: Path, name: str) -> None:
    elsewhere(folder)
    weights = {"weight_map": {"lm_head.weight": name}, "metadata": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))


def pickled(folder: Path) -> None:
    elsewhere(folder)
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "code for the model": (
        lambda f: code(f, AutoModelForCausalLM="own.Model", AutoConfig="own.Config"),
        "code of its own",
    ),
    "code for the settings alone": (
        lambda f: code(f, AutoConfig="configuration_own.Config"),
        "code of its own",
    ),
    "code for the tokenizer": (
        lambda f: code(f, "tokenizer_config.json", AutoTokenizer=["own.Tokenizer", None]),
        "code of its own",
    ),
    "code from another repository": (
        lambda f: code(f, AutoModelForCausalLM="someone/else--own.Model"),
        "code of its own",
    ),
    "weights beside the folder": (lambda f: indexed(f, "../outside.safetensors"), "outside"),
    "weights by their whole path": (lambda f: indexed(f, "/etc/passwd"), "outside"),
    "weights that are no name": (lambda f: indexed(f, ["a"]), "outside"),  # type: ignore[arg-type]
    "linked weights": (
        lambda f: (f / "model.safetensors").symlink_to(elsewhere(f)),
        "leads out of the folder",
    ),
    "a pickle": (pickled, "pickle"),
    "ten million layers": (
        lambda f: edit(f / "config.json", num_hidden_layers=10**7),
        "num_hidden_layers = 10000000",
    ),
    "more layers than weights": (
        lambda f: edit(f / "config.json", num_hidden_layers=5000),
        "num_hidden_layers = 5000",
    ),
    "ten million layers of another family": (
        lambda f: edit(f / "config.json", model_type="gpt2", n_layer=10**7),
        "n_layer = 10000000",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_model_needs_is_refused_in_a_line_and_at_once(name: str, folder: Path) -> None:
    spoil, words = WRONG[name]
    spoil(folder)
    began = time.monotonic()
    with pytest.raises(InputError, match=words) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - began < 20
    assert not (folder.parent / "canary").exists()


@pytest.mark.slow
def test_nobody_at_a_terminal_is_asked(folder: Path) -> None:
    code(folder, AutoModelForCausalLM="own.Model", AutoConfig="own.Config")
    script = f"import sys; from olvido.models import load; load({str(folder)!r})"
    asked, answers = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=answers, stdout=answers, stderr=subprocess.PIPE
    ) as process:
        os.write(asked, b"y\ny\ny\n")
        assert process.stderr is not None
        said = process.stderr.read().decode()
    os.close(answers)
    os.close(asked)
    assert "code of its own" in said
    assert not (folder.parent / "canary").exists()


def test_a_model_that_is_trusted_by_name_may_bring_code(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "own.Model"})
    with pytest.raises(InputError, match="code of its own"):
        load(folder, trusted=["another"])
    with pytest.raises(OlvidoError) as tried:
        # It is looked for, and is not there.
        load(folder, trusted=[str(folder)])
    assert "code of its own" not in str(tried.value)


def test_a_whole_folder_and_links_inside_it_are_read(folder: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    assert load(folder).digest


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """A wheel in a cache, of which a folder is made."""
    import hashlib

    path = tmp_path / "cache" / "a-1.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b/b.txt", "b")
    return Wheel("A", "a==1", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("change", ["content", "missing", "added", "undocumented", "wheel"])
def test_a_cached_folder_is_believed_only_as_it_was_made(
    change: str, wheel: Wheel, tmp_path: Path
) -> None:
    def make(archive: zipfile.ZipFile, folder: Path) -> None:
        archive.extractall(folder)

    def built() -> Path:
        return wheel.build("made", make, cache=tmp_path / "cache")

    made = built()
    assert built() == made
    if change == "content":
        (made / "b" / "b.txt").write_text("c")
    elif change == "missing":
        (made / "a.txt").unlink()
    elif change == "added":
        save_file({"a": torch.zeros(1)}, made / "more.safetensors")
    elif change == "undocumented":
        (made / "made.json").unlink()
    else:
        wheel = Wheel("A", "a==2", "a-2.whl", "0" * 64)
    with pytest.raises(OlvidoError, match="remove it"):
        built()
