"""The served model of modules: a frozen base, one adapter for each module, and a router.

A question goes to the module with the nearest taught question, or to the base alone. A module's
knowledge lies in its adapter and nowhere else, so removing it removes the knowledge.

The question in a prompt stands between the template's prefix and suffix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, StateError, UnknownName
from olvido.files import make_folder, write_document
from olvido.models.adapter import (
    Adapter,
    adapted_layers,
    adapter_on,
    names,
    put_on,
    shared_weights_copy,
    stripped,
    take_off,
)
from olvido.models.folder import read_causal
from olvido.models.router import ByPrompt, RoutedQuestion, Router

MARKERS = ("Who", "in the house", "7", "Zebra!", "¿?", "x")
"""Texts with nothing in common: the common ends of their prompts are the template."""


class PromptTemplate(NamedTuple):
    """The token ids that a prompt template puts around any question.

    Attributes:
        prefix: before the question.
        suffix: after it; empty where a prompt ends with the question.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @classmethod
    def of(cls, encode: Callable[[str], Sequence[int]]) -> PromptTemplate:
        """Find the prefix and suffix of a template.

        Args:
            encode: from a question to the token ids of its prompt.

        >>> PromptTemplate.of(lambda text: [1, 2, *(100 + ord(c) for c in text), 3])
        PromptTemplate(prefix=(1, 2), suffix=(3,))
        """
        prompts = [list(encode(marker)) for marker in MARKERS]
        prefix = _shared(prompts)
        rest = [prompt[len(prefix) :][::-1] for prompt in prompts]
        return cls(tuple(prefix), tuple(reversed(_shared(rest))))

    def inside(self, ids: Sequence[int]) -> list[int]:
        """The tokens after the first prefix and before the first suffix after it.

        Without one of them, they start at the beginning or stop at the end.
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
            tokenizer: the model's.
            ids: token ids, without padding.
            whole: the tokens are a prompt and nothing after it. If not, and the template has no
                suffix, the question ends with its first question mark, or with the text.
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


FORMAT = 1
MARK, BASE, MODULES = "routed.json", "base", "modules"
NOBODY = "__base__"
"""PEFT's word for a row without an adapter."""


