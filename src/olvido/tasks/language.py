"""Language: pairs, conversations or plain text, for any Hugging Face causal model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError, ParameterName
from olvido.models.router import ByPrompt
from olvido.tasks.base import Example, text_content
from olvido.tasks.batches import Batch, Encoded, Windows, padded, windows
from olvido.tasks.blocks import (
    blocks_of,
    body_and_head,
    evaluating,
    given_to,
    plain_model,
    require_causal,
)
from olvido.tasks.encoding import Encoder
from olvido.tasks.encodings import HELD, Encodings
from olvido.tasks.generation import (
    DRAWN,
    GREEDY,
    Question,
    answered,
    asking,
    goes_on,
    positions,
    reread,
    shared_tokens,
)

SLACK = 64
"""Tokens an answer may run past half again the record's completion: room for a polite preface."""


class Language:
    """How records become token batches and losses.

    With a prompt, only the completion and the end-of-text token count; of a conversation every turn
    of the assistant. Plain text counts from its second token on; of more than `max_tokens`, or of
    more than the model has positions, it is read in windows, which together are one record: each
    counts from its second token on. A tokenizer with a chat template gets it, unless `chat` is
    False. The attention
    mask follows the lengths, never the ids, so a pad token equal to the end-of-text token hides
    nothing.

    Args:
        tokenizer: a Hugging Face tokenizer with an end-of-text token.
        max_tokens: longer pairs and conversations are refused rather than cut: a cut record is
            another record. Longer texts are read in windows.
        chat: use the tokenizer's chat template; None: when it has one.
        separator: text between prompt and completion without a template.

    Raises:
        InputError: the tokenizer has no end-of-text token, or no chat template where asked for.
    """

    name: ClassVar = "language"
    summary: ClassVar = "pairs, conversations or plain text, for any Hugging Face causal model"
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
        self._encodings = Encodings(tokenizer, self._encoder, max_tokens)
        self._head_alone: WeakKeyDictionary[Module, bool] = WeakKeyDictionary()
        self._goes_on: WeakKeyDictionary[Module, bool] = WeakKeyDictionary()

    @classmethod
    def of(cls, tokenizer: Any | None) -> Self:
        """Language with this tokenizer; see `Task.of`."""
        if tokenizer is None:
            raise InputError("the task language needs the model's ", ParameterName("tokenizer"))
        return cls(tokenizer)

    @classmethod
    def made(
        cls, tokenizer: Any | None, noted: Mapping[str, Any], records: Sequence[Example] = ()
    ) -> Self:
        """Language with this tokenizer and the noted choice of its template; see `Task.made`."""
        if tokenizer is None:
            return cls.of(tokenizer)
        return cls(tokenizer, chat=noted.get("chat"))

    @property
    def noted(self) -> dict[str, Any]:
        """Whether the tokenizer's chat template is used."""
        return {"chat": self.chat}

    def __getstate__(self) -> dict[str, Any]:
        """Drop what is known about models when sent to another process."""
        return {**vars(self), "_head_alone": None, "_goes_on": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _head_alone=WeakKeyDictionary(), _goes_on=WeakKeyDictionary())

    def encode(self, example: Example) -> Encoded:
        """Token ids of the prompt, with all that came before, and of the expected answer.

        Raises:
            InputError: a record that is no text is longer than `max_tokens`, or there is nothing to
                predict.
        """
        return self._encodings.of(example)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Token ids of a model's input before it answers."""
        return self._encoder.prompt(prompt)

    def content(self, example: Example) -> bytes:
        """Prompt and completion, as JSON; before them the earlier turns of a conversation."""
        return text_content(example.prompt, example.completion, example.history)

    def fingerprint(self, example: Example) -> bytes:
        """The token ids of the prompt and of the answer, after the length of the prompt.

        Behind them the places of earlier answers, or the window of a text that is read in several.
        """
        return self._encodings.fingerprint(example)

    def width(self, example: Example) -> int:
        """The tokens of a record, rounded up."""
        return self.encode(example).width

    def widths(self, examples: Sequence[Example]) -> list[int]:
        """The width of each record; their texts are tokenized together."""
        if type(self).encode is not Language.encode:
            # A task of somebody else's makes tokens in its own way, one record at a time.
            return [self.width(example) for example in examples]
        return self._encodings.widths(examples)

    def fits(self, model: Module, example: Example) -> bool:
        """Whether a model can read the record: a text always, all else at once."""
        try:
            found = self.encode(example)
        except InputError:
            return False
        room = positions(plain_model(model)) or found.size
        return found.text or found.size <= room

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> Batch:
        """One batch of these records in this order, padded on the right to `width` tokens.

        A blank (None) is two end-of-text tokens, the second of which is to be predicted.
        """
        eos: int = self.tokenizer.eos_token_id
        self._encodings.ahead(record for record in records if record is not None)
        blank = Encoded([eos], [eos])
        encoded = [blank if record is None else self.encode(record) for record in records]
        names = ["" if record is None else record.id for record in records]
        width = width or max(one.width for one in encoded)
        return padded(names, encoded, width=width, pad=self._pad, window=self.max_tokens)

    def batches(self, records: Sequence[Example], size: int) -> Iterator[Batch]:
        """All records in batches of at most `size`, those of like length together.

        A text counts once for each window of `max_tokens`.
        """
        some: list[Example] = []
        rows = 0
        # Their tokens are kept, where so many records may be in memory.
        records = tuple(records) if len(records) <= HELD else records
        widths = self.widths(records)
        for place in sorted(range(len(records)), key=widths.__getitem__):
            record = records[place]
            count = -(-self.encode(record).size // self.max_tokens)
            if some and rows + count > size:
                yield self.collate(some)
                some, rows = [], 0
            some.append(record)
            rows += count
        if some:
            yield self.collate(some)

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
        cut = self.windows(model, batch)
        part = cut.batch
        rows, columns = torch.nonzero(part.targets != -100, as_tuple=True)
        targets, records = part.targets[rows, columns], cut.records(rows)
        if self._may_split_head(model, part):
            body, head = body_and_head(model)
            if shared := self._may_share(model, part):
                states = reread(body, part, shared)
                return states[rows, columns - 1 - shared], head, targets, records
            with asking(model, batch, cut):
                states = body(**_inputs(part)).last_hidden_state
            return states[rows, columns - 1], head, targets, records
        logits = self._logits(model, batch, cut)
        return logits[rows, columns - 1], _as_it_is, targets, records

    def windows(self, model: Module, batch: Batch) -> Windows:
        """The batch as a model reads it.

        Raises:
            InputError: a record that is no text has more tokens than the model has positions.
        """
        return windows(batch, positions(plain_model(model)))

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
        cut = self.windows(model, batch)
        return cut.whole(self._logits(model, batch, cut))

    def _logits(self, model: Module, batch: Batch, cut: Windows) -> Tensor:
        with asking(model, batch, cut):
            found: Tensor = plain_model(model)(**_inputs(cut.batch)).logits
        return found

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
        cut = self.windows(model, batch)
        return cut.whole(self._hidden(model, batch, cut, layer))

    def _hidden(self, model: Module, batch: Batch, cut: Windows, layer: int) -> Tensor:
        inputs = _inputs(cut.batch)
        blocks = [] if isinstance(model, ByPrompt) else blocks_of(plain_model(model))
        if 0 <= layer < len(blocks):
            return given_to(blocks[layer], lambda: plain_model(model)(**inputs))
        with asking(model, batch, cut):
            found = plain_model(model)(**inputs, output_hidden_states=True).hidden_states
        state: Tensor = found[layer]
        return state

    def answer_hidden(self, model: Module, batch: Batch, layer: int) -> tuple[Tensor, Tensor]:
        """Hidden states that lead to a target: [N, D], row of each [N]."""
        cut = self.windows(model, batch)
        rows, columns = torch.nonzero(cut.batch.targets != -100, as_tuple=True)
        states = self._hidden(model, batch, cut, layer)
        return states[rows, columns - 1], cut.records(rows)

    def generate(self, model: Module, records: Sequence[Example], size: int = 64) -> list[str]:
        """Greedy answers to the records' prompts, in order.

        An answer ends half as long again after the record's completion, or at the model's last
        position: later tokens change no score. A text's is no longer than a window.

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

    def _answers(
        self, model: Module, records: Sequence[Example], size: int, habits: Mapping[str, Any]
    ) -> list[str]:
        asked = [self._question(record) for record in records]
        if not asked:
            return []
        said = answered(model, asked, size, ends=self._encoder.ends, how=habits)
        return [t.strip() for t in self.tokenizer.batch_decode(said, skip_special_tokens=True)]

    def _question(self, record: Example) -> Question:
        """The longest answer has half as many tokens again as the record's, plus a preface."""
        found = self.encode(record)
        limit = 3 * len(found.answer) // 2 + SLACK
        if found.size > self.max_tokens:
            limit = min(limit, self.max_tokens)
        return Question(record.id, found.prompt, limit, 2 if found.text else found.size)

    def _may_split_head(self, model: Module, batch: Batch) -> bool:
        """Whether head(body(x)) is the model: some scale or cap their logits after the head.

        It is tested once per model on its first batch, so that no list of architectures can become
        outdated. Only equal bits will do: a cap bends small logits by less than any
        tolerance, and large ones later on by whole nats.
        """
        plain = plain_model(model)
        if plain not in self._head_alone:
            body, head = body_and_head(model)
            one = batch.input_ids[:1], batch.attention_mask[:1], batch.targets[:1]
            first = Batch(batch.ids[:1], *one)
            with torch.no_grad(), evaluating(plain), asking(model, first, Windows(first)):
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
        # First what costs nothing: a training asks in every step.
        if torch.is_grad_enabled() or plain.training or isinstance(model, ByPrompt):
            return 0
        shared = shared_tokens(batch)
        if not shared:
            return 0
        if plain not in self._goes_on:
            self._goes_on[plain] = goes_on(body_and_head(model)[0], batch, shared)
        return shared if self._goes_on[plain] else 0


def _inputs(batch: Batch) -> dict[str, Any]:
    ids, mask = batch.input_ids, batch.attention_mask
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


def _as_it_is(states: Tensor) -> Tensor:
    return states
