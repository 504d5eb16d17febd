"""Many models behind one forward pass: each member learned its own share of the records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, ModuleList
from torch.nn import functional as F

from olvido.errors import InputError, UnknownName

AGGREGATIONS = ("mean", "vote")
UNVOTED = 1e-3
"""Weight of the members' mean probability beside the share of their votes: what nobody votes for
stays possible, and its log-probability finite."""


def combine(logits: Iterable[Tensor], aggregation: str) -> Tensor:
    """One log-probability for every class out of the members' logits. [..., C]

    `mean` is the log of the members' mean probability. `vote` is the log of the share of members
    whose likeliest class it is, mixed with `UNVOTED` of the mean probability; among classes with as
    many votes, the one with the larger mean probability comes out on top. A class counts as
    likeliest once a member, the first where several tie. Train on `mean`: votes have no gradient.

    Args:
        logits: of one member after the other, float32 or wider inside; only one is held at a time.
            [..., C] each
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
    # A tie's winner may lead by less than a float can tell: it is put just above all others.
    leading = votes == votes.max(-1, keepdim=True).values
    winner = mean.masked_fill(~leading, -math.inf).argmax(-1, keepdim=True)
    most = found.max(-1, keepdim=True).values
    return found.scatter(-1, winner, torch.nextafter(most, torch.full_like(most, math.inf)))


class Ensemble(Module):
    """Members behind one forward pass, for modules that give one tensor of logits.

    `as_one` makes the ensemble that fits the members. Saving is the owner's, who knows how to make
    such a module; language models are saved by their own ensemble.

    Args:
        members: one or more modules over the same classes; held, not copied.
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


def as_one(members: Sequence[Module], *, aggregation: str = "mean") -> Ensemble:
    """Members as one model: a Hugging Face causal model where all of them are, else a module.

    Args:
        members: one or more; held, not copied.
        aggregation: `mean` or `vote`, see `combine`.

    Raises:
        InputError: no members, or language models over different vocabularies.
        UnknownName: no such aggregation.
    """
    if members and all(hasattr(m, "config") and hasattr(m, "generate") for m in members):
        from olvido.models.composite.language_ensemble import LanguageEnsemble

        return LanguageEnsemble(members, aggregation=aggregation)
    return Ensemble(members, aggregation=aggregation)
