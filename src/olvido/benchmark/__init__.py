"""Methods beside each other, on one's own model and data, each result audited."""

from olvido.benchmark.base import Comparison, compare

__all__ = ["Comparison", "compare"]
