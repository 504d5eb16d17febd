"""Reading causal language models in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olvido.models.folder import require_own


def read_causal(where: str | Path, *, code: bool = False) -> Any:
    """A causal language model from a folder or a hub id, in float32 and in evaluation mode.

    Args:
        where: folder or hub id.
        code: whether code that comes with it may run.

    Raises:
        InputError: the folder brings what no model needs, see `require_own`.
        OSError, ValueError, KeyError, RuntimeError, SafetensorError: it cannot be read, or weights
            are missing.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    require_own(Path(where), code=code)
    logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(where),
            dtype="float32",
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=code,
        )
    except ValueError:
        config = AutoConfig.from_pretrained(str(where), trust_remote_code=code)
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(
                f"its kind is {config.model_type!r}, which does not go on with a text word by word "
                "(an encoder, or an encoder with a decoder)"
            ) from None
        raise
    if absent := sorted(report["missing_keys"]):
        # transformers would fill them with random numbers and go on.
        raise ValueError(f"{len(absent)} weights are missing (first: {absent[0]})")
    return model.eval()
