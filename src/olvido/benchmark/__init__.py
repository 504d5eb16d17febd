"""Comparison of methods on one's own model and data, with each result audited; and of learners."""

from olvido.benchmark.base import Comparison, compare
from olvido.benchmark.periods import Periods
from olvido.benchmark.tradeoff import TradeOff, compare_learners

__all__ = ["Comparison", "Periods", "TradeOff", "compare", "compare_learners"]
