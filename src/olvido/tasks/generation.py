"""Answers token by token, whatever habits a model's own generation settings bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

GREEDY: Mapping[str, Any] = {"do_sample": False}
"""The likeliest token, each time."""
DRAWN: Mapping[str, Any] = {
    "do_sample": True,
    # Unsaid, it is 50 in some versions of transformers: what a model seldom says would be hidden.
    "top_k": 0,
}
"""Each token as often as the model means it."""


def continued(
    model: Any,
    ids: Tensor,
    mask: Tensor,
    *,
    limit: int,
    ends: Sequence[int],
    how: Mapping[str, Any],
) -> Tensor:
    """What a model writes behind these prompts, the prompts included. [B, T + new]

    Nothing of the model's own generation config counts: repetition penalties, suppressed tokens,
    bad words and least lengths would hide what it knows, and an audit asks for that.

    Args:
        model: a Hugging Face causal model.
        ids: prompts, padded on the left. [B, T]
        mask: 1 where a token stands. [B, T]
        limit: new tokens at the most.
        ends: tokens that end an answer.
        how: `GREEDY` or `DRAWN`.
    """
    with _without_habits(model):
        out: Tensor = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=limit,
            **how,
            pad_token_id=ends[-1],
            eos_token_id=list(ends),
        )
    return out


def positions(model: Any) -> int | None:
    """How many tokens a model has positions for; None where its configuration names no bound."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


@contextmanager
def _without_habits(model: Any) -> Iterator[None]:
    """For the time being, a generation config that says nothing, also inside a wrapper."""
    parts = model.modules() if hasattr(model, "modules") else [model]
    own = [(part, vars(part)["generation_config"]) for part in parts if _has_config(part)]
    for part, config in own:
        part.generation_config = type(config)()
    try:
        yield
    finally:
        for part, config in own:
            part.generation_config = config


def _has_config(part: Any) -> bool:
    return vars(part).get("generation_config") is not None
