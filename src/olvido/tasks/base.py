"""The interface of tasks: an algorithm's only access to models and data; records by subject."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from torch import Tensor
from torch.nn import Module

from olvido.data.arrays.values import array_content, read_array, read_label
from olvido.data.conversations import MESSAGES, Turn, turns_of
from olvido.data.frames import rows_of
from olvido.errors import InputError, ParameterName
from olvido.registry import Registry

Row = Mapping[str, Any]
Said = tuple[str, str, tuple[Turn, ...], bool]


@dataclass(frozen=True)
class Example:
    """The content of one record, as a task sees it.

    Attributes:
        id: the record's id; two examples with the same id are the same record.
        prompt: the model's input; the user's last turn of a conversation; empty for plain text and
            for arrays.
        completion: the expected answer, the assistant's last turn, the plain text itself, or the
            name of the class.
        fields: the row's other fields (`paraphrases`, `topic`, ...), with an array as `input`,
            read-only.
        history: the turns of a conversation before the prompt; empty where there are none, so that
            one question with its answer is a pair.
        whole: whether the assistant's turns in the history are learned too; not where another
            question is asked after them.
    """

    id: str
    prompt: str
    completion: str
    fields: Row = field(default_factory=dict, compare=False)
    history: tuple[Turn, ...] = ()
    whole: bool = True

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people whom the record is about: its field `subjects`, or `subject`."""
        for name in ("subjects", "subject"):
            given = self.fields.get(name)
            if isinstance(given, Iterable) and not isinstance(given, str):
                people = tuple(map(str, given))
            else:
                people = () if given in (None, "") else (str(given),)
            if people:
                return people
        return ()

    @property
    def said(self) -> Said:
        """All that decides which tokens a model reads and learns."""
        return self.prompt, self.completion, self.history, self.whole

    @property
    def text(self) -> str:
        """All that the record says, turn by turn."""
        before = "".join(f"{content}\n" for _, content in self.history)
        return f"{before}{self.prompt} {self.completion}"

    def asked(self, prompt: str, suffix: str) -> Example:
        """The record's fact behind another question; in a conversation, after what came before."""
        return replace(self, id=f"{self.id}#{suffix}", prompt=prompt, whole=False)


def examples(rows: Iterable[Row | Example], name: str = "rows") -> tuple[Example, ...]:
    """Read plain dictionaries as examples.

    A row has `prompt` and `completion` (or `question` and `answer`), or `text`, or `messages` (a
    conversation, with an optional `system` prompt), or `input` (an array, a tensor, a picture or
    nested lists, of one shape in all rows) and `label`; None counts as missing. `id` is text or a
    whole number and optional: by default it is derived from the content, and the second of two
    equal rows is a record of its own.

    Args:
        rows: the dictionaries, or a table (see `olvido.data.frames`); examples pass through.
        name: their name in an error.

    Raises:
        InputError: a row lacks its content, holds something else than text or finite numbers, has
            another shape than the rows before it, or repeats an id.

    >>> examples([{"prompt": "Who?", "completion": "Ada"}])[0].completion
    'Ada'
    """
    read: list[Example] = []
    seen: set[str] = set()
    shape: tuple[int, ...] | None = None
    for number, row in enumerate(rows_of(rows, name)):
        where = f"{name}[{number}]"
        try:
            example = row if isinstance(row, Example) else example_of(row)
        except InputError as error:
            raise InputError(f"{where}: ", *error.args) from error
        if not isinstance(row, Example) and row.get("id") is None:
            example = another(example, seen)
        if example.id in seen:
            raise InputError(f"{where}: the id {example.id!r} stands twice; ids are unique")
        if not isinstance(row, Example) and (found := _shape(example)) is not None:
            shape = found if shape is None else shape
            if found != shape:
                raise InputError(
                    f"{where}: 'input' has the shape {found}, those before it {shape}: give all "
                    "rows one shape"
                )
        seen.add(example.id)
        read.append(example)
    return tuple(read)


def another(example: Example, seen: Collection[str]) -> Example:
    """A further record with the example's content, where one without an id came before."""
    again, name = 2, example.id
    while name in seen:
        name, again = f"{example.id}-{again}", again + 1
    return replace(example, id=name)


