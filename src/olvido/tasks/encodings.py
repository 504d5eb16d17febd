"""Records as token ids, made when they are asked for; only the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from olvido.errors import InputError
from olvido.tasks.base import Example, Said
from olvido.tasks.batches import Encoded, rounded
from olvido.tasks.encoding import Encoder

HELD = 10_000
"""Records of a dataset that are held in memory; more are read when they are asked for."""
MOST = 2**20
"""Tokens of the records that are kept: some 40 MB, whatever the number of records."""
TOGETHER = 1000
"""Records that are tokenized in one call."""
_ASKED = ("__call__", "_encode_plus")
"""Methods between a call of a tokenizer and its part in Rust."""


class Encodings:
    """The token ids of records, of which those made last are kept, up to `MOST` tokens.

    Args:
        tokenizer: the encoder's.
        encoder: makes them.
        max_tokens: see `Language`.
    """

    def __init__(self, tokenizer: Any, encoder: Encoder, max_tokens: int) -> None:
        self._tokenizer, self._encoder, self._max = tokenizer, encoder, max_tokens
        self._encoded: OrderedDict[Said, Encoded] = OrderedDict()
        self._fingerprints: dict[Said, bytes] = {}
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._encoded)

    def __getstate__(self) -> dict[str, Any]:
        """Drop what is kept when sent to another process: records that are not sent along must not
        reach it this way."""
        kept = {"_encoded": OrderedDict(), "_fingerprints": {}, "_tokens": 0}
        return {**vars(self), **kept}

    def of(self, example: Example) -> Encoded:
        """One record's; see `Language.encode`."""
        key = example.said
        if key not in self._encoded:
            found = self._encoder.record(*key)
            if found.size > self._max and not found.text:
                raise InputError(
                    f"record {example.id!r} has {found.size} tokens, at most "
                    f"{self._max} fit: split it into several records"
                )
            if not found.prompt or not found.answer:
                raise InputError(f"record {example.id!r} has no token to predict")
            self._encoded[key] = found
            self._tokens += found.size
            while self._tokens > MOST and len(self._encoded) > 1:
                oldest, gone = self._encoded.popitem(last=False)
                self._tokens -= gone.size
                self._fingerprints.pop(oldest, None)
            return found
        return self._encoded[key]

    def ahead(self, examples: Iterable[Example]) -> None:
        """Tokenize together the texts of those that are not kept, which is several times faster;
        `of` makes the same of them as without this."""
        fresh = [one.said for one in examples if one.said not in self._encoded]
        if len(fresh) > 1:
            texts = self._encoder.plain_texts(fresh)
            self._encoder.known = tokenized(self._tokenizer, texts)

    def widths(self, examples: Sequence[Example]) -> list[int]:
        """The width of each record.

        The tokens of records that are not in memory, or are more than `HELD`, are not kept.
        """
        found: list[int] = []
        counted = len(examples) > HELD or not isinstance(examples, tuple | list)
        rest = iter(examples)
        while some := list(islice(rest, TOGETHER)):
            # The tokens of so many would not be kept until they are used.
            sizes = self._sizes(some) if counted else {}
            self.ahead(one for one in some if one.id not in sizes)
            sizes |= {one.id: self.of(one).size for one in some if one.id not in sizes}
            found += [rounded(sizes[one.id]) for one in some]
        return found

    def _sizes(self, some: Sequence[Example]) -> dict[str, int]:
        """How many tokens those have that are the tokens of one text and an end: where tokens stand
        before any text, a prompt and the text that it begins share those at least."""
        opening, found = self._encoder.opening, dict[str, int]()
        if opening:
            texts = {one.id: self._encoder.plain_texts([one.said])[-1:] for one in some}
            ids = tokenized(self._tokenizer, [text for one in texts.values() for text in one])
            for one in some:
                for text in texts[one.id]:
                    said = self._encoder.opened(ids.get(text, []))
                    if said[: len(opening)] == opening and len(said) < self._max:
                        found[one.id] = len(said) + 1
        return found

    def fingerprint(self, example: Example) -> bytes:
        """See `Language.fingerprint`."""
        key = example.said
        if key not in self._fingerprints:
            found = self.of(example)
            more = [place for span in found.earlier for place in (-1, *span)]
            if found.size > self._max:
                more = [-2, self._max]
            ids = np.array([len(found.prompt), *found.prompt, *found.answer, *more], dtype=np.int64)
            self._fingerprints[key] = ids.tobytes()
        return self._fingerprints[key]


def tokenized(tokenizer: Any, texts: Sequence[str]) -> dict[str, list[int]]:
    """The ids of each text with the tokenizer's additions; none where Python has a part in them."""
    from transformers import PreTrainedTokenizerFast as Fast

    kind = type(tokenizer)
    if not issubclass(kind, Fast) or any(getattr(kind, n) is not getattr(Fast, n) for n in _ASKED):
        return {}
    # The call turns off what another call may have turned on: padding, truncation.
    tokenizer("")
    found = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=True)
    return {text: one.ids for text, one in zip(texts, found, strict=True)}
