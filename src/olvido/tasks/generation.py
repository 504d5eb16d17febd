"""Generation of answers, token by token, regardless of a model's own generation settings.

A common beginning of several texts is read once: many answers to one long question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from olvido.models.router import ByPrompt
from olvido.tasks.batches import Batch, Windows, require_room
from olvido.tasks.blocks import plain_model

GREEDY: Mapping[str, Any] = {"do_sample": False}
"""Greedy decoding: the likeliest token each time."""
DRAWN: Mapping[str, Any] = {
    "do_sample": True,
    # By default it is 50 in some versions of transformers: rare outputs of a model would be hidden.
    "top_k": 0,
}
"""Sampling from the model's own distribution."""


class Question(NamedTuple):
    """What a model is to answer.

    Attributes:
        name: the record's id, for errors.
        prompt: token ids of the input before the answer.
        limit: new tokens at the most.
        size: tokens that the model must have positions for.
    """

    name: str
    prompt: list[int]
    limit: int
    size: int


@torch.no_grad()
def answered(
    model: Any, asked: Sequence[Question], size: int, *, ends: Sequence[int], how: Mapping[str, Any]
) -> list[list[int]]:
    """A model's answers as token ids, in order; at most `size` at a time.

    Raises:
        InputError: a question needs more positions than the model has.
    """
    # Grouped by length, since every step costs a forward pass of the whole batch while padding
    # before a prompt costs one once.
    order = sorted(range(len(asked)), key=lambda i: asked[i].limit)
    answers: list[list[int]] = [[]] * len(asked)
    room = positions(plain_model(model))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        longest = max(len(asked[i].prompt) for i in chosen)
        # A long prompt leaves no room to others in the batch: then each is answered alone.
        tight = room is not None and longest + asked[chosen[-1]].limit > room
        for some in [[i] for i in chosen] if tight else [chosen]:
            for i in some:
                require_room(asked[i].name, asked[i].size, room)
            prompts, limits = [asked[i].prompt for i in some], [asked[i].limit for i in some]
            with _pinned(model, prompts):
                plain = plain_model(model)
                said = written(plain, prompts, limits, room=room, ends=ends, how=how)
            for i, ids in zip(some, said, strict=True):
                answers[i] = ids
    return answers


def asking(model: Any, batch: Batch, cut: Windows) -> AbstractContextManager[Any]:
    """Pass each row's question to a model made of modules: the tokens before its last answer."""
    if not isinstance(model, ByPrompt):
        return nullcontext()
    begins = batch.targets != -100
    begins[:, 1:] &= ~begins[:, :-1].clone()
    places = begins * torch.arange(begins.shape[1], device=begins.device)
    asked = [row[:end] for row, end in zip(batch.input_ids, places.amax(1).tolist(), strict=True)]
    rows = torch.arange(len(cut.batch.ids), device=begins.device)
    return _pinned(model, [asked[row] for row in cut.records(rows).tolist()])


def _pinned(model: Any, prompts: Sequence[Any]) -> AbstractContextManager[Any]:
    if not isinstance(model, ByPrompt):
        return nullcontext()
    return model.asking([list(map(int, row)) for row in prompts])


def written(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    room: int | None,
    ends: Sequence[int],
    how: Mapping[str, Any],
) -> list[list[int]]:
    """Texts that a model generates after each of these prompts, up to the token that ends one.

    The model's own generation config is ignored: repetition penalties, suppressed tokens, bad words
    and minimum lengths would hide knowledge from an audit.

    Args:
        model: a Hugging Face causal model.
        prompts: token ids of each prompt.
        limits: new tokens at the most, by prompt: an answer must not depend on other rows of the
            batch.
        room: the model's number of positions, or None.
        ends: tokens that end an answer; the last one pads the shorter prompts, masked.
        how: `GREEDY` or `DRAWN`.
    """
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), ends[-1], dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with _without_habits(model):
        out: Tensor = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max(limits) if room is None else min(max(limits), room - width),
            **how,
            pad_token_id=ends[-1],
            eos_token_id=list(ends),
        )
    return [
        list(takewhile(lambda token: token not in ends, row[width : width + limit]))
        for row, limit in zip(out.tolist(), limits, strict=True)
    ]


