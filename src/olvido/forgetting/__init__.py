"""Ways to forget. One file and one line in `METHODS` make another."""

from olvido.forgetting.base import METHODS, forget, make_method, options_of, predict, read_split
from olvido.forgetting.guarantee import MEANING, Need
from olvido.forgetting.types import Cost, Method, Moment, Outcome, Split
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
    "Split",
    "forget",
    "make_method",
    "options_of",
    "predict",
    "read_split",
]
