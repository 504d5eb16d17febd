"""What is stated of a model that others trained: by whom, and what nobody said."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from olvido.entering.exchange import Exchange
from olvido.learners import Recipe
from olvido.ledger.facts import Model
from olvido.training.traces.seen import Seen

CALL = "whoever entered it"
"""Who stated what was given with the command or the call."""


@dataclass(frozen=True)
class Statement:
    """One statement about a model.

    Attributes:
        what: what it is about, as `base`.
        value: what is stated.
        basis: `declared` (somebody said so) or `witnessed` (Olvido saw it).
        by: who or which file said so; of a witnessed one, how it was seen.
    """

    what: str
    value: Any
    basis: str
    by: str


@dataclass(frozen=True)
class Observation:
    """A training that Olvido watched while another trainer ran it.

    Attributes:
        by: the trainer.
        seen: the order of records, and what else was measured.
        settings: what the trainer was set to, as plain values.
        recipe: the same as a recipe of Olvido's; None where there is none like it.
        lacking: why there is none; empty where there is one.
    """

    by: str
    seen: Seen
    settings: Mapping[str, Any]
    recipe: Recipe | None
    lacking: str = ""


@dataclass(frozen=True)
class Entered:
    """A model that was entered, and what is stated of it.

    Attributes:
        model: as the ledger has it.
        statements: all of them, the declared ones first.
        unknown: what nobody said, and what follows from that, in sentences.
        exchange: its losses on what it is said to have learned; None: not enough questions.
        warning: why the declaration looks untrue, or what the model should not hold; None where
            there is neither.
    """

    model: Model
    statements: tuple[Statement, ...]
    unknown: tuple[str, ...]
    exchange: Exchange | None
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "id": self.model.id,
            "digest": str(self.model.digest),
            "training": self.model.training,
            "statements": [asdict(one) for one in self.statements],
            "unknown": list(self.unknown),
            "exchange": None if self.exchange is None else asdict(self.exchange),
            "warning": self.warning,
        }


def shown(exchange: Exchange) -> str:
    low, high = exchange.interval
    return (
        f"loss {exchange.own:.2f} nats a token on its answers, {exchange.exchanged:.2f} on "
        f"exchanged ones (difference {low:.2f} to {high:.2f}, {exchange.records} records)"
    )


def doubt(exchange: Exchange | None, datasets: Sequence[str]) -> str | None:
    """Why a model does not seem to have learned what is declared; None where it does, or where too
    few records tell."""
    if exchange is None or exchange.known:
        return None
    names = " and ".join(repr(name) for name in datasets)
    return (
        f"the model does not seem to have learned {names}: {shown(exchange)}. Its tokenizer, its "
        "template (--chat) or the data may be others than those that it was trained with"
    )


def twins(others: Collection[str]) -> str | None:
    """What is said of the same weights with other data; None where there are none."""
    if not others:
        return None
    return (
        f"the same weights are there as {', '.join(sorted(others))}, with other data sets, and one "
        "of the statements is wrong or says too little: enter them once, with all that they learned"
    )
