"""Reading causal language models in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_causal(where: str | Path) -> Any:
    """A causal language model from a folder or a hub id, in float32 and in evaluation mode.

    Raises:
        OSError, ValueError, KeyError, RuntimeError, SafetensorError: it cannot be read, or weights
            are missing.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, report = AutoModelForCausalLM.from_pretrained(
        str(where), dtype="float32", output_loading_info=True
    )
    if absent := sorted(report["missing_keys"]):
        # transformers would fill them with random numbers and go on.
        raise ValueError(f"{len(absent)} weights are missing (first: {absent[0]})")
    return model.eval()
