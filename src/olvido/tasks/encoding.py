"""From prompt and completion to token ids, as the template or the plain text itself gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any

from olvido.errors import InputError

_PROBE = "Qx7Zk"

Span = tuple[int, int]
"""From the first character of a content to behind its last."""


class Encoder:
    """Turns a prompt and a completion into what a model is given and what it has to answer.

    The whole conversation is tokenized at once and then cut where the prompt ends: tokens of the
    two apart are not always tokens of the two together. With a chat template, an answer ends with
    the token that ends a turn there; without one, with the end-of-text token. A special token that
    stands in a record as text stays text.

    Args:
        tokenizer: a Hugging Face tokenizer with an end-of-text token.
        chat: use its chat template.
        separator: stands between prompt and completion without a template, unless one of them
            brings white space of its own.
    """

    def __init__(self, tokenizer: Any, *, chat: bool, separator: str = " ") -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._separator = separator

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer: the end of a turn first, where there is a template."""
        eos: int = self._tokenizer.eos_token_id
        if not self._chat:
            return (eos,)
        turn = [i for i in self._marked_ids(self._tail, []) if i in self._special]
        return tuple(dict.fromkeys([*turn[:1], eos]))

    @cached_property
    def _special(self) -> dict[int, str]:
        """Added tokens that mean something: text by id."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        found = {i: token.content for i, token in added.items() if token.special}
        eos: int = self._tokenizer.eos_token_id
        return found | {eos: self._tokenizer.eos_token}

    def text(self, text: str) -> list[int]:
        """Plain text, ended by the end-of-text token."""
        return [*self._open(self._whole(text, (text,))), self._tokenizer.eos_token_id]

    def prompt(self, prompt: str) -> list[int]:
        """What a model is given before it answers."""
        if not self._chat:
            return self._open(self._whole(prompt, (prompt,)))
        asked = self._asked(prompt)
        return self._marked_ids(asked, [self._question(asked, prompt)])

    def pair(self, prompt: str, completion: str) -> tuple[list[int], list[int]]:
        """What a model is given, and the answer with the token that ends it."""
        if not self._chat:
            return self._plain(prompt, completion)
        asked, whole, answer = self._conversation(prompt, completion)
        question = self._question(asked, prompt)
        given = self._marked_ids(asked, [question])
        ids = self._marked_ids(whole, [question, answer])
        cut = _common(given, ids)
        said = list(takewhile(lambda i: i != self.ends[0], ids[cut:]))
        return ids[:cut], [*said, self.ends[0]]

    def _plain(self, prompt: str, completion: str) -> tuple[list[int], list[int]]:
        spaced = prompt[-1:].isspace() or completion[:1].isspace()
        between, parts = "" if spaced else self._separator, (prompt, completion)
        given = self._open(self._whole(prompt, parts))
        whole = self._open(self._whole(f"{prompt}{between}{completion}", parts))
        cut = _common(given, whole)
        if not cut:
            # One token holds both: the answer has to begin with a token of its own.
            answer = self._marked_ids(between + completion, [(0, len(between + completion))])
            return given, [*answer, self._tokenizer.eos_token_id]
        return whole[:cut], [*whole[cut:], self._tokenizer.eos_token_id]

    def _open(self, ids: list[int]) -> list[int]:
        """Without the end-of-text token that some tokenizers put at the end."""
        return ids[:-1] if ids and ids[-1] == self._tokenizer.eos_token_id else ids

    def _asked(self, prompt: str) -> str:
        return self._rendered([("user", prompt)], True)

    @cached_property
    def _tail(self) -> str:
        """What a template writes behind an answer."""
        whole = self._rendered([("user", _PROBE), ("assistant", _PROBE)], False)
        return whole.rpartition(_PROBE)[2]

    @cached_property
    def _head(self) -> str:
        """What a template writes before a question."""
        return self._asked(_PROBE).partition(_PROBE)[0]

    def _question(self, asked: str, prompt: str) -> Span:
        """Where a question stands, as the template writes it: some cut white space."""
        start = len(self._head)
        written = prompt if asked.startswith(prompt, start) else prompt.strip()
        return start, start + len(written)

    def _conversation(self, prompt: str, completion: str) -> tuple[str, str, Span]:
        """The text before the answer, that with the answer and the end of its turn, and where the
        answer stands in it."""
        asked, tail = self._asked(prompt), self._tail
        whole = self._rendered([("user", prompt), ("assistant", completion)], False)
        body, said = whole.removesuffix(tail), completion.strip()
        if said not in body.removeprefix(asked):
            raise InputError(
                "the chat template does not write an answer as it is given: use chat=False, or "
                "another template"
            )
        if not body.startswith(asked):
            # Some begin an answer of the past in another way than one that is to come.
            body = asked + said
        start = body.rindex(said)
        # Where no token ends the turn, what follows is decoration, and no part of the answer.
        return asked, body + tail if self._marked(tail) else body, (start, start + len(said))

    def _marked(self, text: str) -> bool:
        return any(mark in text for mark in self._special.values())

    def _rendered(self, turns: Sequence[tuple[str, str]], generation: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        text: str = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=generation, tokenize=False
        )
        return text

    def _whole(self, text: str, contents: Sequence[str]) -> list[int]:
        """Token ids of a plain text, with what the tokenizer puts around it."""
        literal = {"split_special_tokens": True} if any(map(self._marked, contents)) else {}
        return list(self._tokenizer(text, add_special_tokens=True, **literal)["input_ids"])

    def _marked_ids(self, text: str, contents: Sequence[Span]) -> list[int]:
        """Token ids of a templated text: special tokens where the template put them, never out of
        the contents."""
        if not any(self._marked(text[start:end]) for start, end in contents):
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        ids: list[int] = []
        for part in self._parts(text, contents):
            ids += [part] if isinstance(part, int) else self._literal(part)
        return ids

    def _literal(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(ids["input_ids"])

    def _parts(self, text: str, contents: Sequence[Span]) -> Iterator[int | str]:
        """The text between the template's special tokens, and their ids."""
        marks = sorted(
            ((m, i) for i, m in self._special.items() if m), key=lambda one: -len(one[0])
        )
        begin = place = 0
        while place < len(text):
            inside = next((end for start, end in contents if start <= place < end), None)
            found = next((one for one in marks if text.startswith(one[0], place)), None)
            if inside is not None or found is None:
                place = inside or place + 1
                continue
            if begin < place:
                yield text[begin:place]
            yield found[1]
            begin = place = place + len(found[0])
        if begin < len(text):
            yield text[begin:]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
