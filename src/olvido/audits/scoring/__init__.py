"""Each text scored once for each model, for all audits together."""

from olvido.audits.scoring.score import Score
from olvido.audits.scoring.witness import Traced, Witness

__all__ = ["Score", "Traced", "Witness"]
