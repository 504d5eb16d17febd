"""Ways to forget. One file and one line in `METHODS` make another."""

from olvido.forgetting.base import (
    METHODS,
    forget,
    kind_of,
    make_method,
    options_of,
    predict,
    read_split,
    ways,
)
from olvido.forgetting.guarantee import MEANING, Need
from olvido.forgetting.types import Cost, Method, Moment, Outcome, Side, Split, Trial
from olvido.ledger.facts import Guarantee

__all__ = [
    "MEANING",
    "METHODS",
    "Cost",
    "Guarantee",
    "Method",
    "Moment",
    "Need",
    "Outcome",
    "Side",
    "Split",
    "Trial",
    "forget",
    "kind_of",
    "make_method",
    "options_of",
    "predict",
    "read_split",
    "ways",
]
