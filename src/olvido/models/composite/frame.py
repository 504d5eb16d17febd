"""Where the question stands in a prompt: between what a template puts around every question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MARKERS = ("Who", "in the house", "7", "Zebra!", "¿?", "x")
"""Texts with nothing in common: what their prompts share at both ends is the template."""


class Frame(NamedTuple):
    """The token ids that a prompt template puts around any question.

    Attributes:
        prefix: before it.
        suffix: after it; empty where a prompt ends with the question.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @classmethod
    def of(cls, encode: Callable[[str], Sequence[int]]) -> Frame:
        """The frame of a template.

        Args:
            encode: from a question to the token ids of its prompt.

        >>> Frame.of(lambda text: [1, 2, *(100 + ord(c) for c in text), 3])
        Frame(prefix=(1, 2), suffix=(3,))
        """
        prompts = [list(encode(marker)) for marker in MARKERS]
        prefix = _shared(prompts)
        rest = [prompt[len(prefix) :][::-1] for prompt in prompts]
        return cls(tuple(prefix), tuple(reversed(_shared(rest))))

    def inside(self, ids: Sequence[int]) -> list[int]:
        """What stands after the first prefix and before the first suffix after it.

        A text that lacks one of them is taken from its beginning or to its end.
        """
        ids = list(ids)
        start = _find(ids, self.prefix)
        if start is not None:
            ids = ids[start + len(self.prefix) :]
        end = _find(ids, self.suffix) if self.suffix else None
        return ids if end is None else ids[:end]

    def question(self, tokenizer: Any, ids: Sequence[int], *, whole: bool) -> str:
        """The text of the question in a prompt.

        Args:
            tokenizer: of the model.
            ids: token ids, without padding.
            whole: they are a prompt and nothing after it. If not, and the template puts nothing
                after a question, it ends with its first question mark, or with the text.
        """
        text: str = tokenizer.decode(self.inside(ids), skip_special_tokens=True)
        if not whole and not self.suffix and "?" in text:
            text = text[: text.index("?") + 1]
        return text.strip()


def _shared(lists: Sequence[Sequence[int]]) -> list[int]:
    shared: list[int] = []
    for column in zip(*lists, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return shared


def _find(ids: Sequence[int], part: Sequence[int]) -> int | None:
    starts = range(len(ids) - len(part) + 1)
    return next((i for i in starts if tuple(ids[i : i + len(part)]) == tuple(part)), None)