def example_of(row: Row) -> Example:
    """Read one dictionary as an example, as `examples` does; its errors name no row."""
    if not isinstance(row, Mapping):
        raise InputError(f"expected a dictionary, got {type(row).__name__}")
    row = {name: value for name, value in row.items() if value is not None}
    _require_people(row)
    for name, value in row.items():
        if name != "input" and not _encodable(value):
            raise InputError(
                f"{name!r} holds half a character (a lone surrogate such as \\ud800): it "
                "was cut or decoded wrongly where it was written"
            )
    if MESSAGES in row:
        return _conversation(row)
    for prompt_key, completion_key in (("prompt", "completion"), ("question", "answer")):
        either = prompt_key in row or completion_key in row
        # Beside a text, half a question is an ordinary column.
        both = prompt_key in row and completion_key in row
        if both or (either and (prompt_key == "prompt" or "text" not in row)):
            prompt, completion = row.get(prompt_key), row.get(completion_key)
            break
    else:
        if "input" in row and "label" in row:
            return _array_example(row)
        if "text" not in row:
            raise InputError(
                "expected 'prompt' and 'completion', or 'text', or 'messages', or 'input' and "
                f"'label'; got {sorted(row)}"
            )
        prompt_key, completion_key, prompt, completion = "prompt", "text", "", row["text"]
    for key, value in ((prompt_key, prompt), (completion_key, completion)):
        if not isinstance(value, str):
            raise InputError(f"{key!r} must be text, got {type(value).__name__}")
    assert isinstance(prompt, str)
    assert isinstance(completion, str)
    if not completion.strip():
        raise InputError(f"{completion_key!r} is empty; there is nothing to learn from it")
    record_id = _record_id(row, partial(text_content, prompt, completion))
    return Example(record_id, prompt, completion, row)


def _conversation(row: Row) -> Example:
    *history, (_, prompt), (_, completion) = turns_of(row)
    record_id = _record_id(row, partial(text_content, prompt, completion, history))
    return Example(record_id, prompt, completion, row, tuple(history))


def _array_example(row: Row) -> Example:
    array, label = read_array(row["input"]), read_label(row["label"])
    record_id = _record_id(row, partial(array_content, array, label))
    return Example(record_id, "", label, {**row, "input": array})


def _record_id(row: Row, content: Callable[[], bytes]) -> str:
    given = row.get("id")
    if given is None:
        return hashlib.sha256(content()).hexdigest()[:16]
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole and not isinstance(given, str):
        raise InputError(f"'id' must be text or a whole number, got {type(given).__name__}")
    return str(given)


def _require_people(row: Row) -> None:
    """Refuse subjects that are no names: missing numbers and bytes would become people."""
    for name in ("subject", "subjects"):
        given = row.get(name, ())
        several = isinstance(given, list | tuple | set | frozenset | np.ndarray)
        for person in given if several else (given,):
            whole = isinstance(person, int | np.integer) and not isinstance(person, bool)
            if not whole and not isinstance(person, str):
                raise InputError(
                    f"{name!r} must be a name, a whole number or a list of those, got "
                    f"{type(person).__name__}: leave it out where nobody is meant"
                )


