"""Ensembles: models that each learned a share of the records, behind one forward pass."""

from __future__ import annotations

import copy
import inspect
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import Module, ModuleList
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from olvido.errors import InputError, UnknownName
from olvido.files import write_document

AGGREGATIONS = ("mean", "vote")
UNVOTED = 1e-3
"""Weight of the members' mean probability beside the share of their votes: a class without votes
stays possible, and its log-probability finite."""


def combine(logits: Iterable[Tensor], aggregation: str) -> Tensor:
    """One log-probability for every class out of the members' logits. [..., C]

    `mean` is the log of the members' mean probability. `vote` is the log of the share of members
    whose likeliest class it is, mixed with `UNVOTED` of the mean probability; among classes with as
    many votes, the one with the larger mean probability comes out on top. A class counts as
    likeliest once a member, the first where several tie. Train on `mean`: votes have no gradient.

    Args:
        logits: one member's after the other's, float32 or wider inside; only one is in memory at a
            time. [..., C] each
        aggregation: `mean` or `vote`.

    Raises:
        InputError: no member, or members of different shapes.
        UnknownName: no such aggregation.

    >>> members = [torch.tensor([0.9, 0.1]), torch.tensor([0.4, 0.6]), torch.tensor([0.4, 0.6])]
    >>> combine([p.log() for p in members], "mean").exp()
    tensor([0.5667, 0.4333])
    >>> combine([p.log() for p in members], "vote").exp()
    tensor([0.3336, 0.6664])
    """
    if aggregation not in AGGREGATIONS:
        raise UnknownName("aggregation", aggregation, AGGREGATIONS)
    total: Tensor | None = None
    votes: Tensor | None = None
    members = 0
    for one in logits:
        members += 1
        log_p = F.log_softmax(one.to(torch.promote_types(one.dtype, torch.float32)), dim=-1)
        if total is not None and log_p.shape != total.shape:
            raise InputError(
                f"member {members - 1} gives {list(log_p.shape)}, those before it "
                f"{list(total.shape)}: members answer over the same classes"
            )
        total = log_p if total is None else torch.logaddexp(total, log_p)
        if aggregation == "vote":
            choice = log_p.argmax(-1, keepdim=True)
            votes = torch.zeros_like(log_p) if votes is None else votes
            votes = votes.scatter_add(-1, choice, torch.ones_like(log_p[..., :1]))
    if total is None:
        raise InputError("an ensemble needs at least one member, got none")
    mean = total - math.log(members)
    if votes is None:
        return mean
    chance = (votes / members + UNVOTED * mean.exp()) / (1 + UNVOTED)
    found = chance.clamp_min(torch.finfo(chance.dtype).tiny).log()
    # A tie's winner may lead by less than a float can represent: it is put just above all others.
    leading = votes == votes.max(-1, keepdim=True).values
    winner = mean.masked_fill(~leading, -math.inf).argmax(-1, keepdim=True)
    most = found.max(-1, keepdim=True).values
    return found.scatter(-1, winner, torch.nextafter(most, torch.full_like(most, math.inf)))


DOCUMENT = "ensemble.json"
FORMAT = "olvido-ensemble/1"


class Ensemble(Module):
    """Members behind one forward pass, for modules that give one tensor of logits.

    `as_one` makes the ensemble that fits the members. It can be saved where each of them can.

    Args:
        members: one or more modules over the same classes; referenced, not copied.
        aggregation: `mean` or `vote`, see `combine`.

    Raises:
        InputError: no members.
        UnknownName: no such aggregation.
    """

    members: ModuleList
    aggregation: str

    def __init__(self, members: Sequence[Module], *, aggregation: str = "mean") -> None:
        Module.__init__(self)
        self._hold(members, aggregation)

    def _hold(self, members: Sequence[Module], aggregation: str) -> None:
        if aggregation not in AGGREGATIONS:
            raise UnknownName("aggregation", aggregation, AGGREGATIONS)
        if not members:
            raise InputError("an ensemble needs at least one member, got none")
        self.members = ModuleList(members)
        self.aggregation = aggregation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Log-probabilities of the members together. [B, C]"""
        return combine((member(*args, **kwargs) for member in self.members), self.aggregation)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write each member to a folder of its own, and `ensemble.json` beside them.

        Args:
            save_directory: made where it is missing.
            kwargs: for each member's `save_pretrained`.
        """
        folder = Path(save_directory)
        names = [f"member-{place:03d}" for place in range(len(self.members))]
        for name, member in zip(names, self.members, strict=True):
            member.save_pretrained(folder / name, **kwargs)  # type: ignore[operator]
        document = {"format": FORMAT, "aggregation": self.aggregation, "members": names}
        write_document(document, folder / DOCUMENT)

    @classmethod
    def from_folder(cls, folder: str | Path, read: Callable[[Path], Any]) -> Self:
        """Read an ensemble that `save_pretrained` wrote, in evaluation mode.

        Args:
            folder: the ensemble's.
            read: reads a member from its folder.

        Raises:
            InputError: the folder holds no ensemble, or one of another format.
            OSError, ValueError, KeyError, RuntimeError, SafetensorError: a member cannot be read.
        """
        path = Path(folder) / DOCUMENT
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"no ensemble can be read from {folder}: {error}. Give a folder made by "
                "save_pretrained"
            ) from error
        members = document.get("members") if isinstance(document, dict) else None
        if (
            not isinstance(members, list)
            or document.get("format") != FORMAT
            or document.get("aggregation") not in AGGREGATIONS
            # A name that leads out of the folder is no member of it.
            or not all(isinstance(name, str) and Path(name).name == name for name in members)
        ):
            raise InputError(
                f"{path} is no ensemble that this version reads: expected the format {FORMAT}, an "
                f"aggregation among {', '.join(AGGREGATIONS)} and the members' folders"
            )
        found = [read(Path(folder) / name) for name in members]
        return cls(found, aggregation=document["aggregation"]).eval()


