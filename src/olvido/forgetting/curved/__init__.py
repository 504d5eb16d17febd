"""Methods that move the weights once, along what the curvature gives."""

from olvido.forgetting.curved.fisher import Fisher
from olvido.forgetting.curved.influence import Influence
from olvido.forgetting.curved.ssd import SSD

__all__ = ["SSD", "Fisher", "Influence"]
