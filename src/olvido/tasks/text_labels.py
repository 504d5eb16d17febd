"""Labels of texts: a text and the name of its class, for any module that maps tokens to scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from olvido.errors import InputError, ParameterName
from olvido.tasks.base import Example, text_content
from olvido.tasks.batches import WIDTH_STEP
from olvido.tasks.labels import LabelBatch, Labels

LONGEST = 1024
"""Tokens of a record, at the most, where the tokenizer names no limit of its own."""


class TextLabels(Labels):
    """How texts with a class become batches and losses.

    A record's prompt is the text, and its completion the name of its class. A batch's inputs are
    the tokens' ids and the attention mask, [B, 2, T]. The tokenizer adds its own tokens; no chat
    template is used.

    Args:
        tokenizer: of the model.
        classes: their names, in the order of the module's outputs.

    Raises:
        InputError: fewer than two classes, or a repeated one.
    """

    name: ClassVar = "text-labels"
    summary: ClassVar = "texts with the names of their classes, for a classifier of transformers"

    def __init__(self, tokenizer: Any, classes: Sequence[str | int] | int) -> None:
        super().__init__(classes)
        self.tokenizer = tokenizer
        limit = int(tokenizer.model_max_length)
        # A tokenizer without a limit has one of thirty digits.
        self.max_tokens = limit if limit < 10**6 else LONGEST
        self._pad = int(tokenizer.pad_token_id or 0)

    @classmethod
    def of(cls, tokenizer: Any | None) -> Self:
        """Refuse: only the caller knows the classes. See `Task.of`."""
        raise InputError(
            "the task text-labels needs to know its classes: give an object that does, as "
            "olvido.tasks.TextLabels(tokenizer, ['spam', 'ham']) (",
            ParameterName("task"),
            ")",
        )

    @classmethod
    def made(
        cls, tokenizer: Any | None, noted: Mapping[str, Any], records: Sequence[Example] = ()
    ) -> Self:
        """The noted classes, else those of the records; see `Task.made`.

        Raises:
            InputError: there is no tokenizer, or nothing names two classes.
        """
        if tokenizer is None:
            raise InputError("the task text-labels needs the model's ", ParameterName("tokenizer"))
        named = noted.get("classes") or sorted({record.completion for record in records})
        task = cls(tokenizer, list(named))
        for record in records:
            task.read(record)
        return task

    @property
    def noted(self) -> dict[str, Any]:
        """Its name, and the classes in their order."""
        return {"task": self.name, "classes": list(self.classes)}

    def read(self, example: Example) -> tuple[NDArray[Any], int]:
        """The ids of the text's tokens, and the index of the class.

        Raises:
            InputError: no text, an unknown class, or a text that is too long: a cut text is another
                one.
        """
        if not example.prompt:
            raise InputError(
                f"record {example.id!r} has no text beside its class: give the text as the prompt, "
                "and the class as the completion ('olvido data add --prompt text --completion "
                "label')"
            )
        place = self.place(example)
        ids = self.tokenizer(example.prompt)["input_ids"]
        if len(ids) > self.max_tokens:
            raise InputError(
                f"record {example.id!r} has {len(ids)} tokens, at most {self.max_tokens} fit: "
                "split it into several records"
            )
        return np.asarray(ids, dtype=np.int64), place

    def asked(self, given: Any) -> Example:
        """A record for a text whose class is asked for. Raises InputError where it is none."""
        if not isinstance(given, str) or not given.strip():
            raise InputError(f"the model reads a text, got {type(given).__name__} or an empty one")
        return Example("asked", given, self.classes[0])

    def content(self, example: Example) -> bytes:
        """The text and the name of the class, as JSON."""
        self.read(example)
        return text_content(example.prompt, example.completion)

    def width(self, example: Example) -> int:
        """The tokens of a text, rounded up. Raises InputError where it cannot be read."""
        return -(-len(self.read(example)[0]) // WIDTH_STEP) * WIDTH_STEP

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> LabelBatch:
        """One batch of these records in this order, padded on the right to `width` tokens.

        A blank (None) is one padding token of the first class.

        Raises:
            InputError: a record cannot be read.
        """
        blank = np.array([self._pad]), 0
        read = [blank if record is None else self.read(record) for record in records]
        longest = max(len(ids) for ids, _ in read)
        size = max(width or 0, -(-longest // WIDTH_STEP) * WIDTH_STEP)
        inputs = np.zeros((len(read), 2, size), dtype=np.int64)
        inputs[:, 0] = self._pad
        for row, (ids, _) in enumerate(read):
            inputs[row, 0, : len(ids)] = ids
            inputs[row, 1, : len(ids)] = 1
        return LabelBatch(
            tuple("" if record is None else record.id for record in records),
            torch.from_numpy(inputs),
            torch.tensor([place for _, place in read]),
        )

    def batches(self, records: Sequence[Example], size: int) -> Iterator[LabelBatch]:
        """All records in batches of at most `size`, those of like length together."""
        return super().batches(sorted(records, key=self.width), size)
