"""A language model in two halves: a frozen lower one, and an upper one that learns.

The lower half's states of each record are computed once, cached, and deleted one by one. The cache
is personal data and an item of a request's data map: a module that is retrained without somebody
rewrites its cache without them. Modules behind a router are adapters on the upper half.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Identity, Module, ModuleList

from olvido.errors import InputError, StateError
from olvido.files import new_file
from olvido.tasks import Batch, Example, Language
from olvido.tasks.blocks import plain_model
from olvido.training.contents import digests_of

NEAR = 1e-4
"""Largest difference of a logit between both halves together and the whole, as a share of the
largest logit."""


@dataclass(frozen=True)
class Halves:
    """A model cut between two layers.

    Attributes:
        model: the whole model; neither half changes it.
        top: number of layers in the upper half.
        lower: from token ids to the input states of the upper half; shares its layers with the
            model.
    """

    model: Any
    top: int
    lower: Any

    @classmethod
    def of(cls, model: Any, top: int) -> Halves:
        """Cut a model below its `top` last layers.

        Raises:
            InputError: it has fewer layers, or cannot be cut between layers.
        """
        body: Any = getattr(model, "base_model", None)
        layers, norm = getattr(body, "layers", None), getattr(body, "norm", None)
        if body is model or not isinstance(layers, ModuleList) or norm is None:
            raise _uncut(model, "its layers and last normalisation were not found")
        if not 1 <= top <= len(layers):
            raise InputError(f"top_layers must lie between 1 and {len(layers)}, got {top}")
        lower = copy.copy(body)
        lower._modules = dict(body._modules)
        lower.layers = ModuleList(list(layers)[: len(layers) - top])
        lower.norm = Identity()
        lower.config = _shortened(body.config, slice(0, len(layers) - top))
        return cls(model, top, lower.eval())

    @property
    def shift(self) -> int:
        """The index of the upper half's first layer in the whole."""
        return int(self.model.config.num_hidden_layers) - self.top

    def upper(self) -> Any:
        """A copy of the upper half, which takes `inputs_embeds` and numbers its layers from 0."""
        layers = self.model.base_model.layers
        # The lower layers are removed first, so that they are not copied in vain.
        upper = copy.deepcopy(self.model, {id(layer): Identity() for layer in layers[: self.shift]})
        body = upper.base_model
        body.layers = ModuleList(list(body.layers)[self.shift :])
        upper.config = body.config = _shortened(self.model.config, slice(self.shift, None))
        return upper

    @torch.no_grad()
    def states(self, ids: Tensor) -> Tensor:
        """The lower half's output for one unpadded text. [T] -> [T, D]"""
        out = self.lower(
            input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], use_cache=False
        )
        return out.last_hidden_state[0]

    @torch.no_grad()
    def check(self, ids: Tensor) -> None:
        """Check that both halves together equal the whole.

        Raises:
            InputError: they do not, for example because positions are added to the embeddings.
        """
        mask = torch.ones_like(ids)[None]
        training = self.model.training
        self.model.eval()
        whole = self.model(input_ids=ids[None], attention_mask=mask, use_cache=False).logits
        self.model.train(training)
        upper = self.upper().eval()
        states = upper.base_model(
            inputs_embeds=self.states(ids)[None], attention_mask=mask, use_cache=False
        ).last_hidden_state
        both = upper.get_output_embeddings()(states)
        if not bool((both - whole).abs().max() <= NEAR * whole.abs().max()):
            raise _uncut(self.model, "its halves together do not give what it gives as a whole")


def _shortened(config: Any, layers: slice) -> Any:
    """The config of a model with only these layers."""
    short = copy.deepcopy(config)
    kinds = getattr(config, "layer_types", None)
    short.num_hidden_layers = len(range(config.num_hidden_layers)[layers])
    if kinds is not None:
        short.layer_types = list(kinds)[layers]
    return short


def _uncut(model: Any, why: str) -> InputError:
    return InputError(
        f"a {type(model).__name__} cannot be trained in modules: {why}. Use a model of the Llama, "
        "Mistral or Qwen kind, or the learner 'sharded'"
    )


@dataclass(frozen=True)
class UpperBatch(Batch):
    """A batch of the upper half.

    Attributes:
        states: input states, zero at padding. [B, T, D]
    """

    states: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        return replace(super().to(device), states=self.states.to(device))


