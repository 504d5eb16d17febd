"""Methods beside each other, on one's own model and data, each result audited."""

from olvido.comparison.base import Comparison, compare

__all__ = ["Comparison", "compare"]