class Routed(ByPrompt):
    """One Hugging Face causal model to its callers; inside, each row of a batch has its module.

    It is always in evaluation mode inside. Hooks on the adapted layers route rows during a
    forward pass, so one object serves one thread at a time.

    Args:
        base: a Hugging Face causal model without adapters; it is not changed, and its tensors are
            shared.
        tokenizer: the base's.
        router: an index without rows, or with the rows of `adapters`.
        template: the prompt template around a question.
        adapters: by module name.

    Attributes:
        model: the base under its adapters.
        router: from a question to a module.

    Raises:
        InputError: an adapter that does not fit, or rows of a missing module.
    """

    def __init__(
        self,
        base: Any,
        tokenizer: Any,
        *,
        router: Router,
        template: PromptTemplate,
        adapters: Mapping[str, Adapter] | None = None,
    ) -> None:
        super().__init__()
        model = shared_weights_copy(base)
        put_on(model, adapters or {})
        self._hold(model, tokenizer, router, template)

    def _hold(self, model: Any, tokenizer: Any, router: Router, template: PromptTemplate) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.router = router
        self.template = template
        self._sending: list[str] | None = None
        self.training = False
        if astray := sorted(set(router.module_names).difference(self.module_names)):
            raise InputError(f"the router sends questions to {astray[0]}, which is not there")

    @property
    def module_names(self) -> list[str]:
        """The modules, sorted."""
        return names(self.model)

    # The interface of a Hugging Face model.

    @property
    def config(self) -> Any:
        """The base model's configuration."""
        return self.model.config

    @property
    def generation_config(self) -> Any:
        """The base model's generation configuration."""
        return self.model.generation_config

    @property
    def device(self) -> torch.device:
        """The device of base and adapters."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The base model's type."""
        return self.model.dtype

    @property
    def base_model(self) -> Any:
        """The body without the head; its rows reach their modules only within `asking`."""
        return self.model.base_model

    def get_output_embeddings(self) -> Any:
        """The head, which no module changes."""
        return self.model.get_output_embeddings()

    def get_input_embeddings(self) -> Any:
        """The embeddings, which no module changes."""
        return self.model.get_input_embeddings()

    def train(self, mode: bool = True) -> Routed:
        """Store the mode; the served model stays in evaluation mode."""
        self.training = mode
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """One pass with every row in its module.

        Args:
            input_ids: token ids, padded on either side. [B, T]
            attention_mask: 1 where a token stands; None: everywhere. [B, T]
            labels: as Hugging Face has them; a row's question ends before its first label, unless
                labels begin with the text. [B, T]
            more: passed on.

        Returns:
            A `CausalLMOutput` of the base's kind.

        Raises:
            InputError: the question cannot be found in the input, and no route is pinned.
        """
        routes = self._sending
        if routes is None:
            cache = more.get("past_key_values")
            begun = cache is not None and cache.get_seq_length() > 0
            routes = self._routes(None if begun else input_ids, attention_mask, labels)
        with self._sent(routes):
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, labels=labels, **more
            )

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """Continue every row by its own module, in one pass; arguments are Hugging Face's."""
        routes = self._sending or self._routes(input_ids, attention_mask, None)
        with self._sent(routes):
            return self.model.generate(inputs=input_ids, attention_mask=attention_mask, **more)

    @contextmanager
    def asking(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[str | None]]:
        """Pin the routes of the rows of all passes within: no question is searched for in them.

        Args:
            prompts: the token ids of each row's prompt, without padding, and nothing after it.

        Yields:
            The module of each row; None for the base.
        """
        routes = self.route(prompts)
        with self._sent([route or NOBODY for route in routes]):
            yield routes

    def route(self, prompts: Sequence[Sequence[int]]) -> list[str | None]:
        """The module of each prompt, as token ids; None for the base."""
        return self.router.route([self.question(prompt) for prompt in prompts])

    def question(self, prompt: Sequence[int]) -> str:
        """The text between the template's prefix and suffix."""
        return self.template.question(self.tokenizer, prompt, whole=True)

    def _routes(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, labels: Tensor | None
    ) -> list[str]:
        if input_ids is None:
            raise InputError(
                "a routed model finds its module by the question in input_ids: give all of them, "
                "or pin the routes with `with model.asking(prompts):`"
            )
        questions: list[str] = []
        for row, ids in enumerate(input_ids):
            there = torch.ones_like(ids) if attention_mask is None else attention_mask[row]
            first = int(there.argmax())
            whole = False
            if labels is not None and bool((counted := labels[row] != -100).any()):
                answer = int(counted.int().argmax())
                # Labels that begin with the text do not mark where a question ends.
                if answer > first + 1:
                    there, whole = there[:answer], True
            tokens = ids[: len(there)][there.bool()].tolist()
            questions.append(self.template.question(self.tokenizer, tokens, whole=whole))
        return [route or NOBODY for route in self.router.route(questions)]

    @contextmanager
    def _sent(self, routes: Sequence[str]) -> Iterator[None]:
        """Route rows to their modules within the block."""

        def send(layer: Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            now = self._sending or ()
            # Beams and repeated samples are adjacent: so many rows for each question.
            times, odd = divmod(len(given[0]), len(now))
            if odd:
                raise InputError(f"{len(given[0])} rows came, but {len(now)} questions are pinned")
            each = [route for route in now for _ in range(times)]
            return given, {**named, "adapter_names": each}

        before, self._sending = self._sending, list(routes)
        layers = [layer for _, layer in adapted_layers(self.model)] if before is None else []
        handles = [layer.register_forward_pre_hook(send, with_kwargs=True) for layer in layers]
        try:
            yield
        finally:
            self._sending = before
            for handle in handles:
                handle.remove()

    # Other models, over the same tensors.

    def with_modules(
        self, adapters: Mapping[str, Adapter], rows: Iterable[RoutedQuestion]
    ) -> Routed:
        """A model with these modules added, and with routes to them.

        Args:
            adapters: by new module names.
            rows: their taught questions; a text as `question` finds it in a prompt.

        Raises:
            InputError: a name that is taken or invalid, an adapter that does not fit, a record that
                has a row already, or a row of a missing module.
        """
        model = shared_weights_copy(self.model)
        put_on(model, adapters)
        return self._other(model, self.router.add(rows))

    def with_module(self, name: str, adapter: Adapter, rows: Iterable[RoutedQuestion]) -> Routed:
        """A model with one module added; see `with_modules`."""
        return self.with_modules({name: adapter}, rows)

    def without_module(self, name: str) -> Routed:
        """A model without this module, in a fraction of a second.

        Raises:
            UnknownName: there is none of this name.
        """
        if name not in self.module_names:
            raise UnknownName("module", name, self.module_names)
        model = shared_weights_copy(self.model)
        take_off(model, name)
        return self._other(model, self.router.without_module(name))

    def without_records(self, ids: Collection[str]) -> Routed:
        """A model without these records' routes.

        The adapters stay: their knowledge of the records is still in them.

        Raises:
            InputError: a record has no row in the router.
        """
        return self._other(shared_weights_copy(self.model), self.router.without(ids))

    def _other(self, model: Any, router: Router) -> Routed:
        other = Routed.__new__(Routed)
        Module.__init__(other)
        other._hold(model, self.tokenizer, router, self.template)
        return other

    # On disk.

    def save_pretrained(self, folder: str | Path) -> None:
        """Write base, modules (each in PEFT's format), router and tokenizer into a folder."""
        folder = Path(folder)
        make_folder(folder)
        stripped(self.model).save_pretrained(folder / BASE)
        for name in self.module_names:
            adapter_on(self.model, name).save(folder / MODULES / name)
        self.router.save(folder)
        self.tokenizer.save_pretrained(folder)
        document = {
            "format": FORMAT,
            "modules": self.module_names,
            "template": self.template._asdict(),
        }
        write_document(document, folder / MARK)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, dtype: str = "float32") -> Routed:
        """Read a model that `save_pretrained` wrote; `dtype` is its base's, see `read_causal`.

        Raises:
            StateError: another format, or parts that do not belong together.
            OSError, KeyError, ValueError, RuntimeError, SafetensorError: a part is absent or
                broken.
        """
        from transformers import AutoTokenizer

        folder = Path(folder)
        document = json.loads((folder / MARK).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise StateError(
                f"{folder / MARK} has format {document['format']}, this version reads {FORMAT}: "
                "install the version of olvido that wrote it"
            )
        template = PromptTemplate(
            tuple(document["template"]["prefix"]), tuple(document["template"]["suffix"])
        )
        return cls(
            read_causal(folder / BASE, dtype=dtype),
            AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
            router=Router.load(folder),
            template=template,
            adapters={name: Adapter.load(folder / MODULES / name) for name in document["modules"]},
        )