class Upper(Language):
    """How records become losses of the upper half of a model.

    Args:
        language: the task of the whole.
        activations: states of every record that will be used.
    """

    def __init__(self, language: Language, activations: Activations) -> None:
        super().__init__(language.tokenizer, max_tokens=language.max_tokens, chat=language.chat)
        self._states = activations.states
        self._like = next(iter(self._states.values()), torch.zeros(1, 1))

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> UpperBatch:
        """One batch of these records in this order, padded on the right to `width` tokens."""
        plain = super().collate(records, width=width)
        states = self._like.new_zeros(*plain.input_ids.shape, self._like.shape[-1])
        for row, record in enumerate(records):
            if record is not None:
                own = self._states[record.id]
                states[row, : len(own)] = own
        parts = plain.ids, plain.input_ids, plain.attention_mask, plain.targets
        return UpperBatch(*parts, states)

    def answer_logits(self, model: Module, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Logits where there is a target: logits [N, V], targets [N], row of each [N]."""
        whole = plain_model(model)
        rows, columns = torch.nonzero(batch.targets != -100, as_tuple=True)
        states = whole.base_model(
            inputs_embeds=batch.states, attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        head = whole.get_output_embeddings()
        return head(states[rows, columns - 1]), batch.targets[rows, columns], rows


class Activations:
    """States by record id, each [T, D], with a digest of the record they were made from.

    Args:
        origin: digest of the model that computed them.
        layer: number of layers below them.
        states: by record id.
        contents: digest of each record's id and content, in hexadecimal.
    """

    def __init__(
        self, origin: str, layer: int, states: Mapping[str, Tensor], contents: Mapping[str, str]
    ) -> None:
        self.origin, self.layer = origin, layer
        self.states, self.contents = dict(states), dict(contents)

    @classmethod
    def of(
        cls,
        halves: Halves,
        origin: str,
        records: Sequence[Example],
        task: Language,
        known: Activations | None = None,
    ) -> Activations:
        """The states of these records only.

        One record at a time, unpadded: in a batch, a record's bits would depend on its neighbours.

        Args:
            halves: of the model.
            origin: its digest.
            records: records to compute states for.
            task: how a record becomes tokens.
            known: states to reuse where they are of the same record.
        """
        contents = {i: digest.hex() for i, digest in digests_of(records, task).items()}
        reused = {}
        if known is not None and (known.origin, known.layer) == (origin, halves.shift):
            reused = {i: s for i, s in known.states.items() if known.contents[i] == contents.get(i)}
        device = next(halves.model.parameters()).device
        states = {}
        for record in records:
            if record.id in reused:
                states[record.id] = reused[record.id]
            else:
                prompt, answer = task.encode(record)
                ids = torch.tensor(prompt + answer, device=device)
                states[record.id] = halves.states(ids).cpu().clone()
        return cls(origin, halves.shift, states, contents)

    def without(self, ids: Collection[str]) -> Activations:
        """A copy without these records."""
        states = {i: state for i, state in self.states.items() if i not in ids}
        return Activations(self.origin, self.layer, states, self.contents)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole content."""
        total = hashlib.sha256(f"{self.origin}|{self.layer}".encode())
        for i in sorted(self.states):
            state = self.states[i].contiguous()
            total.update(f"{i}|{self.contents[i]}|{state.dtype}|{tuple(state.shape)}|".encode())
            total.update(state.reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()

    def save(self, path: Path) -> None:
        """Write the states, durably."""
        numbered = sorted(self.states)
        about = {
            "origin": self.origin,
            "layer": str(self.layer),
            "digest": self.digest,
            "ids": json.dumps(numbered),
            "contents": json.dumps([self.contents[i] for i in numbered]),
        }
        tensors = {f"{n}": self.states[i].contiguous() for n, i in enumerate(numbered)}
        with new_file(path) as unfinished:
            save_file(tensors, unfinished, metadata=about)

    @classmethod
    def load(cls, path: Path) -> Activations:
        """Read states that `save` wrote.

        Raises:
            StateError: the file cannot be read, or was changed.
        """
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
                ids, contents = json.loads(about["ids"]), json.loads(about["contents"])
                states = {i: file.get_tensor(f"{n}") for n, i in enumerate(ids)}
            found = cls(
                about["origin"],
                int(about["layer"]),
                states,
                dict(zip(ids, contents, strict=True)),
            )
            expected = about["digest"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise StateError(f"the activations {path} cannot be read ({error})") from error
        if found.digest != expected:
            raise StateError(f"the activations {path} do not match their digest")
        return found
