"""Language: prompt and completion, or plain text, for any Hugging Face causal model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError, ParameterName
from olvido.models.router import ByPrompt
from olvido.tasks.base import Batch, Example, text_content
from olvido.tasks.blocks import (
    blocks_of,
    body_and_head,
    evaluating,
    given_to,
    plain_model,
    require_causal,
)
from olvido.tasks.encoding import Encoder
from olvido.tasks.generation import (
    DRAWN,
    GREEDY,
    goes_on,
    positions,
    require_room,
    reread,
    shared_tokens,
    written,
)

SLACK = 64
"""Tokens an answer may run past half again the record's completion: room for a polite preface."""
WIDTH_STEP = 4
"""Widths are rounded up to this many tokens, so that batches of like length share a shape."""


class Language:
    """How records become token batches and losses.

    With a prompt, only the completion and the end-of-text token count; plain text counts from its
    second token on. A tokenizer with a chat template gets it, unless `chat` is False. The attention
    mask follows the lengths, never the ids, so a pad token equal to the end-of-text token hides
    nothing.

    Args:
        tokenizer: a Hugging Face tokenizer with an end-of-text token.
        max_tokens: longer records are refused rather than cut: a cut record is another record.
        chat: use the tokenizer's chat template; None: when it has one.
        separator: text between prompt and completion without a template.

    Raises:
        InputError: the tokenizer has no end-of-text token, or no chat template where asked for.
    """

    name: ClassVar = "language"
    summary: ClassVar = "prompt and completion, or plain text, for any Hugging Face causal model"
    language: ClassVar = True
    classes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_tokens: int = 1024,
        chat: bool | None = None,
        separator: str = " ",
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError("the tokenizer has no end-of-text token: set tokenizer.eos_token")
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if chat and not has_template:
            raise InputError(
                ParameterName("chat", True),
                " needs a tokenizer with a chat template: this one has none",
            )
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.chat = has_template if chat is None else chat
        self._encoder = Encoder(tokenizer, chat=self.chat, separator=separator)
        # Padding is hidden by the mask. The end-of-text token always has an embedding; a pad token
        # that was added to the tokenizer alone has none.
        self._pad: int = tokenizer.eos_token_id
        self._encoded: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self._fingerprints: dict[tuple[str, str], bytes] = {}
        self._head_alone: WeakKeyDictionary[Module, bool] = WeakKeyDictionary()
        self._goes_on: WeakKeyDictionary[Module, bool] = WeakKeyDictionary()

    @classmethod
    def of(cls, tokenizer: Any | None) -> Self:
        """Language with this tokenizer; see `Task.of`."""
        if tokenizer is None:
            raise InputError("the task language needs the model's ", ParameterName("tokenizer"))
        return cls(tokenizer)

    def __getstate__(self) -> dict[str, Any]:
        """Drop the caches about records and models when sent to another process: records that are
        not sent along must not reach it this way."""
        seen: dict[str, Any] = {
            "_encoded": {},
            "_fingerprints": {},
            "_head_alone": None,
            "_goes_on": None,
        }
        return {**vars(self), **seen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _head_alone=WeakKeyDictionary(), _goes_on=WeakKeyDictionary())

    def encode(self, example: Example) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of the expected answer.

        Raises:
            InputError: the record is longer than `max_tokens`, or has nothing to predict.
        """
        key = (example.prompt, example.completion)
        if key not in self._encoded:
            prompt, answer = self._encode(example)
            if len(prompt) + len(answer) > self.max_tokens:
                raise InputError(
                    f"record {example.id!r} has {len(prompt) + len(answer)} tokens, at most "
                    f"{self.max_tokens} fit: split it into several records"
                )
            if not prompt or not answer:
                raise InputError(f"record {example.id!r} has no token to predict")
            self._encoded[key] = (prompt, answer)
        return self._encoded[key]

    def _encode(self, example: Example) -> tuple[list[int], list[int]]:
        if example.prompt:
            return self._encoder.pair(example.prompt, example.completion)
        ids = self._encoder.text(example.completion)
        return ids[:1], ids[1:]

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a model's input before it answers."""
        return self._encoder.prompt(prompt)

    def content(self, example: Example) -> bytes:
        """Prompt and completion, as JSON."""
        return text_content(example.prompt, example.completion)

    def fingerprint(self, example: Example) -> bytes:
        """The token ids of the prompt and of the answer, after the length of the prompt."""
        key = (example.prompt, example.completion)
        if key not in self._fingerprints:
            prompt, answer = self.encode(example)
            ids = np.array([len(prompt), *prompt, *answer], dtype=np.int64)
            self._fingerprints[key] = ids.tobytes()
        return self._fingerprints[key]

    def width(self, example: Example) -> int:
        """The tokens of a record, rounded up to `WIDTH_STEP`."""
        return _rounded(self.encode(example))

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> Batch:
        """One batch of these records in this order, padded on the right to `width` tokens.

        A blank (None) is two end-of-text tokens, the second of which is to be predicted.
        """
        eos: int = self.tokenizer.eos_token_id
        encoded = [([eos], [eos]) if record is None else self.encode(record) for record in records]
        width = width or max(map(_rounded, encoded))
        ids = np.full((len(records), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(records), width), dtype=np.int64)
        targets = np.full((len(records), width), -100, dtype=np.int64)
        for row, (prompt, answer) in enumerate(encoded):
            end = len(prompt) + len(answer)
            ids[row, :end] = prompt + answer
            mask[row, :end] = 1
            targets[row, len(prompt) : end] = answer
        names = tuple("" if record is None else record.id for record in records)
        return Batch(names, *map(torch.from_numpy, (ids, mask, targets)))

    def batches(self, records: Sequence[Example], size: int) -> Iterator[Batch]:
        """All records in batches of at most `size`, those of like length together."""
        order = sorted(range(len(records)), key=lambda i: self.width(records[i]))
        for start in range(0, len(order), size):
            yield self.collate([records[i] for i in order[start : start + size]])

    def answer_logits(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits where there is a target: logits [N, V], targets [N], row of each [N].

        The head is applied to those positions alone: on question-answer records it is the largest
        matrix of a small model and most positions have no target. A common beginning of all records
        is read once, where that saves much and no gradient is needed.
        """
        states, head, targets, rows = self.answer_states(model, batch)
        return head(states), targets, rows

    def answer_states(
        self, model: Module, batch: Batch
    ) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor, Tensor]:
        """The head's inputs where there is a target [N, D], the head, targets [N], rows [N]."""
        batch = _within(model, batch)
        rows, columns = torch.nonzero(batch.targets != -100, as_tuple=True)
        targets = batch.targets[rows, columns]
        if self._may_split_head(model, batch):
            body, head = body_and_head(model)
            if shared := self._may_share(model, batch):
                states = reread(body, batch, shared)
                return states[rows, columns - 1 - shared], head, targets, rows
            with _asking(model, batch):
                states = body(**_inputs(batch)).last_hidden_state
            return states[rows, columns - 1], head, targets, rows
        return self.logits(model, batch)[rows, columns - 1], _as_it_is, targets, rows

    def log_probs(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed log-probability of the targets and their number, one value a record. [B], [B]"""
        logits, targets, rows = self.answer_logits(model, batch)
        nll = F.cross_entropy(logits.float(), targets, reduction="none")
        size = len(batch.ids)
        total = torch.zeros(size, device=nll.device).index_add(0, rows, -nll)
        count = torch.bincount(rows, minlength=size).to(total)
        return total, count

    def losses(self, model: Module, batch: Batch) -> Tensor:
        """Mean negative log-likelihood per target token, one value a record, differentiable. [B]"""
        total, count = self.log_probs(model, batch)
        return -total / count

    def logits(self, model: Module, batch: Batch) -> Tensor:
        """All logits. [B, T, V]

        Raises:
            InputError: a record has more tokens than the model has positions.
        """
        batch = _within(model, batch)
        with _asking(model, batch):
            return plain_model(model)(**_inputs(batch)).logits

    def layers(self, model: Module) -> list[Module]:
        """The embeddings and the transformer blocks, in order.

        Raises:
            InputError: the model's blocks cannot be found.
        """
        plain = plain_model(model)
        if not hasattr(plain, "get_input_embeddings"):
            raise InputError(f"{type(plain).__name__} does not say what its layers are")
        return [plain.get_input_embeddings(), *blocks_of(plain)]

    def hidden(self, model: Module, batch: Batch, layer: int) -> Tensor:
        """Hidden states after a layer (0: the embeddings). [B, T, D]

        The model runs no further than to that layer, where its blocks can be found.
        """
        batch = _within(model, batch)
        blocks = [] if isinstance(model, ByPrompt) else blocks_of(plain_model(model))
        if 0 <= layer < len(blocks):
            return given_to(blocks[layer], lambda: plain_model(model)(**_inputs(batch)))
        with _asking(model, batch):
            return plain_model(model)(**_inputs(batch), output_hidden_states=True).hidden_states[
                layer
            ]

    def answer_hidden(self, model: Module, batch: Batch, layer: int) -> tuple[Tensor, Tensor]:
        """Hidden states that lead to a target: [N, D], row of each [N]."""
        rows, columns = torch.nonzero(batch.targets != -100, as_tuple=True)
        return self.hidden(model, batch, layer)[rows, columns - 1], rows

    def generate(self, model: Module, records: Sequence[Example], size: int = 64) -> list[str]:
        """Greedy answers to the records' prompts, in order.

        An answer ends half as long again after the record's completion, or at the model's last
        position: later tokens change no score.

        Raises:
            InputError: a record has more tokens than the model has positions.
        """
        return self._answers(model, records, size, GREEDY)

    def sample(
        self, model: Module, records: Sequence[Example], k: int, *, seed: int, size: int = 64
    ) -> list[list[str]]:
        """Answers sampled from the model's own distribution: temperature 1, no token left out.

        They end where greedy ones do. The caller's random state is left unchanged.

        Args:
            model: any causal model.
            records: records with the prompts.
            k: answers for each.
            seed: same model, records, k, size and seed, same answers.
            size: answers drawn in parallel.

        Returns:
            k answers for each record, in order.

        Raises:
            InputError: k is less than 1.
        """
        if k < 1:
            raise InputError(f"expected 1 sample or more of each record, got k={k}")
        device = next(model.parameters()).device
        copies = [record for record in records for _ in range(k)]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            texts = self._answers(model, copies, size, DRAWN)
        return [texts[start : start + k] for start in range(0, len(texts), k)]

    @torch.no_grad()
    def _answers(
        self, model: Module, records: Sequence[Example], size: int, habits: Mapping[str, Any]
    ) -> list[str]:
        # Grouped by the completion's length, since every step costs a forward pass of the whole
        # batch
        # while padding before a prompt costs one once.
        order = sorted(range(len(records)), key=lambda i: len(self.encode(records[i])[1]))
        answers = [""] * len(records)
        room = positions(plain_model(model))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            longest = max(len(self.encode(records[i])[0]) for i in chosen)
            # A long prompt leaves no room to others in the batch: then each is answered alone.
            tight = room is not None and longest + _limit(self.encode(records[chosen[-1]])) > room
            for some in [[i] for i in chosen] if tight else [chosen]:
                said = self._said(model, [records[i] for i in some], room, habits)
                for i, text in zip(some, said, strict=True):
                    answers[i] = text
        return answers

    def _said(
        self, model: Module, records: Sequence[Example], room: int | None, habits: Mapping[str, Any]
    ) -> list[str]:
        """A model's answers after each prompt of one batch."""
        encoded = [self.encode(record) for record in records]
        for record, pair in zip(records, encoded, strict=True):
            require_room(record.id, sum(map(len, pair)), room)
        prompts, limits = [prompt for prompt, _ in encoded], [_limit(pair) for pair in encoded]
        with _pinned(model, prompts):
            asked = plain_model(model)
            said = written(asked, prompts, limits, room=room, ends=self._encoder.ends, how=habits)
        return [t.strip() for t in self.tokenizer.batch_decode(said, skip_special_tokens=True)]

    def _may_split_head(self, model: Module, batch: Batch) -> bool:
        """Whether head(body(x)) is the model: some scale or cap their logits after the head.

        It is tested once per model on its first batch, so that no list of architectures can become
        outdated. Only equal bits will do: a cap bends small logits by less than any
        tolerance, and large ones later on by whole nats.
        """
        plain = plain_model(model)
        if plain not in self._head_alone:
            body, head = body_and_head(model)
            first = Batch(
                batch.ids[:1], batch.input_ids[:1], batch.attention_mask[:1], batch.targets[:1]
            )
            with torch.no_grad(), evaluating(plain), _asking(model, first):
                whole = plain(**_inputs(first)).logits
                require_causal(plain, _inputs(first), whole)
                alone = body is not None and head is not None
                if alone:
                    split = head(body(**_inputs(first)).last_hidden_state)
                    alone = torch.equal(whole, split.to(whole.dtype))
            self._head_alone[plain] = alone
        return self._head_alone[plain]

    def _may_share(self, model: Module, batch: Batch) -> int:
        """The number of common leading tokens to read once; 0 where it saves too little."""
        plain = plain_model(model)
        shared = shared_tokens(batch)
        if not shared or torch.is_grad_enabled() or plain.training or isinstance(model, ByPrompt):
            return 0
        if plain not in self._goes_on:
            self._goes_on[plain] = goes_on(body_and_head(model)[0], batch, shared)
        return shared if self._goes_on[plain] else 0


def _rounded(encoded: tuple[list[int], list[int]]) -> int:
    return -(-sum(map(len, encoded)) // WIDTH_STEP) * WIDTH_STEP


def _limit(encoded: tuple[list[int], list[int]]) -> int:
    """The longest generation: half as many tokens again as the answer's, plus a preface."""
    return 3 * len(encoded[1]) // 2 + SLACK


def _inputs(batch: Batch) -> dict[str, Any]:
    ids, mask = batch.input_ids, batch.attention_mask
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


def _within(model: Module, batch: Batch) -> Batch:
    """The batch without padding beyond the model's positions."""
    most = positions(plain_model(model))
    if most is None or batch.input_ids.shape[1] <= most:
        return batch
    lengths = batch.attention_mask.sum(dim=1)
    require_room(batch.ids[int(lengths.argmax())], int(lengths.max()), most)
    cut = batch.input_ids[:, :most], batch.attention_mask[:, :most], batch.targets[:, :most]
    return Batch(batch.ids, *cut)


def _asking(model: Any, batch: Batch) -> AbstractContextManager[Any]:
    """Pass each row's question to a model made of modules: the tokens before its first target."""
    answered = (batch.targets != -100).int().argmax(dim=1).tolist()
    return _pinned(model, [row[:end] for row, end in zip(batch.input_ids, answered, strict=True)])


def _pinned(model: Any, prompts: Sequence[Any]) -> AbstractContextManager[Any]:
    if not isinstance(model, ByPrompt):
        return nullcontext()
    return model.asking([list(map(int, row)) for row in prompts])


def _as_it_is(states: Tensor) -> Tensor:
    return states