def _encodable(value: object) -> bool:
    """Whether all strings in a value can be encoded: no lone surrogates in them."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    elif isinstance(value, Mapping):
        return all(_encodable(key) and _encodable(inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        return all(map(_encodable, value))
    return True


def _shape(example: Example) -> tuple[int, ...] | None:
    array = example.fields.get("input")
    return array.shape if isinstance(array, np.ndarray) else None


def text_content(prompt: str, completion: str, history: Sequence[Turn] = ()) -> bytes:
    """The content of a text record, as bytes: of a conversation all turns before, with roles."""
    content = [*map(list, history), prompt, completion]
    return json.dumps(content, ensure_ascii=False).encode()


class Task(Protocol):
    """An algorithm's only access to a model: one file and one line in `olvido.tasks`.

    Only the task knows the content of its batches. Others may use: `ids` (tuple of text, "" for a
    blank row), `cost` (the summed widths of its rows, padding included) and `to(device)`. B is its
    number of rows, V the number of tokens or classes.

    Attributes:
        name: its name in the registry.
        summary: a description of its records, in a line.
        language: whether records are texts, in batches of tokens (`input_ids`).
        classes: the names of the classes that an answer is one of; none where answers are texts.
        noted: what a model's recipe keeps of the task, as plain values, so that `made` makes the
            same task again.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    language: ClassVar[bool]

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def noted(self) -> dict[str, Any]: ...

    @classmethod
    def made(cls, tokenizer: Any | None, noted: Row, records: Sequence[Example] = ()) -> Self:
        """Make the task of a model: from what is noted of it, and the rest from the records.

        Raises:
            InputError: more is needed; the message names it.
        """
        ...

    @classmethod
    def of(cls, tokenizer: Any | None) -> Self:
        """Make the task for a name or class, with the entry point's tokenizer.

        Raises:
            InputError: more is needed; the message names it.
        """
        ...

    def content(self, example: Example) -> bytes:
        """The content of a record, as canonical bytes, for digests.

        Two records with the same bytes teach the same; the id, and fields outside of batches, are
        not included.
        """
        ...

    def fingerprint(self, example: Example) -> bytes:
        """A model's input and expected answer, as bytes.

        Records with the same fingerprint are indistinguishable for any model; a model's result for
        one fingerprint never has to be computed twice.
        """
        ...

    def width(self, example: Example) -> int:
        """A record's cost, padding included: its tokens, or 1 for an array.

        Raises:
            InputError: the task cannot use the record.
        """
        ...

    def widths(self, examples: Sequence[Example]) -> list[int]:
        """The width of each of many records, each read once.

        Raises:
            InputError: as `width`.
        """
        ...

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> Any:
        """One batch of these records in this order, padded to `width`.

        None stands for a blank: a constant row with id "" and one valid target, whose loss the
        caller multiplies by 0.
        """
        ...

    def batches(self, records: Sequence[Example], size: int) -> Iterator[Any]:
        """All records in batches of at most `size`, those of like length together."""
        ...

    def losses(self, model: Module, batch: Any) -> Tensor:
        """Mean negative log-likelihood per target, one value a record, differentiable. [B]"""
        ...

    def log_probs(self, model: Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Summed log-probability of the targets and their number, one value a record. [B], [B]"""
        ...

    def answer_logits(self, model: Module, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Logits where there is a target: logits [N, V], targets [N], row of each [N]."""
        ...

    def answer_states(
        self, model: Module, batch: Any
    ) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor, Tensor]:
        """The head's inputs where there is a target, and the head: states [N, D], head, targets
        [N], row of each [N].

        `head(states)` are the answer logits. Where head and body cannot be separated, the states
        are the logits and the head is the identity.
        """
        ...

    def logits(self, model: Module, batch: Any) -> Tensor:
        """All logits. [B, T, V] for tokens, [B, V] for classes"""
        ...

    def layers(self, model: Module) -> list[Module]:
        """The modules whose outputs `hidden` returns, by number."""
        ...

    def hidden(self, model: Module, batch: Any, layer: int) -> Tensor:
        """A layer's output. [B, T, D] for tokens (0: the embeddings), [B, ...] for arrays"""
        ...

    def answer_hidden(self, model: Module, batch: Any, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's output where the next token is a target: [N, D], row of each [N]."""
        ...

    def generate(self, model: Module, records: Sequence[Example], size: int) -> list[str]:
        """The model's answers as text: greedy, or the likeliest class."""
        ...


TASKS: Registry[Task] = Registry(
    "task",
    (
        *("collate", "content", "fingerprint", "width", "widths", "batches", "losses"),
        *("log_probs", "language", "made", "noted"),
    ),
    home=__package__,
    group="olvido.tasks",
    made=False,
)
"""Tasks by name."""


def alike(one: Example, other: Example) -> bool:
    """Whether two records teach the same: the same words, or the same class of the same array."""
    this, that = (example.fields.get("input") for example in (one, other))
    if isinstance(this, np.ndarray) and isinstance(that, np.ndarray):
        return one.completion == other.completion and np.array_equal(this, that)
    return _shape(one) == _shape(other) and one.said == other.said


def require_for(task: str, records: Sequence[Example]) -> None:
    """Refuse a model whose task is about arrays where records are texts, and the other way round.

    Args:
        task: the name of the task that the model is for.
        records: the first of them tells.

    Raises:
        InputError: what both are for.
    """
    arrays = bool(records) and _shape(records[0]) is not None
    if arrays != (task == "labels"):
        hold = "arrays: give one for them, such as mlp or convnet" if arrays else "texts"
        raise InputError(f"the model is for the task {task}, and these records are {hold}")


def task_of(tokenizer: Any | None, task: str | type[Task] | Task | None) -> Task:
    """The task for a name, a class or an object, or else language with this tokenizer.

    Raises:
        UnknownName: no task has that name.
        InputError: neither is passed, it is no task, or it cannot be made of a tokenizer alone.
    """
    if task is None:
        if tokenizer is None:
            raise InputError(
                "give the model's ", ParameterName("tokenizer"), " or a ", ParameterName("task")
            )
        task = "language"
    kind = TASKS.find(task)
    if not isinstance(task, str | type):
        return task
    if not hasattr(kind, "of"):
        raise InputError(
            f"{kind.__name__} cannot be made of a tokenizer (it has no `of`): give an object of it "
            "(",
            ParameterName("task"),
            ")",
        )
    return kind.of(tokenizer)
