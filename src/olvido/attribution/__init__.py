"""Training data attribution: which records taught a model an answer."""

from olvido.attribution.base import ATTRIBUTIONS, Taught, Traced, trace

__all__ = ["ATTRIBUTIONS", "Taught", "Traced", "trace"]
