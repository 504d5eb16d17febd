"""Which records taught a model what it says."""

from olvido.attribution.base import ATTRIBUTIONS, Taught, Traced, trace

__all__ = ["ATTRIBUTIONS", "Taught", "Traced", "trace"]