def positions(model: Any) -> int | None:
    """A model's number of positions; None where its configuration has no bound."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


@contextmanager
def _without_habits(model: Any) -> Iterator[None]:
    """Replace the generation config by an empty one within the block, also inside a wrapper."""
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


WORTH, WORTH_LEARNED = 512, 32
"""Tokens that must be saved, at the least: two passes over little cost more than one. A pass with
its gradient is dearer by the token, and its constant share is less."""
TRIED = 16
"""Tokens on either side of the cut in a model's test."""
NEAR = 1e-5
"""Largest distance of both ways, as a share of the largest state: ten times float32's error, and
less than half precision's."""


_LEARNING: ContextVar[bool] = ContextVar("reading a beginning once with its gradient")


@contextmanager
def reading_once() -> Iterator[None]:
    """Let a common beginning be read once where gradients are needed, too.

    Its gradient is then the sum over the rows, by another order of additions: the same to rounding.
    Trainings that have to be repeated bit for bit do without.
    """
    before = _LEARNING.set(True)
    try:
        yield
    finally:
        _LEARNING.reset(before)


def once_allowed(model: Any) -> bool:
    """Whether a beginning may be read once here: where no gradient or no chance is involved."""
    if not torch.is_grad_enabled():
        return not model.training
    recomputed = any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    return _LEARNING.get(False) and not recomputed and not (model.training and _chance(model))


def _chance(model: Any) -> bool:
    """Whether a model in training drops anything by chance, which differs by row."""
    config: Any = getattr(model, "config", None)
    named = config.to_dict() if hasattr(config, "to_dict") else {}
    rates = [v for k, v in named.items() if "drop" in k and isinstance(v, float)]
    rates += [m.p for m in model.modules() if isinstance(m, _DropoutNd)]
    return any(rate > 0 for rate in rates)


def shared_tokens(batch: Batch) -> int:
    """Leading tokens that all rows share and that are no targets; 0 where they save too little.

    The last of them stays with the rest, since the first answer is read from its state.
    """
    worth = WORTH_LEARNED if torch.is_grad_enabled() else WORTH
    alike = (batch.input_ids == batch.input_ids[:1]).all(dim=0).long().cumprod(dim=0).sum()
    first = (batch.targets != -100).int().argmax(dim=1).min()
    shared = int(min(alike, first)) - 1
    return shared if shared * (len(batch.ids) - 1) >= worth else 0


def reread(body: Any, batch: Batch, shared: int) -> Tensor:
    """States after the tokens that follow the shared ones. [B, T - shared, D]"""
    return _after(body, batch.input_ids, batch.attention_mask, shared)


@torch.no_grad()
def goes_on(body: Any, batch: Batch, shared: int) -> bool:
    """Whether a model continues from a cached beginning as if it had read all at once.

    It is tested on a few tokens, so that no list of architectures can become outdated.
    """
    cut = min(shared, TRIED)
    ids = batch.input_ids[:2, shared - cut : shared + TRIED]
    mask = batch.attention_mask[:2, shared - cut : shared + TRIED]
    if not _keeps(body(input_ids=ids[:1, :cut], use_cache=True)):
        return False
    whole = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, cut:]
    apart = (_after(body, ids, mask, cut) - whole)[mask[:, cut:] == 1].abs().max()
    return bool(apart <= NEAR * whole.abs().max())


def _after(body: Any, ids: Tensor, mask: Tensor, shared: int) -> Tensor:
    kept = body(input_ids=ids[:1, :shared], use_cache=True).past_key_values
    kept.batch_repeat_interleave(len(ids))
    states: Tensor = body(
        input_ids=ids[:, shared:], attention_mask=mask, past_key_values=kept, use_cache=True
    ).last_hidden_state
    return states


def _keeps(out: Any) -> bool:
    return hasattr(getattr(out, "past_key_values", None), "batch_repeat_interleave")
