"""A language model in two halves: lower layers that stay as they are, upper ones that learn."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Identity, ModuleList

from olvido.errors import InputError

NEAR = 1e-4
"""Largest difference of a logit, as a share of the largest one, by which both halves together may
miss the whole."""


@dataclass(frozen=True)
class Halves:
    """A model cut between two layers.

    Attributes:
        model: the whole; neither half changes it.
        top: how many layers the upper half has.
        lower: from token ids to the states that the upper half begins with; shares its layers with
            the model.
    """

    model: Any
    top: int
    lower: Any

    @classmethod
    def of(cls, model: Any, top: int) -> Halves:
        """Cut a model below its `top` last layers.

        Raises:
            InputError: it has fewer layers, or is not built of layers that can be cut apart.
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
        """The number of the upper half's first layer in the whole."""
        return int(self.model.config.num_hidden_layers) - self.top

    def upper(self) -> Any:
        """A copy of the upper half, which takes `inputs_embeds` and numbers its layers from 0."""
        layers = self.model.base_model.layers
        # What is left below is not copied only to be thrown away.
        upper = copy.deepcopy(self.model, {id(layer): Identity() for layer in layers[: self.shift]})
        body = upper.base_model
        body.layers = ModuleList(list(body.layers)[self.shift :])
        upper.config = body.config = _shortened(self.model.config, slice(self.shift, None))
        return upper

    @torch.no_grad()
    def states(self, ids: Tensor) -> Tensor:
        """What the lower half makes of one unpadded text. [T] -> [T, D]"""
        out = self.lower(
            input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], use_cache=False
        )
        return out.last_hidden_state[0]

    @torch.no_grad()
    def check(self, ids: Tensor) -> None:
        """See that both halves together are the whole.

        Raises:
            InputError: they are not, as where positions are added to the embeddings.
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
