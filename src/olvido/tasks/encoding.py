"""From texts, pairs and conversations to token ids, by chat template or as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import takewhile
from typing import Any

from jinja2 import Environment, TemplateError

from olvido.data.conversations import Turn
from olvido.errors import InputError, ParameterName, Words
from olvido.tasks.base import Said
from olvido.tasks.batches import Encoded

_PROBE = "Qx7Zk"

_DAY = {
    "a": "Fri",
    "A": "Friday",
    "b": "Jul",
    "B": "July",
    "c": "Fri Jul 26 00:00:00 2024",
    "C": "20",
    "d": "26",
    "D": "07/26/24",
    "e": "26",
    "f": "000000",
    "F": "2024-07-26",
    "g": "24",
    "G": "2024",
    "h": "Jul",
    "H": "00",
    "I": "12",
    "j": "208",
    "k": " 0",
    "l": "12",
    "m": "07",
    "M": "00",
    "n": "\n",
    "p": "AM",
    "P": "am",
    "r": "12:00:00 AM",
    "R": "00:00",
    "s": "1721952000",
    "S": "00",
    "t": "\t",
    "T": "00:00:00",
    "u": "5",
    "U": "29",
    "V": "30",
    "w": "5",
    "W": "30",
    "x": "07/26/24",
    "X": "00:00:00",
    "y": "24",
    "Y": "2024",
    "z": "",
    "Z": "",
}
"""The constant time for chat templates that ask for it, by directive of strftime: the first moment
of 26 July 2024, the default date of Llama's templates. A table, since output of strftime depends on
locale, time zone and C library."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
_REMEDY: Words = (ParameterName("chat", False), ", or another template")
_UNSTABLE = ": a record would have other tokens every time. Use "

Span = tuple[int, int]
"""Start of a text's content, and the position behind its end."""


