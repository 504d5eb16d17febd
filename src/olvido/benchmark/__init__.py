"""Comparison of methods on one's own model and data, with each result audited."""

from olvido.benchmark.base import Comparison, compare

__all__ = ["Comparison", "compare"]