def as_one(members: Sequence[Module], *, aggregation: str = "mean") -> Ensemble:
    """Members as one model: a Hugging Face causal model where all of them are, else a module.

    Args:
        members: one or more; referenced, not copied.
        aggregation: `mean` or `vote`, see `combine`.

    Raises:
        InputError: no members, or language models over different vocabularies.
        UnknownName: no such aggregation.
    """
    if members and all(hasattr(m, "config") and hasattr(m, "generate") for m in members):
        return LanguageEnsemble(members, aggregation=aggregation)
    return Ensemble(members, aggregation=aggregation)


class MemberCaches(Cache):
    """Each member's cache of the tokens so far.

    The members' layers form one list, so that cropping or reordering the cache affects all members
    at once.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        self.parts = [DynamicCache(config=member.config) for member in members]
        super().__init__(layers=[layer for part in self.parts for layer in part.layers])


class LanguageEnsemble(Ensemble, PreTrainedModel, GenerationMixin):
    """Causal language models that answer together, token by token.

    `logits` are log-probabilities: those of the members combined at every position, so sampling,
    temperature and losses are the ensemble's and not a member's. It generates with a cache for
    each member. `config` and `generation_config` are copies of the first member's.

    Args:
        members: Hugging Face causal models over the same vocabulary; referenced, not copied.
        aggregation: `mean` or `vote`, see `combine`.

    Raises:
        InputError: no members, or different vocabularies.
        UnknownName: no such aggregation.
    """

    # The members' attention is their own; the ensemble has none that could lack a kind.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, members: Sequence[Any], *, aggregation: str = "mean") -> None:
        if not members:
            raise InputError("an ensemble needs at least one member, got none")
        sizes = [member.config.get_text_config(decoder=True).vocab_size for member in members]
        if len(set(sizes)) > 1:
            raise InputError(
                f"the members' vocabularies have {', '.join(map(str, sizes))} tokens: members of "
                "one ensemble share a tokenizer"
            )
        PreTrainedModel.__init__(self, copy.deepcopy(members[0].config))
        self.generation_config = copy.deepcopy(members[0].generation_config)
        self._hold(members, aggregation)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool = True,
    ) -> CausalLMOutputWithPast:
        """Log-probabilities of the members together, and the loss where there are labels.

        Args:
            input_ids, attention_mask, position_ids, labels: as for any causal model. [B, T]
            past_key_values: a result of an earlier call.
            use_cache: return one; the default is not to.
            logits_to_keep: only these last positions; 0: all.

        Returns:
            `logits` [B, T, V], `loss` (mean over labels that are not -100) and `past_key_values`.

        Raises:
            InputError: hidden states or attentions are requested, or another model's cache is used.
        """
        if output_hidden_states or output_attentions:
            raise InputError(
                "an ensemble has no hidden states or attentions of its own: ask a member, "
                "ensemble.members[0]"
            )
        if not return_dict:
            raise InputError("an ensemble returns named outputs only: leave return_dict alone")
        if use_cache and not isinstance(past_key_values, MemberCaches):
            # generate() brings an empty cache for one model.
            if past_key_values is not None and past_key_values.get_seq_length() > 0:
                raise InputError(
                    "the cache holds what another model saw: start without past_key_values"
                )
            past_key_values = MemberCaches(list(self.members))
        caches = past_key_values if isinstance(past_key_values, MemberCaches) else None
        asked: dict[str, Any] = {
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "use_cache": bool(use_cache),
            "logits_to_keep": logits_to_keep,
        }
        logits = combine(
            (
                self._ask(member, input_ids, asked, None if caches is None else caches.parts[place])
                for place, member in enumerate(self.members)
            ),
            self.aggregation,
        )
        loss = None if labels is None else _loss(logits, labels)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=caches)

    def _ask(
        self, member: Module, input_ids: Tensor, asked: dict[str, Any], cache: Cache | None
    ) -> Tensor:
        """One member's logits; arguments that its architecture lacks are not passed."""
        known = inspect.signature(member.forward).parameters
        given = {name: value for name, value in asked.items() if name in known}
        if cache is not None:
            given["past_key_values"] = cache
        logits: Tensor = member(input_ids=input_ids, **given).logits
        return logits[:, -asked["logits_to_keep"] :] if asked["logits_to_keep"] else logits


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of the next tokens, nats a token."""
    ahead = labels[:, 1:].reshape(-1).to(logits.device)
    return F.nll_loss(logits[:, :-1].reshape(len(ahead), -1), ahead, ignore_index=-100)