class Encoder:
    """Encodes a conversation, or a prompt and a completion, as model input and expected answer.

    The whole conversation is tokenized at once and then cut where the prompt ends: tokens of the
    parts are not always tokens of the whole. With a chat template, an answer ends with the
    template's end-of-turn token; without one, with the end-of-text token. A special token that
    stands in a record as text stays text.

    Args:
        tokenizer: a Hugging Face tokenizer with an end-of-text token.
        chat: use its chat template.
        separator: placed between prompt and completion without a template, unless one of them has
            white space there.
    """

    def __init__(self, tokenizer: Any, *, chat: bool, separator: str = " ") -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._separator = separator
        self._eos: int = tokenizer.eos_token_id
        # Of plain texts that were tokenized before they are asked for.
        self.known: Mapping[str, list[int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "known": {}}

    @cached_property
    def opening(self) -> list[int]:
        """The tokens before every text."""
        return self.opened(self._whole("", ()))

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer: the end of a turn first, where there is a template."""
        return tuple(dict.fromkeys([*(self._closing[:1] if self._chat else ()), self._eos]))

    @cached_property
    def _closing(self) -> list[int]:
        """The added tokens that a template writes behind an answer; not all are marked special."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        marks = {i for i, token in added.items() if token.content.strip()} | self._special.keys()
        return [i for i in self._marked_ids(self._tail, []) if i in marks]

    @cached_property
    def _special(self) -> dict[int, str]:
        """Added tokens with a meaning: text by id."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        found = {i: token.content for i, token in added.items() if token.special}
        return found | {self._eos: self._tokenizer.eos_token}

    def record(self, prompt: str, completion: str, history: Sequence[Turn], whole: bool) -> Encoded:
        """A pair, a conversation, or the text of a record without a prompt: see `Example`."""
        if prompt:
            return self.pair(prompt, completion, history, earlier=whole)
        return self.text(completion)

    def plain_texts(self, given: Iterable[Said]) -> list[str]:
        """The texts that `record` asks the tokenizer for, where it asks for plain texts alone."""
        texts: list[str] = []
        for prompt, completion, history, _ in given if not self._chat else ():
            if not history and not self._marked(prompt) and not self._marked(completion):
                joined = f"{prompt}{self._between(prompt, completion)}{completion}"
                texts += (prompt, joined) if prompt else (completion,)
        return texts

    def text(self, text: str) -> Encoded:
        """Plain text, ended by the end-of-text token; all but its first token is the answer."""
        ids = [*self.opened(self._whole(text, (text,))), self._eos]
        return Encoded(ids[:1], ids[1:], text=True)

    def prompt(self, prompt: str) -> list[int]:
        """A model's input before it answers."""
        if not self._chat:
            return self.opened(self._whole(prompt, (prompt,)))
        asked = self._rendered([("user", prompt)], True)
        return self._marked_ids(asked, [self._question(asked, prompt)])

    def pair(
        self, prompt: str, completion: str, history: Sequence[Turn] = (), *, earlier: bool = True
    ) -> Encoded:
        """A model's input, and the answer with the token that ends it.

        Without a template, the turns before an answer are joined by the separator, and each
        answer ends with the end-of-text token.

        Args:
            prompt: the last question.
            completion: the last answer.
            history: what came before.
            earlier: whether the assistant's turns in the history are to be predicted too.
        """
        if not self._chat:
            return self._joined(prompt, completion, history, earlier)
        asked, whole, answer = self._conversation([*history, ("user", prompt)], completion)
        spans = self._spans(history, prompt, asked)
        given = self._marked_ids(asked, spans)
        ids = self._marked_ids(whole, [*spans, answer])
        cut = _common(given, ids)
        said, end = ids[cut:], self.ends[0]
        # The answer may contain the same token as text, where it is not marked special.
        places = [place for place, i in enumerate(said) if i == end][-self._closing.count(end) :]
        if places and self._closing:
            said = said[: places[0]]
        answers = [n for n, (role, _) in enumerate(history) if role == "assistant" and earlier]
        found = (self._place(asked, spans[: n + 1], ids) for n in answers)
        return Encoded(ids[:cut], [*said, end], tuple(found))

    def _place(self, asked: str, spans: Sequence[Span], ids: Sequence[int]) -> Span:
        """The tokens of an earlier answer, with the token that ends its turn: the last span."""
        *before, (start, end) = spans
        if self._stop and asked.startswith(self._stop, end):
            end += len(self._stop)
        first = _common(self._marked_ids(asked[:start], before), ids)
        last = _common(self._marked_ids(asked[:end], spans), ids)
        return first, max(last, first + 1)

    def _spans(self, history: Sequence[Turn], prompt: str, asked: str) -> list[Span]:
        """The positions of the contents in the templated text, each found by writing another
        content in its place: a template may write a turn in its own way."""
        if not history:
            return [self._question(asked, prompt)]
        turns, found = [*history, ("user", prompt)], list[Span]()
        probe = _PROBE
        while probe in asked:
            probe += _PROBE
        for number, (role, content) in enumerate(turns):
            other = self._rendered([*turns[:number], (role, probe), *turns[number + 1 :]], True)
            before, _, behind = other.partition(probe)
            start, end = len(before), len(asked) - len(behind)
            if asked[:start] != before or asked[start:end].strip() != content.strip():
                raise InputError(
                    f"the chat template does not write turn {number + 1} of a conversation as it "
                    "is given: use ",
                    *_REMEDY,
                )
            found.append((start, end))
        return found

    def _joined(
        self, prompt: str, completion: str, history: Sequence[Turn], earlier: bool
    ) -> Encoded:
        ids: list[int] = []
        places: list[Span] = []
        context: list[str] = []
        for role, content in (*history, ("user", prompt), ("assistant", completion)):
            if role != "assistant":
                context.append(content)
                continue
            asked, answer = self._plain(self._separator.join(context), content, first=not ids)
            places.append((len(ids) + len(asked), len(ids) + len(asked) + len(answer)))
            ids += asked + answer
            context = []
        cut = places.pop()[0]
        return Encoded(ids[:cut], ids[cut:], tuple(places) if earlier else ())

    def _plain(
        self, prompt: str, completion: str, *, first: bool = True
    ) -> tuple[list[int], list[int]]:
        """An exchange in plain text; a tokenizer's own tokens stand before the first one."""
        between, parts = self._between(prompt, completion), (prompt, completion)
        given = self.opened(self._whole(prompt, parts, opened=first))
        whole = self.opened(self._whole(f"{prompt}{between}{completion}", parts, opened=first))
        cut = _common(given, whole)
        if not cut:
            # One token spans both: the answer has to begin with a token of its own.
            answer = self._marked_ids(between + completion, [(0, len(between + completion))])
            return given, [*answer, self._eos]
        return whole[:cut], [*whole[cut:], self._eos]

    def _between(self, prompt: str, completion: str) -> str:
        return "" if prompt[-1:].isspace() or completion[:1].isspace() else self._separator

    def opened(self, ids: list[int]) -> list[int]:
        """Drop the end-of-text token that some tokenizers append."""
        return ids[:-1] if ids and ids[-1] == self._eos else ids

    @cached_property
    def _stop(self) -> str:
        """The text behind an answer up to the token that ends its turn; empty without one."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        marks = {i: token.content for i, token in added.items()} | self._special
        if not self._closing:
            return ""
        before, mark, _ = self._tail.partition(marks[self._closing[0]])
        return before + mark

    @cached_property
    def _tail(self) -> str:
        """The text that a template writes behind an answer."""
        whole = self._rendered([("user", _PROBE), ("assistant", _PROBE)], False)
        return whole.rpartition(_PROBE)[2]

    @cached_property
    def _head(self) -> str:
        """The text that a template writes before a question."""
        return self._rendered([("user", _PROBE)], True).partition(_PROBE)[0]

    def _question(self, asked: str, prompt: str) -> Span:
        """The position of a question in the templated text: some templates strip white space."""
        start = len(self._head)
        written = prompt if asked.startswith(prompt, start) else prompt.strip()
        return start, start + len(written)

    def _conversation(self, turns: Sequence[Turn], completion: str) -> tuple[str, str, Span]:
        """The text before the answer, the text with the answer and the end of its turn, and the
        answer's position in it."""
        asked, tail = self._rendered(turns, True), self._tail
        whole = self._rendered([*turns, ("assistant", completion)], False)
        body, said = whole.removesuffix(tail), completion.strip()
        if said not in body.removeprefix(asked):
            raise InputError(
                "the chat template does not write an answer as it is given: use ",
                *_REMEDY,
            )
        if not body.startswith(asked):
            # Some begin an answer in the history in another way than one that is to be generated.
            body = asked + said
        start = body.rindex(said)
        # Without a token that ends the turn, the rest is decoration, and no part of the answer.
        return asked, body + tail if self._closing else body, (start, start + len(said))

    def _marked(self, text: str) -> bool:
        return any(mark in text for mark in self._special.values())

    def _rendered(self, turns: Sequence[Turn], generation: bool) -> str:
        return rendered(self._tokenizer, turns, generation=generation)

    def _whole(self, text: str, contents: Sequence[str], *, opened: bool = True) -> list[int]:
        """Token ids of a plain text, with the tokenizer's additions around it."""
        if opened and text in self.known:
            return self.known[text]
        literal = {"split_special_tokens": True} if any(map(self._marked, contents)) else {}
        return list(self._tokenizer(text, add_special_tokens=opened, **literal)["input_ids"])

    def _marked_ids(self, text: str, contents: Sequence[Span]) -> list[int]:
        """Token ids of a templated text: special tokens where the template put them, never inside
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


def rendered(tokenizer: Any, turns: Sequence[Turn], *, generation: bool) -> str:
    """A conversation as the tokenizer's chat template writes it, the same on any day.

    A template that writes the date always gets the same day: with the current one, a record would
    have other tokens tomorrow, and a replay would train on another text.

    Args:
        tokenizer: a tokenizer with a chat template.
        turns: role and content of each turn.
        generation: whether an answer is to follow.

    Raises:
        InputError: the template cannot write it, or its text would differ next time.
    """
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        template = _fixed(tokenizer.get_chat_template())
        text: str = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=generation,
            tokenize=False,
        )
    except TemplateError as error:
        raise InputError(
            f"the chat template cannot write a record ({error}): use ", *_REMEDY
        ) from error
    if _ADDRESS.search(text):
        raise InputError(
            "the chat template writes where a value lies in memory", _UNSTABLE, *_REMEDY
        )
    return text


@cache
def _fixed(template: str) -> str:
    """The template with a constant clock of its own, where it asks for the time.

    Raises:
        InputError: it uses random values.
    """
    for _, kind, value in Environment().lex(template):
        if kind in ("name", "string") and value.strip("'\"") in ("random", "lipsum"):
            raise InputError(f"the chat template writes what {value!r} draws", _UNSTABLE, *_REMEDY)
    if "strftime_now" not in template:
        return template
    # Transformers passes nothing callable to a template, so the clock is written in its language.
    said = "form.replace('%%', '\\0')"
    for directive, value in _DAY.items():
        short = value.strip().lstrip("0") or "0" if value.strip().isdecimal() else value
        said += f".replace('%{directive}', {value!r}).replace('%-{directive}', {short!r})"
    said += ".replace('\\0', '%')"
    return f"{{% macro strftime_now(form) %}}{{{{ {said} }}}}{{% endmacro %}}\n{template}"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of two sequences' common beginning."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return len(one) if other[: len(one)] == one else sum(1 for _ in same)
